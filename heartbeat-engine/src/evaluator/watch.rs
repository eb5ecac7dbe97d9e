//! The watcher's own absences: stored first, then applied to what is awaited (S6).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Evaluator, Slot, UnderWay};
use crate::absence::{Look, joined};
use crate::step::{foreseen, is_ahead, touched};
use crate::{
    Batch, Notification, NotificationId, NotificationKind, Outage, PartitionId, Record, Timestamp, describe_duration,
};

/// Outages up to this long are told only where they are of over a minute, or touched a window (S6.3).
const TOLD_WHERE_TOUCHED: Duration = Duration::from_secs(5);
/// Outages over this long are told in any case.
const TOLD_ALWAYS: Duration = Duration::from_secs(60);
/// So many outages beyond the usual are remembered while maintenance windows may need them.
const KEPT_FOR_WINDOWS: usize = 1_000;
/// How many touched monitors a message names.
const NAMED_MAX: usize = 100;
/// For how many monitors it is seen at once what outages moved.
const FORESEEN_AT_ONCE: usize = 1024;

impl Evaluator {
    /// An outage goes into the store together with the new mark and the message that tells of it, before any deadline is
    /// judged and before any heartbeat is taken (S6.6).
    pub(super) fn outage_batch(&mut self, outage: Outage, mark: (Timestamp, Duration)) -> Batch {
        let mut batch = self.empty_batch();
        batch.mark = Some(mark.0);
        batch.outage = Some(outage);
        batch.notifications = self.outage_notifications(outage);
        batch.forget_outages_after = self.forget_after;
        batch.forget_outages_before = self.forgettable();
        self.under_way = Some(UnderWay {
            groups: Vec::new(),
            mark: Some(mark),
            outage: Some(outage),
            forget_before: batch.forget_outages_before,
            forget_after: batch.forget_outages_after,
            owed: batch.notifications.clone(),
        });
        batch
    }

    /// Before which instant outages are forgotten, where too many are known.
    fn forgettable(&self) -> Option<Timestamp> {
        let known = self.outages.len();
        // While it can be helped, no outage is forgotten whose work exists in memory only.
        if !self.must_forget()
            || self.foreseeing.is_some()
            || (!self.unsaved.is_empty() && known < 2 * self.outages_max)
        {
            return None;
        }
        let oldest_kept = self.outages.get(known / 4)?.to;
        let needed =
            if known < self.outages_max + KEPT_FOR_WINDOWS { self.unseen_in_windows() } else { Timestamp::MAX };
        Some(oldest_kept.min(needed))
    }

    /// Up to which instant every monitor that maintenance windows cover has seen the outages: one that meets a window in
    /// force is applied together with it, and that is not before its end (S5.3).
    fn unseen_in_windows(&self) -> Timestamp {
        let waits = |slot: &&Slot| !slot.windows.is_empty() && slot.record.health.expectation.is_some();
        self.slots.values().filter(waits).map(|slot| slot.record.health.outages_seen).min().unwrap_or(Timestamp::MAX)
    }

    fn must_forget(&self) -> bool {
        self.outages.len() >= self.outages_max
    }

    /// Whether what outages moved has to be stored although nothing else changes, so that they can be forgotten.
    pub(super) fn must_save(&self) -> bool {
        self.must_forget() && !self.unsaved.is_empty()
    }

    /// Takes over the mark and the outage of a batch that was committed.
    pub(super) fn adopt_watch(&mut self, under_way: &mut UnderWay) {
        let Some((mark, monotonic)) = under_way.mark else { return };
        self.absence.marked(mark, monotonic, under_way.outage.is_some());
        if let Some(outage) = under_way.outage {
            self.unsure = None;
            self.beforehand.clear();
            self.committed.owed.append(&mut under_way.owed);
            if let Some(before) = under_way.forget_before {
                self.outages.retain(|outage| outage.to >= before);
            }
            self.outages.push(outage);
            self.outages = joined(std::mem::take(&mut self.outages));
            self.foresee(mark);
        }
        if matches!(self.look, Look::Away(_)) {
            self.look_again();
        }
    }

    /// What was taken over may not have seen outages that are forgotten soon.
    pub(super) fn foresee_before_forgetting(&mut self, now: Timestamp) {
        if self.must_forget() {
            self.foresee(now);
        }
    }

    /// Lets what the outages moved be seen at once, before anything is judged.
    pub(super) fn foresee(&mut self, now: Timestamp) {
        self.foreseeing = Some(0);
        self.foresee_some(now);
    }

    /// The same for the next monitors, if there are more: a look at a million takes seconds, in which no heartbeat would be taken.
    /// Heartbeats of those that come later see the outages anyway.
    pub(super) fn foresee_some(&mut self, now: Timestamp) {
        let Some(from) = self.foreseeing else { return };
        let (slots, end) = self.slots.numbered(from, FORESEEN_AT_ONCE);
        let moved: Vec<Record> =
            slots.filter_map(|slot| foreseen(&slot.record, self.around(&slot.windows, &[]), now)).collect();
        for record in moved {
            let record = Arc::new(record);
            self.committed.records.push((record.id(), Some(record.clone())));
            self.unsaved.insert(record.id());
            self.keep(record);
        }
        self.foreseeing = end;
    }

    /// Compares the clocks with what they showed before.
    pub(super) fn look_again(&mut self) {
        let (now, monotonic) = self.clocks;
        self.look = self.absence.look(now, monotonic);
        if self.look == Look::SetBack {
            self.come_back(now);
        }
    }

    /// Lets no stored time stay in the future when the wall clock was set back (S6.7).
    pub(super) fn come_back(&mut self, now: Timestamp) {
        let horizon = now + Duration::from_secs(60);
        self.beforehand.clear();
        if self.outages.iter().any(|outage| outage.to > horizon) {
            self.forget_after = Some(self.forget_after.map_or(horizon, |after| after.min(horizon)));
        }
        // So much of one that ends in the future as has passed still excuses: it was stored before the clock was set back.
        self.outages.retain(|outage| outage.from < now || outage.to <= horizon);
        for outage in self.outages.iter_mut().filter(|outage| outage.to > horizon) {
            outage.to = now;
        }
        self.outages = joined(std::mem::take(&mut self.outages));
        let records = self.slots.values().map(|slot| &slot.record);
        self.ahead.extend(records.filter(|record| is_ahead(record, now)).map(|record| record.id()));
    }

    fn outage_notifications(&self, outage: Outage) -> Vec<Notification> {
        let mut found = Touched::by(outage);
        self.slots.values().for_each(|slot| found.look_at(&slot.record));
        found.notifications(&self.watcher_channels)
    }
}

/// The monitors whose windows an outage touched, and who is told of it (S6.3).
pub(crate) struct Touched {
    outage: Outage,
    count: usize,
    names: Vec<String>,
    channels: BTreeSet<String>,
}

impl Touched {
    pub(crate) fn by(outage: Outage) -> Self {
        Self { outage, count: 0, names: Vec::new(), channels: BTreeSet::new() }
    }

    /// Looks whether the outage touched this monitor's window.
    pub(crate) fn look_at(&mut self, record: &Record) {
        if touched(record, &self.outage) {
            self.count += 1;
            if self.names.len() < NAMED_MAX {
                self.names.push(record.spec().slug.as_str().to_owned());
            }
            self.channels.extend(record.spec().channels.iter().cloned());
        }
    }

    /// The messages that tell of the outage, to these channels or else to those of the monitors.
    pub(crate) fn notifications(mut self, watcher_channels: &[String]) -> Vec<Notification> {
        let outage = self.outage;
        let told = outage.length() > TOLD_ALWAYS || (outage.length() > TOLD_WHERE_TOUCHED && self.count > 0);
        if !told {
            return Vec::new();
        }
        self.names.sort_unstable();
        let lasted = describe_duration(Duration::from_secs(outage.length().as_secs()));
        let mut message = format!(
            "the watcher was away for {lasted}, from {} to {}; heartbeats of {} monitors may have been missed",
            outage.from, outage.to, self.count
        );
        if !self.names.is_empty() {
            message = format!("{message}: {}", self.names.join(", "));
        }
        let channels: Vec<&String> = if watcher_channels.is_empty() {
            self.channels.iter().collect()
        } else {
            watcher_channels.iter().collect()
        };
        channels.into_iter().map(|channel| notification(outage, channel, &message)).collect()
    }
}

fn notification(outage: Outage, channel: &str, message: &str) -> Notification {
    let named = NotificationId::named(&[
        b"watcher outage",
        &outage.from.as_millis().to_be_bytes(),
        &outage.to.as_millis().to_be_bytes(),
        channel.as_bytes(),
    ]);
    Notification {
        // The first partition keeps what is stored with the marks of life.
        id: named.within(PartitionId(0)),
        channel: channel.to_owned(),
        kind: NotificationKind::WatcherOutage,
        created_at: outage.to,
        monitor: None,
        incident: None,
        message: message.to_owned(),
        ping: None,
        digest: None,
    }
}
