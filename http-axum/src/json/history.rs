//! Pieces of history: pings, changes of state, incidents, notifications.

use std::time::Duration;

use heartbeat_engine::{
    AboutIncident, AboutMonitor, Counts, CountsPer, DeliveryState, Durations, Incident, IncidentNote, OutboxEntry,
    PingEntry, Record, Signal, StateChange, Status, StatusWord, Timestamp, format_duration,
};
use serde_json::{Value, json};

use super::instant;

/// A heartbeat without its body, of which only the size is told.
pub(crate) fn ping(entry: &PingEntry) -> Value {
    json!({
        "n": entry.n,
        "signal": entry.signal.name(),
        "effect": serde_json::to_value(entry.effect).unwrap_or_default(),
        "at": instant(entry.at),
        "arrived_at": instant(entry.arrived_at),
        "rid": entry.run.map(|run| run.to_string()),
        "run_duration": entry.run_duration.map(format_duration),
        "message": entry.message,
        "body_bytes": entry.body.as_ref().map_or(0, Vec::len),
        "body_cut": entry.body_cut,
        "value": entry.value,
        "duration": entry.duration.map(format_duration),
        "exit_status": entry.exit_status,
        "ts": instant(entry.claimed_at),
        "source": entry.source,
        "user_agent": entry.user_agent,
        "degraded": entry.degraded,
    })
}

/// The heartbeats of an hour or a day.
pub(crate) fn counts(counts: &Counts, per: CountsPer) -> Value {
    let Durations { count, sum_ms, min_ms, max_ms } = counts.durations;
    let length = |ms| format_duration(Duration::from_millis(ms));
    let durations = sum_ms.checked_div(count).map(|mean_ms| {
        json!({"count": count, "sum": length(sum_ms), "mean": length(mean_ms), "min": length(min_ms), "max": length(max_ms)})
    });
    let ends_at = Timestamp::from_millis(counts.begins_at.as_millis().saturating_add(per.millis()));
    let mut value = json!({
        "from": instant(counts.begins_at),
        "to": instant(ends_at),
        "heartbeats": counts.total(),
        "durations": durations,
    });
    for signal in Signal::ALL {
        value[signal.name()] = counts.of(signal).into();
    }
    value
}

pub(crate) fn change(change: &StateChange) -> Value {
    json!({
        "at": instant(change.at),
        "detected_at": instant(change.detected_at),
        "from": StatusWord::from(change.from).name(),
        "to": StatusWord::from(change.to).name(),
        "reason": change.reason,
    })
}

/// A change of state with its place among those of all monitors; of a removed monitor only the id is known.
pub(crate) fn event(seq: u64, changed: &StateChange, record: Option<&Record>) -> Value {
    let mut value = change(changed);
    value["seq"] = seq.into();
    value["monitor"] = record.map_or_else(
        || json!({"id": changed.monitor.to_string()}),
        |record| json!({"id": changed.monitor.to_string(), "slug": record.spec().slug, "name": record.spec().name}),
    );
    value
}

/// The fields of an incident but for its notes, which may be long.
pub(crate) fn incident_fields(incident: &Incident) -> Value {
    json!({
        "id": incident.id.to_string(),
        "opened_at": instant(incident.opened_at),
        "detected_at": instant(incident.detected_at),
        "closed_at": instant(incident.closed_at),
        "closing": incident.closing.map(heartbeat_engine::Closing::name),
        "cause": incident.cause.name(),
        "detail": incident.detail,
        "acknowledged": incident.acknowledged.as_ref().map(|by| json!({"at": instant(by.at), "by": by.by})),
        "held_by": incident.held_by,
    })
}

/// An incident with its notes and its monitor, of which only the id is known once it was removed.
pub(crate) fn incident(incident: &Incident, record: Option<&Record>, now: Timestamp) -> Value {
    let mut value = incident_fields(incident);
    let note = |note: &IncidentNote| json!({"at": instant(note.at), "by": note.by, "text": note.text});
    value["notes"] = incident.notes.iter().map(note).collect();
    value["monitor"] = record.map_or_else(
        || json!({"id": incident.monitor.to_string()}),
        |record| {
            let spec = record.spec();
            json!({
                "id": incident.monitor.to_string(),
                "slug": spec.slug,
                "name": spec.name,
                "tags": spec.tags,
                "severity": spec.severity.name(),
                "status": Status::of(record, now).word.name(),
            })
        },
    );
    value
}

/// A notification and its fate.
pub(crate) fn notification(entry: &OutboxEntry) -> Value {
    let (notification, delivery) = (&entry.notification, &entry.delivery);
    let pending = delivery.state == DeliveryState::Pending;
    json!({
        "id": notification.id.to_string(),
        "type": notification.kind.wire_name(),
        "channel": notification.channel,
        "created_at": instant(notification.created_at),
        "monitor": notification.monitor.as_ref().map(about_monitor),
        "incident": notification.incident.as_ref().map(about_incident),
        "message": notification.message,
        "state": serde_json::to_value(delivery.state).unwrap_or_default(),
        "attempts": delivery.attempts,
        "next_attempt_at": instant(pending.then_some(delivery.next_attempt_at)),
        "settled_at": instant(delivery.settled_at),
        "last_error": delivery.last_error,
        "digest_total": notification.digest.as_ref().map_or(0, |digest| digest.total()),
    })
}

fn about_monitor(monitor: &AboutMonitor) -> Value {
    json!({
        "id": monitor.id.to_string(),
        "slug": monitor.slug,
        "name": monitor.name,
        "tags": monitor.tags,
        "severity": monitor.severity.name(),
        "status": monitor.status.name(),
    })
}

fn about_incident(incident: &AboutIncident) -> Value {
    json!({
        "id": incident.id.to_string(),
        "opened_at": instant(incident.opened_at),
        "detected_at": instant(incident.detected_at),
        "closed_at": instant(incident.closed_at),
        "cause": incident.cause.name(),
        "detail": incident.detail,
    })
}
