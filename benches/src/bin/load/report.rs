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
    /// Resident memory of the server under load.
    pub(crate) rss_bytes: u64,
    /// The same by the number of monitors.
    pub(crate) rss_bytes_per_monitor: f64,
    /// The same once it was ready, before any load.
    pub(crate) rss_ready_bytes: u64,
    /// The database and its log under load.
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
        let Value::Object(fields) = self.json() else { return String::new() };
        let shown = fields.iter().filter(|(_, value)| is_shown(value));
        shown.map(|(name, value)| format!("{name:<28} {:>16}\n", show(name, value))).collect()
    }
}

/// Rows side by side: the names on top, a row for each report.
pub(crate) fn growth_table(reports: &[Report]) -> String {
    const COLUMNS: [&str; 11] = [
        "monitors",
        "heartbeats_per_second",
        "ratio",
        "p50_ms",
        "p99_ms",
        "p999_ms",
        "cpu_us_per_heartbeat",
        "rss_bytes",
        "rss_bytes_per_monitor",
        "file_bytes",
        "ready_seconds",
    ];
    let mut text = COLUMNS.map(|name| format!("{name:>22}")).join(" ") + "\n";
    for report in reports {
        let fields = report.json();
        let row = COLUMNS.map(|name| format!("{:>22}", fields.get(name).map_or_else(String::new, |v| show(name, v))));
        text.push_str(&(row.join(" ") + "\n"));
    }
    text
}

/// More digits than were measured help nobody.
fn round(value: &mut Value) {
    if let Some(number) = value.as_f64().filter(|_| value.is_f64()) {
        let places = if number.abs() >= 100.0 { 1.0 } else { 1000.0 };
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
    }

    #[test]
    fn growth_has_a_row_for_each_report() {
        let rows = growth_table(&[1000, 10_000].map(|monitors| Report { monitors, ..Report::default() }));
        let first: Vec<_> = rows.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
        assert_eq!(first, ["monitors", "1000", "10000"]);
    }
}
