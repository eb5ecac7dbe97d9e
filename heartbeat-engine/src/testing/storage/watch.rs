//! The watcher's mark of life and its outages.

use super::super::fixtures::at;
use super::{StorageHarness, write};
use crate::{Batch, Outage, Storage, WatchLog};

fn outage(from: i64, to: i64) -> Outage {
    Outage { from: at(from), to: at(to) }
}

/// The mark is what was written last, also when that is earlier (S6.7); a batch without one leaves it.
pub async fn the_mark_is_what_was_written_last<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    assert_eq!(storage.watch_log().await.unwrap(), WatchLog::default());
    for mark in [10, 15, 5] {
        write(&*storage, &Batch { mark: Some(at(mark)), ..Batch::default() }).await;
        write(&*storage, &Batch { outage: Some(outage(1, 2)), ..Batch::default() }).await;
        assert_eq!(storage.watch_log().await.unwrap().mark, Some(at(mark)));
    }
}

/// Outages are stored with the mark and listed by their end; one that is written again is kept once.
pub async fn outages_are_kept_in_order_and_once<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    for (from, to) in [(50, 60), (10, 20), (55, 70), (10, 20), (5, 60)] {
        write(&*storage, &Batch { mark: Some(at(to)), outage: Some(outage(from, to)), ..Batch::default() }).await;
    }
    let expected = vec![outage(10, 20), outage(5, 60), outage(50, 60), outage(55, 70)];
    assert_eq!(storage.watch_log().await.unwrap(), WatchLog { mark: Some(at(60)), outages: expected });
}

/// Outages that ended before an instant are forgotten, one that ended at it stays, and so does the mark.
pub async fn old_outages_are_forgotten<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    for to in [20, 30, 40] {
        write(&*storage, &Batch { mark: Some(at(to)), outage: Some(outage(1, to)), ..Batch::default() }).await;
    }
    let forget = Batch {
        forget_outages_before: Some(at(30)),
        outage: Some(outage(45, 50)),
        mark: Some(at(50)),
        ..Batch::default()
    };
    write(&*storage, &forget).await;
    let expected = vec![outage(1, 30), outage(1, 40), outage(45, 50)];
    assert_eq!(storage.watch_log().await.unwrap(), WatchLog { mark: Some(at(50)), outages: expected });
}

/// Outages that end after an instant are forgotten (S6.7), one that ends at it stays, and so does that of the batch.
pub async fn outages_of_the_future_are_forgotten<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    for to in [20, 30, 40] {
        write(&*storage, &Batch { mark: Some(at(to)), outage: Some(outage(1, to)), ..Batch::default() }).await;
    }
    write(&*storage, &Batch { forget_outages_after: Some(at(30)), ..Batch::default() }).await;
    assert_eq!(storage.watch_log().await.unwrap().outages, [outage(1, 20), outage(1, 30)]);
    let both = Batch {
        forget_outages_before: Some(at(25)),
        forget_outages_after: Some(at(25)),
        outage: Some(outage(45, 50)),
        ..Batch::default()
    };
    write(&*storage, &both).await;
    let storage = harness.reopen(storage).await;
    assert_eq!(storage.watch_log().await.unwrap(), WatchLog { mark: Some(at(40)), outages: vec![outage(45, 50)] });
}
