//! Reading the stored monitors: several parts of the ids at a time, so that reading and taking over go on side by side.

use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::{CommonTerms, MonitorId, Record, Storage, StorageError};

/// Parts that are read at the same time. What is read is taken over by one more task.
const PARTS: usize = 2;
/// Pages of a part that may wait to be taken over.
const PAGES_AHEAD: usize = 2;

/// Some monitors of one part.
#[derive(Debug)]
pub(super) struct Portion {
    pub(super) records: Vec<Arc<Record>>,
    /// How much of all ids was read before and with it, from 0 to 1.
    pub(super) covered: f64,
}

/// Every stored monitor, portion by portion. The order depends on what is stored and not on how fast it is read.
#[derive(Debug)]
pub(super) struct Portions {
    /// `None` where a part is read.
    parts: Vec<Option<mpsc::Receiver<Result<Portion, StorageError>>>>,
    next: usize,
    covered: Vec<f64>,
    // Dropped with this, they read no further.
    _readers: JoinSet<()>,
}

impl Portions {
    /// Begins to read, at most `page` monitors at a time.
    pub(super) fn begin(storage: &Arc<dyn Storage>, terms: &Arc<CommonTerms>, page: usize) -> Self {
        let mut readers = JoinSet::new();
        let parts = (0..PARTS).map(|part| {
            let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
            readers.spawn(read(storage.clone(), terms.clone(), part_of_ids(part), page, sender));
            Some(receiver)
        });
        Self { parts: parts.collect(), next: 0, covered: vec![0.0; PARTS], _readers: readers }
    }

    /// The next portion; `None` when everything is read.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn next(&mut self) -> Result<Option<Portion>, StorageError> {
        for _ in 0..PARTS {
            let part = self.next;
            self.next = (self.next + 1) % PARTS;
            let Some(receiver) = &mut self.parts[part] else { continue };
            let Some(portion) = receiver.recv().await else {
                // The last portion of a part covers all of it; else whoever read it came to an end by a panic.
                if self.covered[part] < 1.0 {
                    return Err(StorageError::Unknown("reading the stored monitors broke off".to_owned()));
                }
                self.parts[part] = None;
                continue;
            };
            let mut portion = portion?;
            self.covered[part] = portion.covered;
            portion.covered = self.covered.iter().sum::<f64>() / PARTS as f64;
            return Ok(Some(portion));
        }
        Ok(None)
    }
}

/// The ids of a part, as the numbers that they are.
fn part_of_ids(part: usize) -> RangeInclusive<u128> {
    let size = u128::MAX / PARTS as u128;
    let last = if part + 1 == PARTS { u128::MAX } else { size * (part as u128 + 1) };
    let first = if part == 0 { 0 } else { size * part as u128 + 1 };
    first..=last
}

async fn read(
    storage: Arc<dyn Storage>,
    terms: Arc<CommonTerms>,
    part: RangeInclusive<u128>,
    page: usize,
    sender: mpsc::Sender<Result<Portion, StorageError>>,
) {
    let mut after = part.start().checked_sub(1).map(|before| MonitorId::from_bytes(before.to_be_bytes()));
    loop {
        let read = storage.monitors(after, page).await;
        let (portion, more) = match read {
            Ok(read) => {
                let last = read.items.last().map(Record::id);
                let beyond = last.is_none_or(|last| number(last) >= *part.end());
                after = last;
                let within = |record: &Record| number(record.id()) <= *part.end();
                let shared = |mut record: Record| {
                    terms.share_monitor(&mut record.monitor);
                    Arc::new(record)
                };
                let records = read.items.into_iter().filter(within).map(shared).collect();
                let more = read.more && !beyond;
                let covered = if more { after.map_or(1.0, |last| fraction(&part, number(last))) } else { 1.0 };
                (Ok(Portion { records, covered }), more)
            }
            Err(error) => (Err(error), false),
        };
        // Nobody takes it when the loading was given up.
        if sender.send(portion).await.is_err() || !more {
            return;
        }
    }
}

fn number(id: MonitorId) -> u128 {
    u128::from_be_bytes(*id.as_bytes())
}

fn fraction(part: &RangeInclusive<u128>, reached: u128) -> f64 {
    (reached - part.start().min(&reached)) as f64 / (part.end() - part.start()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_breaks_off_is_not_all_there_is() {
        let part = |covered: f64| {
            let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
            sender.try_send(Ok(Portion { records: Vec::new(), covered })).unwrap();
            Some(receiver)
        };
        let mut portions = Portions {
            parts: vec![part(1.0), part(0.5)],
            next: 0,
            covered: vec![0.0; PARTS],
            _readers: JoinSet::new(),
        };
        let mut covered = Vec::new();
        let end = loop {
            match portions.next().await {
                Ok(Some(portion)) => covered.push(portion.covered),
                end => break end,
            }
        };
        assert_eq!(covered, [0.5, 0.75]);
        assert!(matches!(end, Err(StorageError::Unknown(_))), "{end:?}");
    }

    #[test]
    fn every_id_belongs_to_one_part() {
        let mut next = 0;
        for part in 0..PARTS {
            let ids = part_of_ids(part);
            assert_eq!(*ids.start(), next);
            next = ids.end().wrapping_add(1);
        }
        assert_eq!(next, 0, "the last one ends with the last id");
    }
}
