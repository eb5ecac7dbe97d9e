//! Schedules and graces.

use heartbeat_engine::schedule::{Grace, LocalTime, Schedule, ScheduleError, ScheduleSpec, Weekdays, Zone};
use heartbeat_engine::{FieldError, format_duration};
use serde_json::{Value, json};

use super::fields::{Fields, duration};

/// A schedule as people see it.
pub(crate) fn schedule(schedule: &Schedule) -> Value {
    let spec = ScheduleSpec::from(schedule.clone());
    if let Some(period) = schedule.period() {
        return json!({"every": format_duration(period)});
    }
    let mut value = json!({});
    if let Some(at) = spec.at {
        value["at"] = at.into();
    }
    if let Some(days) = spec.days {
        value["days"] = days.into();
    }
    if let Some(cron) = spec.cron {
        value["cron"] = cron.into();
    }
    value["timezone"] = spec.timezone.into();
    value
}

/// Reads a schedule; what is wrong is noted under `path`.
pub(crate) fn read_schedule(
    value: &Value,
    path: &str,
    timezone: &Zone,
    errors: &mut Vec<FieldError>,
) -> Option<Schedule> {
    let before = errors.len();
    let mut fields = Fields::of(value, path, errors)?;
    let kinds: Vec<_> = ["every", "at", "cron"].into_iter().filter(|kind| fields.has(kind)).collect();
    let [kind] = kinds[..] else {
        let count = kinds.len();
        // The message names the whole object, so the dot behind its path goes.
        let path = fields.path("").trim_end_matches('.').to_owned();
        for known in ["every", "at", "days", "cron", "timezone"] {
            let _ = fields.value(known);
        }
        // A misspelt field is the likelier fault and comes first.
        fields.finish();
        errors.push(FieldError::new(path, ScheduleError::NotOneKind { count }.to_string()));
        return None;
    };
    let read = match kind {
        "every" => fields.duration("every").map(Schedule::every),
        "at" => read_at(&mut fields, timezone),
        _ => {
            let zone = read_zone(&mut fields, timezone);
            let text = fields.text("cron");
            text.zip(zone).map(|(text, zone)| Schedule::cron(text, zone))
        }
    };
    for stray in ["days", "timezone"] {
        if !stray_key(kind, stray) || !fields.has(stray) {
            continue;
        }
        let _ = fields.value(stray);
        fields.fault(stray, format!("does not go with `{kind}`; leave it out"));
    }
    let made = match read {
        Some(Ok(schedule)) => Some(schedule),
        Some(Err(error)) => {
            let field = error.field().strip_prefix("schedule.").unwrap_or(kind).to_owned();
            fields.fault(&field, error.to_string());
            None
        }
        None if fields.is_null(kind) => {
            fields.fault(kind, "must not be null");
            None
        }
        None => None,
    };
    fields.finish();
    made.filter(|_| errors.len() == before)
}

/// A grace: a duration or `end_of_day`.
pub(crate) fn read_grace(value: &Value) -> Result<Grace, String> {
    match value.as_str() {
        Some("end_of_day") => Ok(Grace::EndOfDay),
        Some(text) => text.parse().map_err(|error: ScheduleError| error.to_string()),
        None => duration(value).map(Grace::Fixed),
    }
}

fn read_at(fields: &mut Fields<'_, '_>, timezone: &Zone) -> Option<Result<Schedule, ScheduleError>> {
    let zone = read_zone(fields, timezone);
    let texts = fields.texts("at");
    let times = texts.and_then(|texts| {
        let parsed: Vec<Option<LocalTime>> =
            texts.iter().enumerate().map(|(index, text)| note(fields, &format!("at.{index}"), text.parse())).collect();
        parsed.into_iter().collect::<Option<Vec<_>>>()
    });
    let days = if fields.value("days").is_some() {
        let names = fields.texts("days");
        names.and_then(|names| {
            let mut all_known = true;
            for (index, name) in names.iter().enumerate() {
                all_known &= note(fields, &format!("days.{index}"), Weekdays::from_names([name])).is_some();
            }
            if all_known { Weekdays::from_names(&names).ok() } else { None }
        })
    } else {
        Some(Weekdays::EVERY_DAY)
    };
    Some(Schedule::at(&times?, days?, zone?))
}

fn read_zone(fields: &mut Fields<'_, '_>, default: &Zone) -> Option<Zone> {
    if fields.value("timezone").is_none() {
        return Some(default.clone());
    }
    let name = fields.text("timezone")?;
    note(fields, "timezone", Zone::named(name))
}

/// The good case; the bad one is noted.
fn note<T>(fields: &mut Fields<'_, '_>, field: &str, read: Result<T, ScheduleError>) -> Option<T> {
    read.map_err(|error| fields.fault(field, error.to_string())).ok()
}

fn stray_key(kind: &str, key: &str) -> bool {
    match kind {
        "every" => true,
        "cron" => key == "days",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &Value) -> Result<Value, Vec<String>> {
        let mut errors = Vec::new();
        let made = read_schedule(value, "schedule", &Zone::utc(), &mut errors);
        let shown: Vec<_> = errors.iter().map(|error| error.field.clone()).collect();
        made.map(|made| schedule(&made)).ok_or(shown)
    }

    #[test]
    fn there_and_back() {
        for value in [
            json!({"every": "2h"}),
            json!({"at": ["08:00", "16:05:30"], "days": ["mon", "tue"], "timezone": "Asia/Shanghai"}),
            json!({"at": ["16:05"], "timezone": "UTC"}),
            json!({"cron": "*/5 9-17 * * MON-FRI", "timezone": "Europe/Berlin"}),
        ] {
            assert_eq!(read(&value), Ok(value.clone()));
        }
        assert_eq!(read(&json!({"every": 90})), Ok(json!({"every": "1m30s"})));
        assert_eq!(read(&json!({"at": ["16:05"]})), Ok(json!({"at": ["16:05"], "timezone": "UTC"})));
    }

    #[test]
    fn each_wrong_part_is_named() {
        for (value, fields) in [
            (json!({"every": "1ms"}), vec!["schedule.every"]),
            (json!({"every": "2h", "at": ["16:05"]}), vec!["schedule"]),
            (json!({}), vec!["schedule"]),
            (json!("2h"), vec!["schedule"]),
            (json!({"every": null}), vec!["schedule.every"]),
            (json!({"every": "2h", "timezone": "UTC"}), vec!["schedule.timezone"]),
            (json!({"at": []}), vec!["schedule.at"]),
            (json!({"at": ["16:05", "25:00", "x"]}), vec!["schedule.at.1", "schedule.at.2"]),
            (
                json!({"at": ["24:61"], "days": ["mon", "someday"], "timezone": "Mars", "x": 1}),
                vec!["schedule.timezone", "schedule.at.0", "schedule.days.1", "schedule.x"],
            ),
            (json!({"cron": "0 25 * * *"}), vec!["schedule.cron"]),
            (json!({"cron": "0 0 31 2 *"}), vec!["schedule.cron"]),
            (json!({"cron": "0 0 * * *", "days": ["mon"]}), vec!["schedule.days"]),
        ] {
            assert_eq!(read(&value).unwrap_err(), fields, "{value}");
        }
    }
}
