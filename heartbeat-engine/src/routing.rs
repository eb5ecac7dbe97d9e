//! What is owed to whom, and in which words (S7).

use std::fmt::{self, Write as _};

use crate::{
    AboutIncident, AboutMonitor, Cause, Expectation, FlapLimit, Health, Incident, Monitor, Notification,
    NotificationId, NotificationKind, PingEntry, State, Timestamp, Version, describe_duration, schedule::Grace,
};

/// The longest text of a heartbeat that goes into a detail: characters.
const QUOTE_CHARS_MAX: usize = 500;

/// What a notification of a monitor is made from.
pub(crate) struct Subject<'a> {
    pub(crate) monitor: &'a Monitor,
    pub(crate) state: State,
    pub(crate) version: Version,
    pub(crate) ordinal: usize,
}

impl Subject<'_> {
    pub(crate) fn notification(
        &self,
        kind: NotificationKind,
        channel: &str,
        now: Timestamp,
        message: &str,
        incident: Option<&Incident>,
        ping: Option<&PingEntry>,
    ) -> Notification {
        let spec = &self.monitor.spec;
        Notification {
            id: NotificationId::derive(self.monitor.id, self.version, self.ordinal, channel),
            channel: channel.to_owned(),
            kind,
            created_at: now,
            monitor: Some(AboutMonitor {
                id: self.monitor.id,
                slug: spec.slug.as_str().to_owned(),
                name: spec.name.as_str().to_owned(),
                tags: spec.tags.clone(),
                severity: spec.severity,
                status: self.state.into(),
            }),
            incident: incident.map(|incident| AboutIncident {
                id: incident.id,
                opened_at: incident.opened_at,
                detected_at: incident.detected_at,
                closed_at: incident.closed_at,
                cause: incident.cause,
                detail: incident.detail.clone(),
            }),
            message: message.to_owned(),
            ping: ping.map(|entry| PingEntry { body: None, ..entry.clone() }),
            digest: None,
        }
    }
}

/// `NAME TEXT`, the name of the monitor first.
pub(crate) fn sentence(monitor: &Monitor, text: fmt::Arguments<'_>) -> String {
    const USUAL: usize = 112;
    let name = monitor.spec.name.as_str();
    let mut sentence = String::with_capacity(name.len() + USUAL);
    // Writing to a text cannot fail.
    let _ = write!(sentence, "{name} {text}");
    sentence
}

pub(crate) fn missed_detail(monitor: &Monitor, awaited: &Expectation) -> String {
    let occurrence = awaited.occurrence;
    match monitor.spec.grace {
        Grace::Fixed(length) => format!("expected {occurrence}, grace {}", describe_duration(length)),
        Grace::EndOfDay => format!("expected {occurrence}, grace until the end of the day"),
    }
}

pub(crate) fn missed_message(monitor: &Monitor, health: &Health) -> String {
    let (expected, since) = (monitor.spec.schedule.describe(), health.based_at);
    let yet = if health.last_ping.is_some() && health.heard { "" } else { " yet" };
    sentence(monitor, format_args!("is down: no heartbeat{yet} since {since}, expected {expected}"))
}

pub(crate) fn recovered_message(monitor: &Monitor, incident: &Incident) -> String {
    let lasted = incident.closed_at.map(|at| describe_duration(whole_seconds(at.since(incident.opened_at))));
    sentence(monitor, format_args!("is up again after {}", lasted.unwrap_or_default()))
}

pub(crate) fn failed_detail(entry: &PingEntry) -> String {
    let status = entry.exit_status.map(|status| format!(" with exit status {status}")).unwrap_or_default();
    let text = entry.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let text =
        text.map(|text| format!(": {}", text.chars().take(QUOTE_CHARS_MAX).collect::<String>())).unwrap_or_default();
    format!("the job failed{status}{text}")
}

/// When the incident is told although it was held back at first (S5.4).
pub(crate) fn released_message(monitor: &Monitor, incident: &Incident, parents: &[String]) -> String {
    let (opened_at, why) = (incident.opened_at, why(incident));
    let held = format!("held back while {}", were_down(parents));
    sentence(monitor, format_args!("is down since {opened_at} ({held}): {why}"))
}

pub(crate) fn reminder_message(monitor: &Monitor, incident: &Incident, now: Timestamp) -> String {
    sentence(monitor, format_args!("is still down after {}: {}", lasted(incident, now), why(incident)))
}

pub(crate) fn escalated_message(monitor: &Monitor, incident: &Incident, route: &str, now: Timestamp) -> String {
    let (lasted, why) = (lasted(incident, now), why(incident));
    sentence(
        monitor,
        format_args!("is still down after {lasted} and nobody has acknowledged it (route {route}): {why}"),
    )
}

pub(crate) fn flapping_message(monitor: &Monitor, limit: FlapLimit, incident: &Incident) -> String {
    let within = describe_duration(limit.within);
    let (count, why) = (limit.incidents, why(incident));
    // What may be long comes last, because the subject of a mail is cut.
    sentence(
        monitor,
        format_args!(
            "is flapping: it went down {count} times within {within}; single changes are not told until it has been \
             steady for {within}; now: {why}"
        ),
    )
}

pub(crate) fn settled_message(monitor: &Monitor, incident: Option<&Incident>, since: Timestamp) -> String {
    let stands = match incident {
        Some(incident) => format!("it is down since {}: {}", incident.opened_at, why(incident)),
        None => format!("it is up since {since}"),
    };
    sentence(monitor, format_args!("is not flapping any more: {stands}"))
}

/// `a is down` or `a, b are down`.
pub(crate) fn are_down(monitors: &[String]) -> String {
    format!("{} {} down", monitors.join(", "), if monitors.len() == 1 { "is" } else { "are" })
}

fn were_down(monitors: &[String]) -> String {
    format!("{} {} down", monitors.join(", "), if monitors.len() == 1 { "was" } else { "were" })
}

/// The names in their order, each once.
pub(crate) fn without_repetition<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.contains(name) {
            found.push(name.clone());
        }
    }
    found
}

/// The cause for somebody who has heard nothing of it yet.
fn why(incident: &Incident) -> String {
    match incident.cause {
        Cause::Missed => format!("no heartbeat came, {}", incident.detail),
        _ => incident.detail.clone(),
    }
}

fn lasted(incident: &Incident, now: Timestamp) -> String {
    describe_duration(whole_seconds(now.since(incident.opened_at)))
}

fn whole_seconds(duration: std::time::Duration) -> std::time::Duration {
    if duration.as_secs() == 0 { duration } else { std::time::Duration::from_secs(duration.as_secs()) }
}
