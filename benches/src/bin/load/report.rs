//! What is printed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// The outcome of a run. What was not measured is `null` in JSON and left out of the table.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Report {
    /// How many monitors there were.
    pub(crate) monitors: u32,
    /// How many connections.
    pub(crate) connections: u32,
    /// Acknowledged heartbeats per second.
    pub(crate) heartbeats_per_second: f64,
    /// Answers per second of the route that does nothing.
    pub(crate) noop_per_second: Option<f64>,
    /// The first by the second.
    pub(crate) ratio: Option<f64>,
    /// The least ratio of a pair of slices.
    pub(crate) ratio_min: Option<f64>,
    /// The greatest.
    pub(crate) ratio_max: Option<f64>,
    /// Latency of acknowledged heartbeats; at a rate from when each was to be sent.
    pub(crate) p50_ms: Option<f64>,
    /// See `p50_ms`.
    pub(crate) p99_ms: Option<f64>,
    /// See `p50_ms`.
    pub(crate) p999_ms: Option<f64>,
    /// See `p50_ms`.
    pub(crate) max_ms: Option<f64>,
    /// From the deadline of a silent monitor until its webhook came.
    pub(crate) alert_lag_p50_ms: Option<f64>,
    /// See `alert_lag_p50_ms`.
    pub(crate) alert_lag_p99_ms: Option<f64>,
    /// See `alert_lag_p50_ms`.
    pub(crate) alert_lag_max_ms: Option<f64>,
    /// From the deadline of many monitors at once until the last was found to be down, as its incident tells.
    pub(crate) overdue_decided_ms: Option<f64>,
    /// The same until the server's metrics counted all of them, which happens once they are stored.
    pub(crate) overdue_counted_ms: Option<f64>,
    /// The same until the first message came.
    pub(crate) overdue_first_message_ms: Option<f64>,
    /// The same until the first digest came.
    pub(crate) overdue_digest_ms: Option<f64>,
    /// The same until all were told.
    pub(crate) overdue_told_ms: Option<f64>,
    /// How many messages and digests told of them.
    pub(crate) overdue_messages: Option<usize>,
    /// Resident memory of the server under load.
    pub(crate) rss_bytes: u64,
    /// The same by the number of monitors.
    pub(crate) rss_bytes_per_monitor: f64,
    /// The same once it was ready, before any load.
    pub(crate) rss_ready_bytes: u64,
    /// The database and its log under load, or the memory of the Redis.
    pub(crate) file_bytes: u64,
    /// The log alone.
    pub(crate) log_bytes: u64,
    /// From the start of the server until `/readyz` answered 200.
    pub(crate) ready_seconds: f64,
    /// The same for a start after the run.
    pub(crate) restart_seconds: Option<f64>,
    /// How long it took to write the monitors into the database.
    pub(crate) population_seconds: f64,
    /// Processor time of the server per heartbeat.
    pub(crate) cpu_us_per_heartbeat: Option<f64>,
    /// That of the generator.
    pub(crate) generator_us_per_heartbeat: Option<f64>,
    /// Processor time of the Redis per heartbeat.
    pub(crate) redis_cpu_us_per_heartbeat: Option<f64>,
    /// Commands of the Redis per heartbeat, those within scripts included.
    pub(crate) redis_commands_per_heartbeat: Option<f64>,
    /// Calls of scripts per heartbeat.
    pub(crate) redis_calls_per_heartbeat: Option<f64>,
    /// Heartbeats per second that the same script writes when one client calls it with as many at once.
    pub(crate) redis_limit_per_second: Option<f64>,
    /// The server's heartbeats per second by that.
    pub(crate) redis_limit_ratio: Option<f64>,
    /// Heartbeats that were acknowledged, warm-up included.
    pub(crate) acknowledged: u64,
    /// Answers without success, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Heartbeats without an answer.
    pub(crate) lost: u64,
    /// Heartbeats that were due and not sent, because no connection was free.
    pub(crate) unsent: u64,
    /// Heartbeats that were found in the database, all acknowledged ones among them.
    pub(crate) checked: u64,
}

impl Report {
    /// One JSON object.
    pub(crate) fn json(&self) -> Value {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(self) else { return Value::Null };
        fields.values_mut().for_each(round);
        Value::Object(fields)
    }

    /// A table with a line for each figure.
    pub(crate) fn table(&self) -> String {
        let fields = self.json();
        let shown = ORDER.iter().filter_map(|name| Some((name, fields.get(name).filter(|value| is_shown(value))?)));
        shown.map(|(name, value)| format!("{name:<28} {:>16}\n", show(name, value))).collect()
    }

    /// The main figures side by side.
    pub(crate) fn growth_row(&self) -> String {
        let fields = self.json();
        let cell = |field| fields.get(field).filter(|value| is_shown(value)).map(|value| show(field, value));
        line(COLUMNS.map(|(_, field)| cell(field).unwrap_or_else(|| "-".to_owned())))
    }
}

/// The order of the table.
const ORDER: [&str; 40] = [
    "monitors",
    "connections",
    "heartbeats_per_second",
    "noop_per_second",
    "ratio",
    "ratio_min",
    "ratio_max",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
    "cpu_us_per_heartbeat",
    "generator_us_per_heartbeat",
    "redis_cpu_us_per_heartbeat",
    "redis_commands_per_heartbeat",
    "redis_calls_per_heartbeat",
    "redis_limit_per_second",
    "redis_limit_ratio",
    "alert_lag_p50_ms",
    "alert_lag_p99_ms",
    "alert_lag_max_ms",
    "overdue_decided_ms",
    "overdue_counted_ms",
    "overdue_first_message_ms",
    "overdue_digest_ms",
    "overdue_told_ms",
    "overdue_messages",
    "rss_bytes",
    "rss_bytes_per_monitor",
    "rss_ready_bytes",
    "file_bytes",
    "log_bytes",
    "population_seconds",
    "ready_seconds",
    "restart_seconds",
    "acknowledged",
    "refused",
    "lost",
    "unsent",
    "checked",
];

/// What a row of growth shows, each under the names of its figure.
const COLUMNS: [(&str, &str); 13] = [
    ("monitors", "monitors"),
    ("heartbeats/s", "heartbeats_per_second"),
    ("noop/s", "noop_per_second"),
    ("ratio", "ratio"),
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("p99.9 ms", "p999_ms"),
    ("lag p99 ms", "alert_lag_p99_ms"),
    ("cpu us", "cpu_us_per_heartbeat"),
    ("rss", "rss_bytes"),
    ("B/monitor", "rss_bytes_per_monitor"),
    ("file", "file_bytes"),
    ("ready s", "ready_seconds"),
];

/// The names above the rows of [`Report::growth_row`].
pub(crate) fn growth_head() -> String {
    line(COLUMNS.map(|(name, _)| name.to_owned()))
}

fn line(cells: [String; COLUMNS.len()]) -> String {
    cells.map(|cell| format!("{cell:>12}")).join(" ") + "\n"
}

/// More digits than were measured help nobody.
fn round(value: &mut Value) {
    if let Some(number) = value.as_f64().filter(|_| value.is_f64()) {
        let places = if number.abs() >= 100.0 { 10.0 } else { 1000.0 };
        *value = Value::from((number * places).round() / places);
    }
}

fn is_shown(value: &Value) -> bool {
    !value.is_null() && *value != Value::Object(Map::new())
}

fn show(name: &str, value: &Value) -> String {
    match value.as_u64() {
        Some(bytes) if name.ends_with("_bytes") => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_measured() {
        let report = Report {
            monitors: 10,
            heartbeats_per_second: 51_234.56,
            ratio: Some(0.612_345),
            rss_bytes: 25_000_000,
            refused: BTreeMap::from([(429, 3)]),
            ..Report::default()
        };
        let json = report.json();
        assert_eq!((&json["heartbeats_per_second"], &json["ratio"]), (&Value::from(51_234.6), &Value::from(0.612)));
        assert_eq!((&json["noop_per_second"], &json["refused"]["429"]), (&Value::Null, &Value::from(3)));
        let table = report.table();
        let words: Vec<&str> = table.split_whitespace().collect();
        assert!(words.windows(3).any(|words| words == ["rss_bytes", "25.0", "MB"]), "{table}");
        assert!(!table.contains("noop_per_second"), "{table}");
        let fields = json.as_object().unwrap();
        assert!(fields.keys().all(|name| ORDER.contains(&name.as_str())) && fields.len() == ORDER.len());
    }

    #[test]
    fn growth_has_a_cell_for_each_name() {
        let row = Report { monitors: 1000, rss_bytes: 25_000_000, ..Report::default() }.growth_row();
        // The unit stands apart.
        let cells: Vec<_> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!((cells.len(), cells[0], cells[3], cells[9]), (COLUMNS.len(), "1000", "-", "25.0 MB"), "{row}");
        assert_eq!(growth_head().len(), row.len());
        let known = Report::default().json();
        assert!(COLUMNS.iter().all(|(_, field)| known.get(field).is_some()));
    }
}
