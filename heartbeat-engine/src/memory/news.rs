//! What the handles to a [`super::MemoryStorage`] tell each other.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Applied, Batch, Change, MonitorForm, MonitorNews, News, NotificationId, Outcome, Transition};

/// How many batches are remembered.
const KEPT_MAX: usize = 10_000;
/// How many of them are told at a time.
const PORTION: usize = 256;

/// What was written lately, by which handle.
#[derive(Default)]
pub(crate) struct NewsLog {
    /// There are several handles.
    pub(crate) told: bool,
    batches: VecDeque<(u64, News)>,
    /// The number of the first batch that is remembered.
    first: u64,
}

impl NewsLog {
    /// Notes what a batch wrote; `owed` are the notifications that it put into the outbox.
    pub(crate) fn note(&mut self, handle: u64, batch: &Batch, applied: &Applied, owed: Vec<NotificationId>) {
        if !self.told {
            return;
        }
        self.batches.push_back((handle, news_of(batch, applied, owed)));
        if self.batches.len() > KEPT_MAX {
            self.batches.pop_front();
            self.first += 1;
        }
    }

    /// What others than `handle` wrote behind a position.
    pub(crate) fn read(&self, handle: u64, after: Option<&str>) -> News {
        let end = self.first + self.batches.len() as u64;
        let kept = self.first..=end;
        let asked = after.map_or(Some(end), |after| after.parse().ok()).filter(|asked| kept.contains(asked));
        let (from, missed) = (asked.unwrap_or(end), asked.is_none());
        let skipped = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let portion = self.batches.iter().skip(skipped).take(PORTION);
        let position = from + portion.len() as u64;
        let mut news = News { position: position.to_string(), missed, more: position < end, ..News::default() };
        for (_, told) in portion.filter(|(writer, _)| *writer != handle) {
            news.monitors.extend(told.monitors.iter().cloned());
            news.changes.extend(told.changes.iter().cloned());
            news.owed.extend(&told.owed);
            news.documents.extend(told.documents.iter().cloned());
        }
        news.documents.sort_unstable();
        news.documents.dedup();
        news
    }
}

fn news_of(batch: &Batch, applied: &Applied, owed: Vec<NotificationId>) -> News {
    let mut news = News { owed, ..News::default() };
    let committed = |outcome: &Outcome| *outcome == Outcome::Committed;
    for (transition, _) in batch.transitions.iter().zip(&applied.transitions).filter(|(_, outcome)| committed(outcome))
    {
        news.monitors.push(of_transition(transition));
        // Those of a monitor that is removed go with it.
        if let Change::Put(_) = transition.change {
            news.changes.extend(transition.changes.iter().cloned());
        }
    }
    let written = batch.documents.iter().zip(&applied.documents).filter(|(_, outcome)| committed(outcome));
    news.documents.extend(written.map(|(write, _)| write.kind.clone()));
    news
}

fn of_transition(transition: &Transition) -> MonitorNews {
    let (version, form) = match &transition.change {
        Change::Put(record) => {
            let form = MonitorForm {
                revision: record.monitor.revision,
                monitor: Some(Arc::clone(&record.monitor)),
                health: record.health.clone(),
            };
            (record.version, Some(form))
        }
        Change::Remove => (transition.expected.unwrap_or_default(), None),
    };
    MonitorNews { monitor: transition.monitor, version, form }
}
