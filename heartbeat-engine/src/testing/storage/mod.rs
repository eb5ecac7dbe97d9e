//! The promises of [`Storage`], each as a check that panics when it is broken.
//!
//! `storage_suite!(harness)` makes one `#[test]` of each. The checks are plain functions too, to be called on a storage
//! that is wrapped, slowed down or broken on purpose; [`storage_promises`] lists them.

mod commit;
mod counts;
mod documents;
mod feed;
mod history;
mod incidents;
mod names;
mod news;
mod notifications;
mod watch;
mod work;

use std::future::Future;
use std::sync::Arc;

pub use self::commit::*;
pub use self::counts::*;
pub use self::documents::*;
pub use self::feed::*;
pub use self::history::*;
pub use self::incidents::*;
pub use self::names::*;
pub use self::news::*;
pub use self::notifications::*;
pub use self::watch::*;
pub use self::work::*;
use super::{Check, fixtures};
use crate::{
    Batch, DocumentWrite, HistoryItem, HistoryQuery, MonitorId, OutboxEntry, Outcome, Page, PingEntry, Record, Storage,
    Transition,
};

/// Makes the storages that a suite checks.
///
/// ```
/// use heartbeat_engine::{MemoryStorage, testing::StorageHarness};
/// use std::sync::Arc;
///
/// struct Memory;
///
/// impl StorageHarness for Memory {
///     type Storage = MemoryStorage;
///
///     async fn fresh(&self) -> Arc<MemoryStorage> {
///         Arc::new(MemoryStorage::new())
///     }
///
///     // Memory survives only as long as its process.
///     async fn reopen(&self, storage: Arc<MemoryStorage>) -> Arc<MemoryStorage> {
///         storage
///     }
/// }
///
/// heartbeat_engine::storage_suite!(Memory);
/// # fn main() {}
/// ```
pub trait StorageHarness: Send + Sync {
    /// What is checked.
    type Storage: Storage;

    /// An empty storage that no other check uses.
    fn fresh(&self) -> impl Future<Output = Arc<Self::Storage>> + Send;

    /// What is there after a crash of the process that used `storage` and a restart.
    fn reopen(&self, storage: Arc<Self::Storage>) -> impl Future<Output = Arc<Self::Storage>> + Send;

    /// Another handle to the store of `storage`, as another process opens it while the first one goes on; `None`, unless told,
    /// where a store belongs to one process.
    fn another(&self, storage: &Arc<Self::Storage>) -> impl Future<Output = Option<Arc<Self::Storage>>> + Send {
        let _ = storage;
        std::future::ready(None)
    }
}

/// Every promise of a [`Storage`] by name, with its check.
#[must_use]
pub fn storage_promises<H: StorageHarness>() -> Vec<(&'static str, Check<H>)> {
    macro_rules! table {
        ($(($name:ident))*) => {
            vec![$((stringify!($name), |harness| Box::pin($name(harness)))),*]
        };
    }
    crate::__storage_promises!([table][])
}

/// Makes one `#[test]` of each promise of a [`Storage`](crate::Storage). Its argument is an expression that makes a
/// [`StorageHarness`](crate::testing::StorageHarness); each test makes one of its own.
///
/// It wants the feature `testing` of this crate, in a `[dev-dependencies]` section.
#[macro_export]
macro_rules! storage_suite {
    ($harness:expr) => {
        $crate::__storage_promises!([$crate::__storage_test] [$harness;]);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __storage_test {
    ($harness:expr; $(($name:ident))*) => {
        $(
            #[test]
            fn $name() {
                $crate::testing::run($crate::testing::storage::$name(&$harness));
            }
        )*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __storage_promises {
    ([$($callback:tt)*] [$($argument:tt)*]) => {
        $($callback)*! { $($argument)*
            (a_new_record_is_loaded_as_it_was_written)
            (records_are_loaded_in_the_order_asked_for)
            (a_record_is_replaced_under_its_version)
            (a_wrong_version_conflicts_and_nothing_of_it_is_written)
            (conflicts_spare_the_rest_of_the_batch)
            (what_exists_cannot_be_created)
            (what_does_not_exist_cannot_be_changed)
            (a_fenced_batch_writes_nothing)
            (a_partition_without_a_lease_has_epoch_zero)
            (one_of_many_concurrent_commits_wins)
            (concurrent_batches_are_all_written)
            (a_large_batch_is_written)
            (removing_takes_pings_and_changes_and_keeps_the_rest)
            (everything_survives_a_crash)
            (a_monitor_is_found_by_slug_and_by_every_token)
            (slugs_are_unique)
            (tokens_are_unique_while_they_are_kept)
            (a_taken_name_writes_nothing_of_its_transition)
            (names_are_freed_by_changes_and_removal)
            (names_never_lead_to_two_monitors)
            (pings_are_paged_newest_first)
            (a_ping_is_kept_with_all_that_it_carries)
            (the_newest_pings_are_kept)
            (heartbeats_are_counted_by_the_hour)
            (counts_are_paged_newest_first)
            (changes_are_paged_newest_first)
            (a_page_of_changes_never_splits_a_version)
            (history_of_nothing_is_empty)
            (the_feed_is_in_the_order_of_commits)
            (the_feed_is_paged_oldest_first)
            (events_of_a_removed_monitor_leave_the_feed)
            (a_place_in_the_feed_is_never_given_twice)
            (the_feed_survives_a_crash)
            (a_conflict_leaves_nothing_in_the_feed)
            (nothing_enters_the_feed_behind_a_reader)
            (an_incident_is_kept_in_its_newest_form)
            (incidents_are_paged_newest_first)
            (incidents_are_filtered_by_monitor_and_by_being_open)
            (notifications_are_owed_in_order)
            (a_notification_is_kept_with_all_that_it_tells)
            (a_notification_that_is_stored_already_changes_nothing)
            (a_settlement_takes_a_notification_out_of_the_outbox)
            (a_settlement_of_what_is_unknown_changes_nothing)
            (notifications_are_paged_newest_first_and_filtered)
            (a_document_is_kept_as_it_was_written)
            (a_document_is_written_under_its_version)
            (documents_are_listed_by_kind_in_the_order_of_their_ids)
            (a_document_that_is_too_large_is_refused)
            (the_mark_is_what_was_written_last)
            (outages_are_kept_in_order_and_once)
            (old_outages_are_forgotten)
            (outages_of_the_future_are_forgotten)
            (due_monitors_come_soonest_first)
            (due_is_by_partition_and_strictly_before)
            (a_change_moves_what_is_due)
            (monitors_are_paged_by_id)
            (a_lease_is_swapped_only_when_epoch_and_node_match)
            (one_of_many_concurrent_lease_swaps_wins)
            (news_begins_where_it_was_asked_to_begin)
            (what_another_handle_commits_is_news)
            (a_removal_is_news)
            (changes_of_state_are_news)
            (what_comes_to_be_owed_is_news)
            (kinds_of_documents_are_news)
            (what_is_not_written_is_no_news)
            (own_writes_are_no_news)
            (news_of_a_monitor_comes_in_the_order_of_its_versions)
            (news_is_read_in_portions)
            (news_outlives_whoever_wrote_it)
        }
    };
}

/// Writes a batch that must not fail as a whole, as an engine does.
async fn apply(storage: &impl Storage, batch: &Batch) -> crate::Applied {
    let shared = Arc::new(batch.clone());
    let applied = storage.commit_shared(Arc::clone(&shared)).await.expect("the batch must be taken");
    assert_eq!(Arc::strong_count(&shared), 1, "a shared batch is let go of before the answer");
    applied
}

/// Writes one transition and says how it went.
async fn outcome(storage: &impl Storage, transition: Transition) -> Outcome {
    let applied = apply(storage, &fixtures::batch([transition])).await;
    assert_eq!(applied.transitions.len(), 1, "one outcome for each transition");
    applied.transitions[0].clone()
}

/// Writes transitions that must all be committed.
async fn put(storage: &impl Storage, transitions: impl Into<Vec<Transition>>) {
    write(storage, &fixtures::batch(transitions)).await;
}

/// Writes a batch all of which must be committed.
async fn write(storage: &impl Storage, batch: &Batch) {
    let applied = apply(storage, batch).await;
    assert_eq!(applied.transitions, vec![Outcome::Committed; batch.transitions.len()], "every transition is written");
    assert_eq!(applied.documents, vec![Outcome::Committed; batch.documents.len()], "every document is written");
}

/// Writes one document and says how it went.
async fn document_outcome(storage: &impl Storage, write: DocumentWrite) -> Outcome {
    let applied = apply(storage, &Batch { documents: vec![write], ..Batch::default() }).await;
    assert_eq!(applied.documents.len(), 1, "one outcome for each document");
    applied.documents[0].clone()
}

async fn load(storage: &impl Storage, id: MonitorId) -> Option<Record> {
    let mut records = storage.load(&[id]).await.expect("load must work");
    assert_eq!(records.len(), 1, "one answer for each id");
    records.remove(0)
}

async fn history(storage: &impl Storage, query: HistoryQuery, limit: usize) -> Page<HistoryItem> {
    storage.history(&query, limit).await.expect("history must work")
}

async fn pings(storage: &impl Storage, monitor: MonitorId, before: Option<u64>, limit: usize) -> Page<PingEntry> {
    let page = history(storage, HistoryQuery::Pings { monitor, before }, limit).await;
    let ping = |item| match item {
        HistoryItem::Ping(ping) => *ping,
        other => panic!("a page of pings holds {other:?}"),
    };
    Page { items: page.items.into_iter().map(ping).collect(), more: page.more }
}

async fn outbox(storage: &impl Storage, after: u64, limit: usize) -> Page<OutboxEntry> {
    storage.outbox(after, limit).await.expect("outbox must work")
}
