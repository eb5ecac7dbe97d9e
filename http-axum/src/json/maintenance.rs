//! Maintenance windows: what they cover, and when.

use std::time::Duration;

use heartbeat_engine::schedule::{Schedule, Zone};
use heartbeat_engine::{FieldError, Maintenance, MaintenanceSpec, MaintenanceTime, Timestamp, format_duration};
use serde_json::{Value, json};

use super::fields::Fields;
use super::{instant, read_schedule, schedule};

/// The title of a window that got none.
const TITLE: &str = "Maintenance";
/// What an answer tells and nobody can set.
const READ_ONLY: [&str; 8] =
    ["id", "status", "current", "next", "monitors_covered", "warnings", "declared_in", "ended_at"];
/// How a window is told to be once; more than one of these leaves open what is meant.
const TIME_FIELDS: &str =
    "give `from` and `to`, or `for` such as \"1h\" (from now on, or from `from` on), or `schedule` and `length`";

/// How a maintenance window stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It is in force now.
    Active,
    /// It will be.
    Planned,
    /// It never will be again.
    Over,
}

impl Standing {
    pub(crate) const ALL: [(&'static str, Self); 3] =
        [("active", Self::Active), ("planned", Self::Planned), ("over", Self::Over)];

    pub(crate) fn of(spec: &MaintenanceSpec, now: Timestamp) -> Self {
        if spec.current(now).is_some() {
            Self::Active
        } else if spec.is_over(now) {
            Self::Over
        } else {
            Self::Planned
        }
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, standing)| *standing == self).map_or("over", |(name, _)| name)
    }
}

/// What is known of a window besides itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Coverage {
    /// How many monitors it covers.
    pub(crate) monitors: usize,
    /// What somebody should know about it.
    pub(crate) warnings: Vec<String>,
}

/// A window as an answer tells it.
pub(crate) fn maintenance(window: &Maintenance, coverage: &Coverage, now: Timestamp) -> Value {
    let MaintenanceSpec { title, monitors, tags, all, time, ended_at, declared_in, .. } = &window.spec;
    let mut value = json!({"id": window.id, "title": title, "monitors": monitors, "tags": tags, "all": all});
    match time {
        MaintenanceTime::Once { from, to } => {
            value["from"] = instant(*from);
            value["to"] = instant(*to);
        }
        MaintenanceTime::Recurring { schedule: begins, length } => {
            value["schedule"] = schedule(begins);
            value["length"] = format_duration(*length).into();
        }
    }
    let stretch = |stretch: Option<(Timestamp, Timestamp)>| {
        stretch.map_or(Value::Null, |(from, to)| json!({"from": instant(from), "to": instant(to)}))
    };
    value["ended_at"] = instant(*ended_at);
    value["status"] = Standing::of(&window.spec, now).name().into();
    value["current"] = stretch(window.spec.current(now));
    value["next"] = stretch(window.spec.next(now));
    value["monitors_covered"] = coverage.monitors.into();
    value["warnings"] = coverage.warnings.clone().into();
    value["declared_in"] = declared_in.clone().into();
    value
}

/// Reads a maintenance window in the form that `POST /api/maintenance` takes, for hosts that declare windows elsewhere,
/// such as in a settings file. `timezone` is for schedules that name none; `now` is where `for` begins. Whether the
/// monitors exist is not checked.
///
/// # Errors
/// Every field that is wrong, with what would be right.
///
/// ```
/// use heartbeat_engine::{Clock, SystemClock, Zone};
///
/// let wish = serde_json::json!({"title": "Patch day", "tags": ["db"], "for": "1h"});
/// let now = SystemClock::new().now();
/// let spec = heartbeat_http::maintenance_from_json(&wish, &Zone::utc(), now).map_err(|faults| faults[0].clone())?;
/// assert_eq!(spec.title, "Patch day");
/// # Ok::<(), heartbeat_engine::FieldError>(())
/// ```
pub fn maintenance_from_json(
    value: &Value,
    timezone: &Zone,
    now: Timestamp,
) -> Result<MaintenanceSpec, Vec<FieldError>> {
    let mut errors = Vec::new();
    let spec = read_maintenance(value, timezone, now, &mut errors);
    if let Some(spec) = &spec {
        let told = errors.clone();
        let is_new = |fault: &FieldError| told.iter().all(|error| error.field != fault.field);
        // Whether anything is covered was judged from the JSON, which also holds what could not be read.
        let is_judged = |fault: &FieldError| fault.field == "monitors" && spec.monitors.is_empty();
        errors.extend(faults(spec, value, now).into_iter().filter(|fault| is_new(fault) && !is_judged(fault)));
    }
    match spec {
        Some(spec) if errors.is_empty() => Ok(spec),
        _ => Err(errors),
    }
}

/// What the engine finds wrong, by the names of the JSON.
fn faults(spec: &MaintenanceSpec, value: &Value, now: Timestamp) -> Vec<FieldError> {
    let named = |FieldError { field, message }| {
        let field = match field.as_str() {
            "time.to" if value.get("for").is_some() => "for".to_owned(),
            other => other.strip_prefix("time.").unwrap_or(other).to_owned(),
        };
        FieldError { field, message: message.replace("time.", "") }
    };
    spec.faults(now).into_iter().map(named).collect()
}

fn read_maintenance(
    value: &Value,
    timezone: &Zone,
    now: Timestamp,
    errors: &mut Vec<FieldError>,
) -> Option<MaintenanceSpec> {
    let mut fields = Fields::of(value, "", errors)?;
    let title = fields.text("title").unwrap_or(TITLE).to_owned();
    let monitors = fields.texts("monitors").unwrap_or_default();
    let tags = fields.texts("tags").unwrap_or_default();
    let all = fields.boolean("all").unwrap_or_default();
    let nothing = ["monitors", "tags", "all"].into_iter().all(|field| covers_nothing(value, field));
    if nothing {
        fields.fault("monitors", "nothing is covered; give `monitors` or `tags`, or set `all` to true");
    }
    let time = read_time(&mut fields, timezone, now);
    for field in READ_ONLY {
        if fields.has(field) {
            let _ = fields.value(field);
            fields.fault(field, "can only be read; leave it out");
        }
    }
    fields.finish();
    Some(MaintenanceSpec { monitors, tags, all, ..MaintenanceSpec::new(title, time?) })
}

/// What is of the wrong type is told as that, and may well cover something once it is right.
fn covers_nothing(value: &Value, field: &str) -> bool {
    match value.get(field) {
        None | Some(Value::Null | Value::Bool(false)) => true,
        Some(value) => value.as_array().is_some_and(Vec::is_empty),
    }
}

fn read_time(fields: &mut Fields<'_, '_>, timezone: &Zone, now: Timestamp) -> Option<MaintenanceTime> {
    let recurring = fields.value("schedule").is_some();
    let (has_to, has_for) = (fields.value("to").is_some(), fields.value("for").is_some());
    let has_from = fields.value("from").is_some();
    if recurring {
        for (field, given) in [("from", has_from), ("to", has_to), ("for", has_for)] {
            if given {
                fields.fault(field, format!("does not go with `schedule`; {TIME_FIELDS}"));
            }
        }
        let value = fields.value("schedule")?;
        let begins = read_schedule(value, "schedule", timezone, fields.errors());
        if fields.value("length").is_none() {
            fields.fault("length", "is missing: how long it lasts each time, such as \"2h\"");
        }
        let length = fields.duration("length");
        return Some(MaintenanceTime::Recurring { schedule: repeating(fields, begins?)?, length: length? });
    }
    if fields.value("length").is_some() {
        fields.fault("length", format!("goes with `schedule`; {TIME_FIELDS}"));
    }
    if has_to && has_for {
        fields.fault("for", format!("does not go with `to`; {TIME_FIELDS}"));
    }
    if !has_to && !has_for {
        fields.fault("to", format!("is missing; {TIME_FIELDS}"));
    }
    let from = if has_from { fields.time("from") } else { Some(now) };
    let to = fields.time("to");
    let length: Option<Duration> = fields.duration("for");
    let from = from?;
    Some(MaintenanceTime::Once { from, to: to.or_else(|| length.map(|length| from + length))? })
}

/// A window has a time of the day at which it begins; a period has none.
fn repeating(fields: &mut Fields<'_, '_>, schedule: Schedule) -> Option<Schedule> {
    if schedule.period().is_none() {
        return Some(schedule);
    }
    fields.fault("schedule.every", "a window begins at times of the day; give `at` and times, or `cron`");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value) -> Result<MaintenanceSpec, Vec<String>> {
        let now = "2026-11-20T08:00:00Z".parse().unwrap();
        maintenance_from_json(value, &Zone::utc(), now)
            .map_err(|errors| errors.into_iter().map(|error| error.field).collect())
    }

    fn once(value: &Value) -> (String, String) {
        match read(value).unwrap().time {
            MaintenanceTime::Once { from, to } => (from.to_string(), to.to_string()),
            MaintenanceTime::Recurring { .. } => panic!("it recurs"),
        }
    }

    #[test]
    fn a_time_in_each_form() {
        let (eight, nine, ten) = ("2026-11-20T08:00:00Z", "2026-11-20T09:00:00Z", "2026-11-20T10:00:00Z");
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(once(&json!({"tags": ["db"], "for": "1h"})), pair(eight, nine));
        assert_eq!(once(&json!({"all": true, "to": ten})), pair(eight, ten));
        assert_eq!(once(&json!({"monitors": ["a"], "from": nine, "for": 3600})), pair(nine, ten));
        assert_eq!(once(&json!({"monitors": ["a"], "from": nine, "to": ten, "title": null})), pair(nine, ten));
        let nightly = json!({"tags": ["db"], "title": "n", "schedule": {"at": ["22:00"]}, "length": "2h"});
        let spec = read(&nightly).unwrap();
        let now = "2026-11-20T08:00:00Z".parse().unwrap();
        let window = Maintenance { id: "n".to_owned(), spec };
        let shown = maintenance(&window, &Coverage::default(), now);
        assert_eq!(
            (&shown["schedule"], &shown["length"]),
            (&json!({"at": ["22:00"], "timezone": "UTC"}), &json!("2h"))
        );
        assert_eq!((&shown["status"], &shown["current"]), (&json!("planned"), &Value::Null));
        assert_eq!(shown["next"], json!({"from": "2026-11-20T22:00:00Z", "to": "2026-11-21T00:00:00Z"}));
    }

    #[test]
    fn each_wrong_part_is_named() {
        let nine = "2026-11-20T09:00:00Z";
        for (value, fields) in [
            (json!({}), vec!["monitors", "to"]),
            (json!({"monitors": [], "tags": null, "all": false, "for": "1h"}), vec!["monitors"]),
            (json!({"monitors": "a", "for": "1x"}), vec!["monitors", "for"]),
            (json!({"all": "yes", "for": "1h"}), vec!["all"]),
            (json!({"tags": [5], "for": "1h"}), vec!["tags.0"]),
            (json!({"monitors": [5], "for": "1h"}), vec!["monitors.0"]),
            (json!({"all": true, "to": "soon"}), vec!["to"]),
            (json!({"all": true, "to": nine, "for": "1h"}), vec!["for"]),
            (json!({"all": true, "from": nine, "to": nine}), vec!["to"]),
            (json!({"all": true, "for": "0s"}), vec!["for"]),
            (json!({"all": true, "schedule": {"at": ["22:00"]}}), vec!["length"]),
            (json!({"all": true, "length": "2h", "for": "1h"}), vec!["length"]),
            (json!({"all": true, "schedule": {"every": "1h"}, "length": "2m"}), vec!["schedule.every"]),
            (json!({"all": true, "schedule": {"at": ["22:00"]}, "length": "25h"}), vec!["length"]),
            (
                json!({"all": true, "schedule": {"att": []}, "length": "2h", "for": "1h"}),
                vec!["for", "schedule.att", "schedule"],
            ),
            (json!({"all": true, "for": "1h", "status": "over", "colour": 1}), vec!["status", "colour"]),
            (json!({"tags": ["a", "a"], "for": "1h"}), vec!["tags.1"]),
        ] {
            assert_eq!(read(&value).unwrap_err(), fields, "{value}");
        }
    }
}
