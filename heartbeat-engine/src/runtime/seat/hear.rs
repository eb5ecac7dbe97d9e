//! Takes what other nodes wrote, and that the watcher lives.

use std::sync::Arc;
use std::time::Duration;

use super::Seat;
use crate::news::Heard;
use crate::runtime::channels;
use crate::runtime::inbox::Work;
use crate::{MonitorId, MonitorNews, OutboxEntry, Record, State, StorageError, Target, Tenure};

/// How long calls wait at most while it is not known whether the watcher was away.
const UNSURE_MAX: Duration = Duration::from_secs(5);

impl Seat {
    /// Takes what other nodes made of monitors.
    pub(super) fn hear(&mut self, news: Vec<MonitorNews>) {
        for news in news {
            let monitor = news.monitor;
            match news.told_to(self.evaluator.record(monitor).map(|known| &**known)) {
                Heard::Known => {}
                Heard::Now(record) => self.adopt(monitor, record),
                Heard::Unknown => self.evaluator.handle_outdated(monitor),
            }
        }
    }

    /// Takes a notification that a round of news told.
    pub(super) fn told(&mut self, entry: OutboxEntry, round: u64) {
        if self.precedence.holds_told(&entry.notification, round, &mut self.shared.awaited.rounds()) {
            self.shared.awaited.ask();
        } else {
            self.try_again(entry);
        }
    }

    /// Takes a monitor as it is stored.
    pub(super) fn adopt(&mut self, id: MonitorId, record: Option<Record>) {
        let record = record.map(|mut record| {
            self.shared.terms.share_monitor(&mut record.monitor);
            Arc::new(record)
        });
        let is_down = |record: Option<&Arc<Record>>| record.is_some_and(|record| record.health.state == State::Down);
        let (was_down, down) = (is_down(self.evaluator.record(id)), is_down(record.as_ref()));
        self.shared.directory.update([(id, record.clone())]);
        self.evaluator.handle_record(id, record);
        if was_down != down {
            self.tell_others(id, down);
        }
    }

    /// Lets monitors of other partitions know that one which they may depend on went down, or is down no more.
    pub(super) fn tell_others(&self, id: MonitorId, down: bool) {
        if self.shared.partitions() == 1 {
            return;
        }
        let record = self.shared.directory.find(&Target::Id(id), self.shared.clock.now());
        let slug = record.map(|record| record.spec().slug.as_str().to_owned()).unwrap_or_default();
        for partition in self.shared.all_partitions().filter(|partition| *partition != self.partition) {
            let inbox = self.shared.inbox(partition);
            inbox.push_inner(&*self.shared.clock, Work::Parent(id, slug.clone(), down));
        }
    }

    /// Takes that the watcher lives. Calls that would have to wait for long until that is known are refused.
    pub(super) fn hear_of_life(&mut self) {
        if self.shared.tenure == Tenure::Exclusive {
            return;
        }
        let latest = self.shared.life.latest();
        if let Some(lived) = latest.filter(|lived| self.heard_at != Some(lived.monotonic)) {
            self.heard_at = Some(lived.monotonic);
            self.evaluator.handle_life(lived.mark, lived.monotonic, &lived.outages);
        }
        if !self.evaluator.awaits_life() || !self.evaluator.has_pending() {
            self.unsure_since = None;
            return;
        }
        let monotonic = self.shared.clock.monotonic();
        if monotonic.saturating_sub(*self.unsure_since.get_or_insert(monotonic)) > UNSURE_MAX {
            let why = "it is not known yet whether the watcher was away";
            self.evaluator.refuse_waiting(&StorageError::Unavailable(why.to_owned()));
        }
    }

    /// Refuses documents that have waited for long because nothing can be written: later nobody expects them any more.
    pub(super) fn refuse_documents(&mut self) {
        if self.may_decide() || self.aside.documents.is_empty() {
            self.shut_since = None;
            return;
        }
        let monotonic = self.shared.clock.monotonic();
        if monotonic.saturating_sub(*self.shut_since.get_or_insert(monotonic)) > UNSURE_MAX {
            let why = "the store has not said for a while who holds its leases; nothing was written";
            for (_, reply) in self.aside.documents.drain(..) {
                // The caller may have gone away.
                let _ = reply.send(Err(StorageError::Unavailable(why.to_owned())));
            }
        }
    }

    /// Reads documents that other nodes wrote. No write of this node is under way meanwhile, so nothing newer is undone.
    pub(super) async fn reread(&mut self) {
        for kind in std::mem::take(&mut self.rereads) {
            match self.shared.storage.documents(&kind).await {
                Ok(documents) if kind == channels::DOCUMENT_KIND => self.shared.channels.reload(&documents),
                Ok(documents) => self.shared.policies.reload(&kind, &documents),
                Err(error) => {
                    tracing::warn!(kind, %error, "what another node changed cannot be read; it is tried again");
                    self.rereads.insert(kind);
                    return self.pause().await;
                }
            }
        }
        // Other partitions' evaluators know it soon.
        self.shared.nudge_all();
    }
}
