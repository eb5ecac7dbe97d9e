//! Six hundred checked schedules: from a heartbeat to the occurrences and deadlines that it leaves to come.

use std::time::Duration;

use heartbeat_engine::{Grace, Occurrence, Schedule, Timestamp, parse_duration};
use serde_json::Value;

const AT: &str = include_str!("../vectors/at.jsonl");
const CRON: &str = include_str!("../vectors/cron.jsonl");

#[test]
fn every_at_vector() {
    check_all(AT);
}

#[test]
fn every_cron_vector() {
    check_all(CRON);
}

fn check_all(lines: &str) {
    assert_eq!(lines.lines().count(), 300);
    let wrong: Vec<String> = lines.lines().filter_map(|line| check(line).err()).collect();
    assert!(wrong.is_empty(), "{} of 300 differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn check(line: &str) -> Result<(), String> {
    let case: Value = serde_json::from_str(line).unwrap();
    let schedule: Schedule = serde_json::from_value(case["schedule"].clone()).unwrap();
    let grace = case["grace"].as_str().map_or(schedule.default_grace(), |grace| grace.parse::<Grace>().unwrap());
    let early = case["early"].as_str().map_or(Duration::ZERO, |early| parse_duration(early).unwrap());
    let from: Timestamp = time(&case["from"]);
    let expected = case["occurrences"].as_array().unwrap();
    schedule.check(grace, early, from).map_err(|errors| format!("{line}\n  refused: {errors:?}"))?;
    let found = schedule.preview(grace, early, from, expected.len());
    let same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            found.at == time(&expected["at"])
                && (expected["deadline"].is_null() || found.deadline == time(&expected["deadline"]))
        });
    let shown = |o: &Occurrence| format!("{} until {}", o.at, o.deadline);
    if same {
        Ok(())
    } else {
        Err(format!("{line}\n  found: {}", found.iter().map(shown).collect::<Vec<_>>().join(", ")))
    }
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}
