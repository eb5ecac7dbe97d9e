//! Pages of the history of a [`super::MemoryStorage`].

use std::ops::Bound;

use super::state::State;
use crate::{HistoryItem, HistoryQuery, IncidentId, MonitorId, Page, Timestamp};

impl State {
    pub(crate) fn history(&self, query: &HistoryQuery, limit: usize) -> Page<HistoryItem> {
        match query {
            HistoryQuery::Pings { monitor, before } => {
                let pings = self.monitors.get(monitor).into_iter().flat_map(|slot| slot.pings.iter().rev());
                let wanted = pings.filter(|ping| before.is_none_or(|n| ping.n < n));
                Page::cut(wanted.map(|ping| HistoryItem::Ping(Box::new(ping.clone()))), limit)
            }
            HistoryQuery::Counts { monitor, per, since, before } => {
                let hours = self.monitors.get(monitor).into_iter().flat_map(|slot| slot.hours.values().rev());
                let counts = per.gather(hours.copied()).filter(|counts| {
                    since.is_none_or(|since| counts.begins_at >= since)
                        && before.is_none_or(|before| counts.begins_at < before)
                });
                Page::cut(counts.map(HistoryItem::Counts), limit)
            }
            HistoryQuery::Changes { monitor, before } => self.changes(*monitor, *before, limit),
            HistoryQuery::Incidents { monitor, open, before } => self.incident_page(*monitor, *open, *before, limit),
            HistoryQuery::Incident(id) => Page::cut(self.incidents.get(id).cloned().map(HistoryItem::Incident), limit),
            HistoryQuery::Notifications { state, incident, before } => {
                let entries = self.notifications.range(..before.unwrap_or(u64::MAX)).rev().map(|(_, entry)| entry);
                let wanted =
                    entries.filter(|entry| state.is_none_or(|state| entry.delivery.state == state)).filter(|entry| {
                        incident.is_none_or(|id| entry.notification.incident.as_ref().is_some_and(|i| i.id == id))
                    });
                Page::cut(wanted.map(|entry| HistoryItem::Notification(Box::new(entry.clone()))), limit)
            }
            HistoryQuery::Notification(id) => {
                let entry = self.notification_seqs.get(id).and_then(|seq| self.notifications.get(seq));
                Page::cut(entry.map(|entry| HistoryItem::Notification(Box::new(entry.clone()))), limit)
            }
            HistoryQuery::Feed { after } => {
                let places = self.feed.range((Bound::Excluded(*after), Bound::Unbounded));
                Page::cut(places.filter_map(|place| self.event(place)), limit)
            }
            HistoryQuery::LatestEvent => {
                Page::cut(self.feed.last_key_value().and_then(|place| self.event(place)), limit)
            }
        }
    }

    fn event(&self, (seq, monitor): (&u64, &MonitorId)) -> Option<HistoryItem> {
        let changes = &self.monitors.get(monitor)?.changes;
        let (seq, change) = changes.get(changes.binary_search_by_key(seq, |(seq, _)| *seq).ok()?)?;
        Some(HistoryItem::Event { seq: *seq, change: change.clone() })
    }

    /// A page does not end between two changes of one version: the cursor could not tell them apart.
    fn changes(&self, monitor: MonitorId, before: Option<u64>, limit: usize) -> Page<HistoryItem> {
        let changes = self
            .monitors
            .get(&monitor)
            .into_iter()
            .flat_map(|slot| slot.changes.iter().rev().map(|(_, change)| change));
        let mut wanted = changes.filter(|change| before.is_none_or(|version| change.version.0 < version)).peekable();
        let mut items = Vec::new();
        let mut last = None;
        while let Some(change) = wanted.next_if(|change| items.len() < limit || last == Some(change.version)) {
            last = Some(change.version);
            items.push(HistoryItem::Change(change.clone()));
        }
        Page { items, more: wanted.peek().is_some() }
    }

    fn incident_page(
        &self,
        monitor: Option<MonitorId>,
        open: Option<bool>,
        before: Option<(Timestamp, IncidentId)>,
        limit: usize,
    ) -> Page<HistoryItem> {
        let first = (Timestamp::MIN, IncidentId::from_bytes([0; 16]));
        let end = before.map_or(Bound::Included((Timestamp::MAX, IncidentId::from_bytes([0xff; 16]))), Bound::Excluded);
        let ids: Box<dyn Iterator<Item = &IncidentId>> = match monitor {
            Some(id) => {
                let range = (Bound::Included((id, first.0, first.1)), end.map(|(at, incident)| (id, at, incident)));
                Box::new(self.incidents_of.range(range).rev().map(|(_, _, incident)| incident))
            }
            None => {
                let range = (Bound::Included(first), end);
                Box::new(self.incident_order.range(range).rev().map(|(_, incident)| incident))
            }
        };
        let incidents = ids.filter_map(|id| self.incidents.get(id));
        let wanted = incidents.filter(|incident| open.is_none_or(|open| incident.is_open() == open));
        Page::cut(wanted.cloned().map(HistoryItem::Incident), limit)
    }
}
