//! Monitors: the wish that is read, and the answer that also tells how they stand.

use std::sync::Arc;

use heartbeat_engine::schedule::{Schedule, Zone};
use heartbeat_engine::{
    Arm, Engine, FieldError, FlapLimit, Maintenance, MonitorId, MonitorSpec, Record, Severity, Status, Target,
    Timestamp, Token, format_duration, slug_from_name,
};
use serde_json::{Value, json};

use super::fields::Fields;
use super::{history, instant, read_grace, read_schedule, schedule};
use crate::problem::Problem;
use crate::query::clip;

const ARMS: [(&str, Arm); 2] = [("created", Arm::Created), ("first_ping", Arm::FirstPing)];
pub(super) const SEVERITIES: [(&str, Severity); 3] =
    [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];

/// What an answer tells and nobody can set.
const READ_ONLY: [&str; 16] = [
    "id",
    "ping_url",
    "status",
    "running",
    "last_ping",
    "ping_count",
    "expected_at",
    "deadline",
    "incident",
    "created_at",
    "updated_at",
    "version",
    "signing_secret",
    "flapping_since",
    "maintenance",
    "declared_in",
];

/// A monitor as somebody wishes it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MonitorWish {
    /// What is wished.
    pub spec: MonitorSpec,
    /// The ping token to make it with, where one is named.
    pub token: Option<Token>,
    /// The slugs or ids of the monitors that it depends on.
    pub depends_on: Vec<String>,
}

/// What is known before a wish is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) engine: &'a Engine,
    /// For schedules that name none.
    pub(crate) timezone: &'a Zone,
    /// The slug where none is given, else one made from the name.
    pub(crate) slug: Option<&'a str>,
}

/// Reads a wish, and checks it as the engine will: all that is wrong, at once.
pub(crate) fn read_monitor(value: &Value, reading: Reading<'_>) -> Result<MonitorWish, Problem> {
    let mut errors = Vec::new();
    let mut wish = read_wish(value, reading.timezone, reading.slug, &mut errors);
    if let Some(wish) = &mut wish {
        resolve(wish, reading.engine, &mut errors);
        let told = errors.clone();
        let news = checks(&wish.spec, reading.engine).into_iter().filter(|fault| !is_told(&told, fault, &wish.spec));
        errors.extend(news);
    }
    match wish {
        Some(wish) if errors.is_empty() => Ok(wish),
        _ => Err(Problem::invalid(errors)),
    }
}

/// Reads a monitor in the form that `POST /api/monitors` takes, for hosts that declare monitors elsewhere, such as in a
/// settings file. `timezone` is for schedules that name none. Whether its channels and the monitors that it depends on
/// exist is not checked: `spec.depends_on` of the answer is empty, and the host finds out who bears those names.
///
/// # Errors
/// Every field that is wrong, with what would be right.
///
/// # Example: a monitor in a settings file
/// ```
/// use heartbeat_engine::{Clock, SystemClock, Zone};
///
/// let wish = serde_json::json!({"name": "Cert sync", "schedule": {"every": "2h"}});
/// let now = SystemClock::new().now();
/// let wish = heartbeat_http::monitor_from_json(&wish, &Zone::utc(), now).map_err(|faults| faults[0].clone())?;
/// assert_eq!((wish.spec.slug.as_str(), wish.token), ("cert-sync", None));
/// # Ok::<(), heartbeat_engine::FieldError>(())
/// ```
pub fn monitor_from_json(value: &Value, timezone: &Zone, now: Timestamp) -> Result<MonitorWish, Vec<FieldError>> {
    let mut errors = Vec::new();
    let wish = read_wish(value, timezone, None, &mut errors);
    if let Some(wish) = &wish {
        let told = errors.clone();
        errors.extend(wish.spec.faults(now).into_iter().filter(|fault| !is_told(&told, fault, &wish.spec)));
    }
    match wish {
        Some(wish) if errors.is_empty() => Ok(wish),
        _ => Err(errors),
    }
}

/// The part of a monitor that can be wished, in the form that is read.
pub(crate) fn wish(spec: &MonitorSpec, engine: &Engine) -> Value {
    // One that was removed since is nobody to depend on.
    let parents = spec.depends_on.iter().filter_map(|id| Some(engine.find(*id)?.spec().slug.as_str().to_owned()));
    json!({
        "name": spec.name,
        "slug": spec.slug,
        "description": spec.description,
        "schedule": schedule(&spec.schedule),
        "grace": spec.grace.to_string(),
        "early": format_duration(spec.early),
        "max_runtime": spec.max_runtime.map(format_duration),
        "arm": ARMS.iter().find(|(_, arm)| *arm == spec.arm).map(|(name, _)| name),
        "failure_threshold": spec.failure_threshold,
        "recovery_threshold": spec.recovery_threshold,
        "severity": spec.severity.name(),
        "tags": spec.tags,
        "channels": spec.channels,
        "remind_every": spec.remind_every.map(format_duration),
        "depends_on": parents.collect::<Vec<_>>(),
        "flap_limit": spec.flap_limit.map(
            |limit| json!({"incidents": limit.incidents, "within": format_duration(limit.within)}),
        ),
        "value_min": spec.value_min,
        "value_max": spec.value_max,
        "require_signature": spec.require_signature,
    })
}

/// A monitor as an answer tells it; the token and its URL only where `ping_url` is given. `windows` are those that are in
/// force now, for whichever monitors.
pub(crate) fn monitor(
    record: &Record,
    engine: &Engine,
    windows: &[Arc<Maintenance>],
    ping_url: Option<String>,
) -> Value {
    let now = engine.now();
    let status = Status::of(record, now);
    let (monitor, health) = (&record.monitor, &record.health);
    let mut value = wish(&monitor.spec, engine);
    value["id"] = monitor.id.to_string().into();
    if let Some(url) = ping_url {
        value["token"] = monitor.token.current.reveal().into();
        value["ping_url"] = url.into();
    }
    value["status"] = status.word.name().into();
    value["running"] = status.running.into();
    value["last_ping"] = health.last_ping.as_ref().map_or(Value::Null, |ping| {
        json!({
            "n": ping.n,
            "signal": ping.signal.name(),
            "at": instant(ping.at),
            "arrived_at": instant(ping.arrived_at),
            "degraded": ping.degraded,
        })
    });
    value["ping_count"] = health.ping_count.into();
    value["expected_at"] = instant(status.expected_at);
    value["deadline"] = instant(status.deadline);
    value["incident"] = health.incident.as_deref().map_or(Value::Null, history::incident_fields);
    value["flapping_since"] = instant(health.flaps.flapping.as_ref().map(|flapping| flapping.since));
    value["maintenance"] = covering(record, windows, now);
    value["created_at"] = instant(monitor.created_at);
    value["updated_at"] = instant(monitor.updated_at);
    value["version"] = monitor.revision.0.into();
    if let Some(file) = &monitor.spec.declared_in {
        value["declared_in"] = file.as_str().into();
    }
    value
}

fn read_wish(value: &Value, timezone: &Zone, slug: Option<&str>, errors: &mut Vec<FieldError>) -> Option<MonitorWish> {
    let mut fields = Fields::of(value, "", errors)?;
    let name = fields.text("name").map(str::to_owned);
    let slug = fields.text("slug").or(slug).map(str::to_owned);
    let slug = slug.or_else(|| name.as_deref().map(slug_from_name)).unwrap_or_default();
    if slug.is_empty() && !fields.has("slug") {
        match &name {
            Some(name) => {
                fields.fault("slug", format!("no slug can be made from the name `{}`; give one", clip(name)));
            }
            None if !fields.has("name") => fields.fault("name", "is missing; give a name, a slug or both"),
            None => {}
        }
    }
    let placeholder = Schedule::every(std::time::Duration::from_secs(3600)).ok()?;
    let read = match fields.value("schedule") {
        Some(value) => read_schedule(value, "schedule", timezone, fields.errors()),
        None => {
            fields.fault("schedule", "is missing; give one with `every` and a period, `at` and times, or `cron`");
            None
        }
    };
    let mut spec = MonitorSpec::new(slug, read.unwrap_or(placeholder));
    if let Some(name) = name {
        spec.name = name.into();
    }
    read_rest(&mut fields, &mut spec);
    spec.flap_limit = read_flap_limit(&mut fields);
    let depends_on = fields.texts("depends_on").unwrap_or_default();
    let token = read_token(&mut fields);
    for field in READ_ONLY {
        if fields.has(field) {
            let _ = fields.value(field);
            fields.fault(field, "can only be read; leave it out");
        }
    }
    fields.finish();
    Some(MonitorWish { spec, token, depends_on })
}

fn read_rest(fields: &mut Fields<'_, '_>, spec: &mut MonitorSpec) {
    if let Some(text) = fields.text("description") {
        spec.description = text.into();
    }
    if let Some(value) = fields.value("grace") {
        match read_grace(value) {
            Ok(grace) => spec.grace = grace,
            Err(message) => fields.fault("grace", message),
        }
    }
    spec.early = fields.duration("early").unwrap_or_default();
    spec.max_runtime = fields.duration("max_runtime");
    spec.arm = fields.word("arm", &ARMS).unwrap_or_default();
    spec.failure_threshold = fields.count("failure_threshold").unwrap_or(1);
    spec.recovery_threshold = fields.count("recovery_threshold").unwrap_or(1);
    spec.severity = fields.word("severity", &SEVERITIES).unwrap_or_default();
    spec.tags = fields.texts("tags").unwrap_or_default();
    spec.channels = fields.texts("channels").unwrap_or_default();
    spec.value_min = fields.number("value_min");
    spec.value_max = fields.number("value_max");
    spec.remind_every = fields.duration("remind_every");
    spec.require_signature = fields.boolean("require_signature").unwrap_or_default();
}

fn read_flap_limit(fields: &mut Fields<'_, '_>) -> Option<FlapLimit> {
    let value = fields.value("flap_limit")?;
    let mut inner = Fields::of(value, "flap_limit", fields.errors())?;
    let (incidents, within) = (inner.count("incidents"), inner.duration("within"));
    for (field, example) in [("incidents", "5"), ("within", "\"1h\"")] {
        if inner.value(field).is_none() {
            inner.fault(field, format!("is missing; give one such as {example}"));
        }
    }
    inner.finish();
    Some(FlapLimit { incidents: incidents?, within: within? })
}

fn read_token(fields: &mut Fields<'_, '_>) -> Option<Token> {
    match Token::new(fields.text("token")?) {
        Ok(token) => Some(token),
        Err(error) => {
            fields.fault("token", error.to_string());
            None
        }
    }
}

/// Finds the monitors that a wish depends on by their slugs or ids.
fn resolve(wish: &mut MonitorWish, engine: &Engine, errors: &mut Vec<FieldError>) {
    let mut parents: Vec<MonitorId> = Vec::new();
    for (index, name) in wish.depends_on.iter().enumerate() {
        let found = engine.find(Target::id_or_slug(name)).or_else(|| engine.find(Target::slug(name)));
        let fault = match found {
            _ if *name == wish.spec.slug => "a monitor cannot depend on itself".to_owned(),
            None => format!("there is no monitor `{}`; make it first", clip(name)),
            Some(record) if parents.contains(&record.id()) => format!("`{}` stands twice", clip(name)),
            Some(record) => {
                parents.push(record.id());
                continue;
            }
        };
        errors.push(FieldError::new(format!("depends_on.{index}"), fault));
    }
    wish.spec.depends_on = parents;
}

/// The windows that cover a monitor; null where there is none.
fn covering(record: &Record, windows: &[Arc<Maintenance>], now: Timestamp) -> Value {
    let covering = windows.iter().filter(|window| window.covers(record));
    let shown: Vec<_> = covering
        .map(|window| {
            let ends = window.spec.current(now).map(|(_, to)| to);
            json!({"id": window.id, "title": window.spec.title, "to": instant(ends)})
        })
        .collect();
    if shown.is_empty() { Value::Null } else { Value::Array(shown) }
}

fn checks(spec: &MonitorSpec, engine: &Engine) -> Vec<FieldError> {
    let mut faults = spec.faults(engine.now());
    for (index, channel) in spec.channels.iter().enumerate() {
        if engine.channel(channel).is_none() {
            let message = format!("there is no channel `{}`; make it first", clip(channel));
            faults.push(FieldError::new(format!("channels.{index}"), message));
        }
    }
    faults
}

/// Whether something about this field was told already: what follows from it helps nobody.
fn is_told(told: &[FieldError], fault: &FieldError, spec: &MonitorSpec) -> bool {
    let root = |field: &str| field.split('.').next().unwrap_or_default().to_owned();
    let rooted = |name: &str| told.iter().any(|error| root(&error.field) == name);
    match root(&fault.field).as_str() {
        "schedule" | "grace" | "early" if rooted("schedule") => true,
        // Where one of them is missing it is made from the other.
        "slug" if spec.slug.is_empty() && rooted("name") => true,
        "name" if spec.name == spec.slug && rooted("slug") => true,
        field => rooted(field),
    }
}
