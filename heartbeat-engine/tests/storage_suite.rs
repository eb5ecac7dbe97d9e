//! The suite finds storages that break a promise: each of these breaks one on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod broken_storage;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use broken_storage::{Broken, Fault};
use heartbeat_engine::testing::storage::a_fenced_batch_writes_nothing;
use heartbeat_engine::testing::{Check, StorageHarness, run, storage_promises};

struct Harness(Fault);

impl StorageHarness for Harness {
    type Storage = Broken;

    async fn fresh(&self) -> Arc<Broken> {
        Arc::new(Broken::new(self.0))
    }

    async fn reopen(&self, storage: Arc<Broken>) -> Arc<Broken> {
        storage.crashes.fetch_add(1, Ordering::Relaxed);
        if self.0 == Fault::ForgetsOnCrash { self.fresh().await } else { storage }
    }

    async fn another(&self, storage: &Arc<Broken>) -> Option<Arc<Broken>> {
        Some(Arc::new(storage.another_handle()))
    }
}

/// Whether a storage with the fault is found to break a promise.
fn breaks(fault: Fault, check: Check<Harness>) -> bool {
    panic::catch_unwind(AssertUnwindSafe(|| run(check(&Harness(fault))))).is_err()
}

/// Each of these faults is found by one promise and by no other, and there is such a fault for every promise.
const ALONE: &[(Fault, &str)] = &[
    (Fault::StopsAtTheFirstConflict, "conflicts_spare_the_rest_of_the_batch"),
    (Fault::OwesAgain, "a_notification_that_is_stored_already_changes_nothing"),
    (Fault::KeepsTheLatestMark, "the_mark_is_what_was_written_last"),
    (Fault::IsDueTooLate, "due_is_by_partition_and_strictly_before"),
    (Fault::SwapsAnyLease, "a_lease_is_swapped_only_when_epoch_and_node_match"),
    (Fault::TakesLargeDocuments, "a_document_that_is_too_large_is_refused"),
    (Fault::MixesPartitions, "due_is_by_partition_and_strictly_before"),
    (Fault::FindsAnyCase, "a_monitor_is_found_by_slug_and_by_every_token"),
    (Fault::OverwritesDocuments, "a_document_is_written_under_its_version"),
    (Fault::RepeatsTheCursor, "notifications_are_owed_in_order"),
    (Fault::ForgetsIncidentsOfTheRemoved, "removing_takes_pings_and_changes_and_keeps_the_rest"),
    (Fault::ShowsAnEventLate, "nothing_enters_the_feed_behind_a_reader"),
    (Fault::RenumbersOnCrash, "the_feed_survives_a_crash"),
    (Fault::PublishesConflicts, "a_conflict_leaves_nothing_in_the_feed"),
    (Fault::KeepsTheFuture, "outages_of_the_future_are_forgotten"),
    (Fault::ForgetsTheNewOutage, "outages_of_the_future_are_forgotten"),
    (Fault::ClipsTimes, "a_new_record_is_loaded_as_it_was_written"),
    (Fault::LoadsInItsOwnOrder, "records_are_loaded_in_the_order_asked_for"),
    (Fault::KeepsTheOldName, "a_record_is_replaced_under_its_version"),
    (Fault::CreatesAnew, "what_exists_cannot_be_created"),
    (Fault::MakesWhatIsMissing, "what_does_not_exist_cannot_be_changed"),
    (Fault::TakesAnyEpochWithoutALease, "a_partition_without_a_lease_has_epoch_zero"),
    (Fault::ComparesBeforeWriting, "one_of_many_concurrent_commits_wins"),
    (Fault::CutsLargeBatches, "a_large_batch_is_written"),
    (Fault::ForgetsLeasesOnCrash, "everything_survives_a_crash"),
    (Fault::LetsTokensBeTakenOver, "tokens_are_unique_while_they_are_kept"),
    (Fault::WritesMessagesOfTakenNames, "a_taken_name_writes_nothing_of_its_transition"),
    (Fault::TakesEmptyForNone, "a_ping_is_kept_with_all_that_it_carries"),
    (Fault::KeepsFewPings, "the_newest_pings_are_kept"),
    (Fault::LosesDurations, "heartbeats_are_counted_by_the_hour"),
    (Fault::CountsTwiceAfterACrash, "heartbeats_are_counted_by_the_hour"),
    (Fault::CountsHoursWrong, "counts_are_paged_newest_first"),
    (Fault::CountsChangesWrong, "changes_are_paged_newest_first"),
    (Fault::SplitsVersions, "a_page_of_changes_never_splits_a_version"),
    (Fault::TakesLargeCursorsForNegative, "history_of_nothing_is_empty"),
    (Fault::LosesWhoWasTold, "an_incident_is_kept_in_its_newest_form"),
    (Fault::SkipsIncidentsOfOneInstant, "incidents_are_paged_newest_first"),
    (Fault::IgnoresOpen, "incidents_are_filtered_by_monitor_and_by_being_open"),
    (Fault::LosesDigests, "a_notification_is_kept_with_all_that_it_tells"),
    (Fault::LosesErrors, "a_settlement_takes_a_notification_out_of_the_outbox"),
    (Fault::FailsOnUnknownSettlements, "a_settlement_of_what_is_unknown_changes_nothing"),
    (Fault::ListsEveryState, "notifications_are_paged_newest_first_and_filtered"),
    (Fault::RoundsNumbers, "a_document_is_kept_as_it_was_written"),
    (Fault::ListsDocumentsBackwards, "documents_are_listed_by_kind_in_the_order_of_their_ids"),
    (Fault::OrdersOutagesByStart, "outages_are_kept_in_order_and_once"),
    (Fault::KeepsOldOutages, "old_outages_are_forgotten"),
    (Fault::RemembersDeadlines, "a_change_moves_what_is_due"),
    (Fault::IgnoresTheMonitorCursor, "monitors_are_paged_by_id"),
    (Fault::ComparesLeasesBeforeSwapping, "one_of_many_concurrent_lease_swaps_wins"),
    (Fault::FlattersTheNewer, "a_wrong_version_conflicts_and_nothing_of_it_is_written"),
    (Fault::TakesNewerEpochs, "a_fenced_batch_writes_nothing"),
    (Fault::RunsOutOfPlaces, "concurrent_batches_are_all_written"),
    (Fault::LetsNamesBeTakenTwiceAtOnce, "slugs_are_unique"),
    (Fault::RemembersOldTokens, "names_are_freed_by_changes_and_removal"),
    (Fault::IsConfusedBySwaps, "names_never_lead_to_two_monitors"),
    (Fault::CountsPingsWrong, "pings_are_paged_newest_first"),
    (Fault::BreaksTiesBackwards, "due_monitors_come_soonest_first"),
    (Fault::LosesWhenItWasSeen, "the_feed_is_in_the_order_of_commits"),
    (Fault::CountsTheFeedWrong, "the_feed_is_paged_oldest_first"),
    (Fault::LosesANeighbour, "events_of_a_removed_monitor_leave_the_feed"),
    (Fault::GivesPlacesAgain, "a_place_in_the_feed_is_never_given_twice"),
    (Fault::TellsWhatWasBefore, "news_begins_where_it_was_asked_to_begin"),
    (Fault::TellsNoWishes, "what_another_handle_commits_is_news"),
    (Fault::TellsRemovalsWithoutAVersion, "a_removal_is_news"),
    (Fault::TellsNoChanges, "changes_of_state_are_news"),
    (Fault::TellsEverySettlement, "what_comes_to_be_owed_is_news"),
    (Fault::TellsKindsAgain, "kinds_of_documents_are_news"),
    (Fault::TellsFencedBatches, "what_is_not_written_is_no_news"),
    (Fault::TellsConflicts, "what_is_not_written_is_no_news"),
    (Fault::TellsItsOwn, "own_writes_are_no_news"),
    (Fault::TellsNewestFirst, "news_of_a_monitor_comes_in_the_order_of_its_versions"),
    (Fault::SkipsBetweenPortions, "news_is_read_in_portions"),
    (Fault::TellsNothingAfterACrash, "news_outlives_whoever_wrote_it"),
];

/// These are found by several promises, this one among them.
const AMONG: &[(Fault, &str)] = &[
    (Fault::ForgetsOnCrash, "everything_survives_a_crash"),
    (Fault::IgnoresEpochs, "a_fenced_batch_writes_nothing"),
    (Fault::OverwritesOtherVersions, "a_wrong_version_conflicts_and_nothing_of_it_is_written"),
    (Fault::OverwritesOtherVersions, "one_of_many_concurrent_commits_wins"),
    (Fault::WritesPingsOfConflicts, "a_wrong_version_conflicts_and_nothing_of_it_is_written"),
    (Fault::LetsNamesBeTakenOver, "slugs_are_unique"),
    (Fault::LosesBodies, "a_ping_is_kept_with_all_that_it_carries"),
    (Fault::CountsPagesWrong, "pings_are_paged_newest_first"),
    (Fault::KeepsIncidentsOpen, "an_incident_is_kept_in_its_newest_form"),
    (Fault::RemovesNothing, "removing_takes_pings_and_changes_and_keeps_the_rest"),
    (Fault::RemovesNothing, "names_are_freed_by_changes_and_removal"),
    (Fault::SplitsFolds, "pings_are_paged_newest_first"),
    (Fault::TurnsTheFeedRound, "the_feed_is_in_the_order_of_commits"),
    (Fault::RepeatsAnEvent, "the_feed_is_paged_oldest_first"),
    (Fault::CountsTheFeedAnew, "events_of_a_removed_monitor_leave_the_feed"),
    (Fault::CountsTheFeedAnew, "a_place_in_the_feed_is_never_given_twice"),
    (Fault::DropsWhatComesAtOnce, "concurrent_batches_are_all_written"),
    (Fault::RemembersOldSlugs, "names_are_freed_by_changes_and_removal"),
    (Fault::BelievesEveryName, "names_never_lead_to_two_monitors"),
    (Fault::KeepsTheFirstForm, "an_incident_is_kept_in_its_newest_form"),
    (Fault::IsDueById, "due_monitors_come_soonest_first"),
    (Fault::TellsNothing, "news_begins_where_it_was_asked_to_begin"),
    (Fault::TellsNothing, "what_another_handle_commits_is_news"),
    (Fault::TellsNothing, "a_removal_is_news"),
    (Fault::TellsNothing, "kinds_of_documents_are_news"),
    (Fault::TellsNothing, "what_is_not_written_is_no_news"),
    (Fault::TellsNothing, "own_writes_are_no_news"),
    (Fault::TellsNothing, "news_of_a_monitor_comes_in_the_order_of_its_versions"),
    (Fault::TellsNothing, "news_is_read_in_portions"),
    (Fault::TellsAgainWhatIsOwed, "what_comes_to_be_owed_is_news"),
];

/// The promises that find a fault.
fn found_by(fault: Fault) -> Vec<&'static str> {
    let promises = storage_promises::<Harness>().into_iter();
    promises.filter(|(_, check)| breaks(fault, *check)).map(|(name, _)| name).collect()
}

#[test]
fn a_storage_without_a_fault_passes() {
    let broken: Vec<_> = storage_promises().into_iter().filter(|(_, check)| breaks(Fault::None, *check)).collect();
    assert!(broken.is_empty(), "{:?}", broken.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

#[test]
fn every_promise_has_a_fault_that_it_finds_alone() {
    for (promise, _) in storage_promises::<Harness>() {
        assert!(ALONE.iter().any(|(_, name)| *name == promise), "no storage breaks `{promise}` alone");
    }
    let middle = ALONE.len() / 2;
    thread::scope(|scope| {
        for half in [&ALONE[..middle], &ALONE[middle..]] {
            scope.spawn(move || {
                for (fault, promise) in half {
                    assert_eq!(found_by(*fault), [*promise], "{fault:?}");
                }
            });
        }
    });
}

#[test]
fn every_other_fault_is_found_too() {
    let promises = storage_promises::<Harness>();
    for (fault, promise) in AMONG {
        let check = promises.iter().find(|(name, _)| name == promise).expect("a promise").1;
        assert!(breaks(*fault, check), "{fault:?} breaks `{promise}`, but the suite did not find it");
    }
}

#[test]
fn the_page_shows_what_a_broken_promise_looks_like() {
    let check = a_fenced_batch_writes_nothing(&Harness(Fault::IgnoresEpochs));
    let told = panic::catch_unwind(AssertUnwindSafe(|| run(check))).unwrap_err();
    let told = told.downcast_ref::<String>().unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/write-your-own-storage.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains(&format!("---- a_fenced_batch_writes_nothing stdout ----\n\n{told}\n")), "{told}");
}
