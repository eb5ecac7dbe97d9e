//! Reads what a report is made of from the history, with a limit on everything.

use std::collections::VecDeque;
use std::sync::Arc;

use heartbeat_engine::{
    Engine, HistoryItem, HistoryQuery, Incident, OutboxEntry, PingEntry, Record, State, StateChange, StorageError,
    Timestamp,
};

use super::{Entry, LeftOut, Report, What};

/// Heartbeats before the opening.
const BEFORE: usize = 5;
/// Heartbeats, changes and notifications within the incident, of each the first and the last so many.
const EITHER_END: usize = 50;
/// Items that are read at a time.
const PAGE: usize = 50;
/// Pages that are read at most; what is further back is not found.
const PAGES_MAX: usize = 400;

/// The report on an incident as things stand now.
pub(crate) async fn gather(
    engine: &Engine,
    incident: Incident,
    record: Option<Arc<Record>>,
) -> Result<Report, StorageError> {
    let at = engine.now();
    let heartbeats = heartbeats(engine, &incident).await?;
    let since = heartbeats.before.last().map_or(incident.opened_at, |ping| ping.arrived_at.min(incident.opened_at));
    let changes = changes(engine, &incident, since).await?;
    let notifications = notifications(engine, &incident).await?;
    let left_out = LeftOut {
        heartbeats: heartbeats.within.left_out,
        changes: changes.left_out,
        notifications: notifications.left_out,
    };
    let mut timeline = own_entries(&incident);
    let pings = heartbeats.before.into_iter().chain(heartbeats.within.into_items()).chain(heartbeats.after);
    timeline.extend(pings.map(|ping| Entry { at: ping.arrived_at, what: What::Heartbeat(Box::new(ping)) }));
    timeline.extend(changes.into_items().map(|change| Entry { at: change.at, what: What::State(change) }));
    let entry =
        |entry: OutboxEntry| Entry { at: entry.notification.created_at, what: What::Notification(Box::new(entry)) };
    timeline.extend(notifications.into_items().map(entry));
    timeline.sort_by_key(|entry| (entry.at, entry.what.rank(), order(&entry.what)));
    Ok(Report { incident, record, at, timeline, left_out })
}

/// The order among equals of one kind.
fn order(what: &What) -> u64 {
    match what {
        What::Heartbeat(ping) => ping.n,
        What::State(change) => change.version.0,
        What::Notification(entry) => entry.seq,
        _ => 0,
    }
}

/// What the incident itself tells.
fn own_entries(incident: &Incident) -> Vec<Entry> {
    let mut entries = vec![Entry { at: incident.opened_at, what: What::Opened }];
    if incident.detected_at != incident.opened_at {
        entries.push(Entry { at: incident.detected_at, what: What::Detected });
    }
    let acknowledged = incident.acknowledged.clone();
    entries.extend(acknowledged.map(|by| Entry { at: by.at, what: What::Acknowledged(by) }));
    entries.extend(incident.notes.iter().map(|note| Entry { at: note.at, what: What::Note(note.clone()) }));
    entries.extend(incident.closed_at.map(|at| Entry { at, what: What::Closed }));
    entries
}

#[derive(Default)]
struct Heartbeats {
    /// Newest first.
    before: Vec<PingEntry>,
    within: Ends<PingEntry>,
    /// The first one after the end.
    after: Option<PingEntry>,
}

async fn heartbeats(engine: &Engine, incident: &Incident) -> Result<Heartbeats, StorageError> {
    let mut found = Heartbeats::default();
    let mut before = None;
    for _ in 0..PAGES_MAX {
        let page = engine.history(&HistoryQuery::Pings { monitor: incident.monitor, before }, PAGE).await?;
        for item in page.items {
            let HistoryItem::Ping(ping) = item else { continue };
            before = Some(ping.n);
            if incident.closed_at.is_some_and(|closed_at| ping.arrived_at > closed_at) {
                found.after = Some(*ping);
            } else if ping.arrived_at >= incident.opened_at {
                found.within.push(*ping);
            } else {
                found.before.push(*ping);
                if found.before.len() == BEFORE {
                    return Ok(found);
                }
            }
        }
        if !page.more {
            break;
        }
    }
    Ok(found)
}

/// Changes of state from `since` to the end, without the going down and the recovery that the incident tells itself.
async fn changes(engine: &Engine, incident: &Incident, since: Timestamp) -> Result<Ends<StateChange>, StorageError> {
    let mut found = Ends::default();
    let mut before = None;
    for _ in 0..PAGES_MAX {
        let page = engine.history(&HistoryQuery::Changes { monitor: incident.monitor, before }, PAGE).await?;
        for item in page.items {
            let HistoryItem::Change(change) = item else { continue };
            before = Some(change.version.0);
            if change.at < since {
                return Ok(found);
            }
            let is_opening = change.to == State::Down && change.from != State::Down && change.at == incident.opened_at;
            let is_closing =
                change.from == State::Down && change.to != State::Down && Some(change.at) == incident.closed_at;
            let is_later = incident.closed_at.is_some_and(|closed_at| change.at > closed_at);
            // The history has a line of its own for it.
            let acknowledged = incident.acknowledged.as_ref().map(|by| by.at);
            let is_acknowledgement = change.to == change.from && acknowledged == Some(change.at);
            if !is_opening && !is_closing && !is_later && !is_acknowledgement {
                found.push(change);
            }
        }
        if !page.more {
            break;
        }
    }
    Ok(found)
}

async fn notifications(engine: &Engine, incident: &Incident) -> Result<Ends<OutboxEntry>, StorageError> {
    let mut found = Ends::default();
    let mut before = None;
    for _ in 0..PAGES_MAX {
        let query = HistoryQuery::Notifications { state: None, incident: Some(incident.id), before };
        let page = engine.history(&query, PAGE).await?;
        for item in page.items {
            let HistoryItem::Notification(entry) = item else { continue };
            before = Some(entry.seq);
            found.push(*entry);
        }
        if !page.more {
            break;
        }
    }
    Ok(found)
}

/// The newest and the oldest of many items that come newest first.
#[derive(Debug)]
struct Ends<T> {
    newest: Vec<T>,
    oldest: VecDeque<T>,
    left_out: usize,
}

impl<T> Default for Ends<T> {
    fn default() -> Self {
        Self { newest: Vec::new(), oldest: VecDeque::new(), left_out: 0 }
    }
}

impl<T> Ends<T> {
    fn push(&mut self, item: T) {
        if self.newest.len() < EITHER_END {
            self.newest.push(item);
            return;
        }
        if self.oldest.len() == EITHER_END {
            self.oldest.pop_front();
            self.left_out += 1;
        }
        self.oldest.push_back(item);
    }

    fn into_items(self) -> impl Iterator<Item = T> {
        self.newest.into_iter().chain(self.oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_kept() {
        let mut ends = Ends::default();
        (0..1_000).rev().for_each(|item| ends.push(item));
        assert_eq!(ends.left_out, 900);
        let items: Vec<i32> = ends.into_items().collect();
        assert_eq!((items[0], items[49], items[50], items[99]), (999, 950, 49, 0));
    }
}
