//! What the faults make of the news.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use heartbeat_engine::{
    Applied, Batch, DeliveryState, MonitorNews, News, Outcome, Storage, StorageError, Transition, Version,
};

use super::{Broken, Fault};

fn of(transition: &Transition) -> MonitorNews {
    MonitorNews { monitor: transition.monitor, version: transition.expected.unwrap_or_default().next(), form: None }
}

impl Broken {
    /// What it wrongly tells of a batch that was refused.
    pub(super) fn spread_refused(&self, batch: &Batch) {
        if self.fault == Fault::TellsFencedBatches {
            self.rumours.lock().unwrap().monitors.extend(batch.transitions.iter().map(of));
        }
    }

    /// What it wrongly tells of a batch that was taken.
    pub(super) fn spread(&self, batch: &Batch, applied: &Applied) {
        let mut rumours = self.rumours.lock().unwrap();
        for (transition, outcome) in batch.transitions.iter().zip(&applied.transitions) {
            match (self.fault, outcome) {
                (Fault::TellsItsOwn, Outcome::Committed) => self.own.lock().unwrap().push(of(transition)),
                (Fault::TellsConflicts, Outcome::Conflict { .. }) => rumours.monitors.push(of(transition)),
                _ => (),
            }
        }
        for settlement in &batch.settlements {
            if self.fault == Fault::TellsEverySettlement && settlement.delivery.state != DeliveryState::Pending {
                rumours.owed.push(settlement.id);
            }
        }
        if self.fault == Fault::TellsAgainWhatIsOwed {
            rumours.owed.extend(batch.notifications.iter().map(|owed| owed.id));
        }
    }

    /// The news as a storage with the fault tells it.
    pub(super) async fn news_with_rumours(&self, after: Option<&str>) -> Result<News, StorageError> {
        let mut news = self.inner.news(after).await?;
        if after.is_none() {
            if self.fault == Fault::TellsWhatWasBefore {
                news.position = "0".to_owned();
            }
            return Ok(news);
        }
        let rumours = std::mem::take(&mut *self.rumours.lock().unwrap());
        news.monitors.extend(rumours.monitors);
        news.monitors.append(&mut self.own.lock().unwrap());
        news.owed.extend(rumours.owed);
        match self.fault {
            Fault::TellsNoWishes => {
                news.monitors.iter_mut().filter_map(|told| told.form.as_mut()).for_each(|form| form.monitor = None);
            }
            Fault::TellsRemovalsWithoutAVersion => {
                let removals = news.monitors.iter_mut().filter(|told| told.form.is_none());
                removals.for_each(|told| told.version = Version::default());
            }
            Fault::TellsNoChanges => news.changes.clear(),
            Fault::TellsKindsAgain => news.documents.extend(news.documents.clone()),
            Fault::TellsNewestFirst => news.monitors.sort_by_key(|told| Reverse(told.version)),
            Fault::SkipsBetweenPortions if news.more => {
                news.position = (news.position.parse::<u64>().unwrap() + 1).to_string();
            }
            Fault::TellsNothingAfterACrash if self.crashes.load(Ordering::Relaxed) > 0 => news.monitors.clear(),
            Fault::TellsNothing => news = News { position: news.position, ..News::default() },
            _ => (),
        }
        Ok(news)
    }
}
