//! Monitors: the wish that is read, and the answer that also tells how they stand.

use heartbeat_engine::schedule::{Schedule, Zone};
use heartbeat_engine::{
    Arm, Engine, FieldError, MonitorSpec, Record, Severity, Status, Timestamp, Token, format_duration, slug_from_name,
};
use serde_json::{Value, json};

use super::fields::Fields;
use super::{history, instant, read_grace, read_schedule, schedule};
use crate::problem::Problem;
use crate::query::clip;

const ARMS: [(&str, Arm); 2] = [("created", Arm::Created), ("first_ping", Arm::FirstPing)];
const SEVERITIES: [(&str, Severity); 3] =
    [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];

/// What an answer tells and nobody can set.
const READ_ONLY: [&str; 14] = [
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
    "declared_in",
];

/// A monitor as somebody wishes it.
#[derive(Debug, Clone)]
pub(crate) struct MonitorWish {
    pub(crate) spec: MonitorSpec,
    pub(crate) token: Option<Token>,
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
    let wish = read_wish(value, reading.timezone, reading.slug, &mut errors);
    if let Some(wish) = &wish {
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
/// settings file. `timezone` is for schedules that name none. Gives also the ping token to make it with, where it
/// names one. Whether its channels exist is not checked.
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
/// let (spec, token) = heartbeat_http::monitor_from_json(&wish, &Zone::utc(), now).map_err(|faults| faults[0].clone())?;
/// assert_eq!((spec.slug.as_str(), token), ("cert-sync", None));
/// # Ok::<(), heartbeat_engine::FieldError>(())
/// ```
pub fn monitor_from_json(
    value: &Value,
    timezone: &Zone,
    now: Timestamp,
) -> Result<(MonitorSpec, Option<Token>), Vec<FieldError>> {
    let mut errors = Vec::new();
    let wish = read_wish(value, timezone, None, &mut errors);
    if let Some(wish) = &wish {
        let told = errors.clone();
        errors.extend(wish.spec.faults(now).into_iter().filter(|fault| !is_told(&told, fault, &wish.spec)));
    }
    match wish {
        Some(MonitorWish { spec, token }) if errors.is_empty() => Ok((spec, token)),
        _ => Err(errors),
    }
}

/// The part of a monitor that can be wished, in the form that is read.
pub(crate) fn wish(spec: &MonitorSpec) -> Value {
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
        "remind_every": null,
        "depends_on": [],
        "value_min": spec.value_min,
        "value_max": spec.value_max,
        "require_signature": spec.require_signature,
    })
}

/// A monitor as an answer tells it; the token and its URL only where `ping_url` is given.
pub(crate) fn monitor(record: &Record, now: Timestamp, ping_url: Option<String>) -> Value {
    let status = Status::of(record, now);
    let (monitor, health) = (&record.monitor, &record.health);
    let mut value = wish(&monitor.spec);
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
    value["incident"] = health.incident.as_ref().map_or(Value::Null, history::incident_fields);
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
            fields.fault("schedule", "is missing; give one such as {\"every\": \"2h\"}");
            None
        }
    };
    let mut spec = MonitorSpec::new(slug, read.unwrap_or(placeholder));
    if let Some(name) = name {
        spec.name = name;
    }
    read_rest(&mut fields, &mut spec);
    read_later(&mut fields);
    let token = read_token(&mut fields);
    for field in READ_ONLY {
        if fields.has(field) {
            let _ = fields.value(field);
            fields.fault(field, "can only be read; leave it out");
        }
    }
    fields.finish();
    Some(MonitorWish { spec, token })
}

fn read_rest(fields: &mut Fields<'_, '_>, spec: &mut MonitorSpec) {
    if let Some(text) = fields.text("description") {
        text.clone_into(&mut spec.description);
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
    spec.require_signature = fields.boolean("require_signature").unwrap_or_default();
}

/// What this version knows of and does not do yet.
fn read_later(fields: &mut Fields<'_, '_>) {
    if fields.value("remind_every").is_some() {
        fields.fault("remind_every", "reminders are not available in this version; give null or leave it out");
    }
    if fields.value("depends_on").is_some_and(|value| value.as_array().is_none_or(|items| !items.is_empty())) {
        fields.fault("depends_on", "dependencies are not available in this version; give [] or leave it out");
    }
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
