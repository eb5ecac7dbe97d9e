//! Heartbeats beyond those that are kept become counts of their hours.
//!
//! Each is counted once: `lua/fold.lua` takes heartbeats away and writes their counts in one step, if nobody did it since
//! they were read. Hours lie in a hash, by *spans* of 16 days, so that little is written anew.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use heartbeat_engine::compact::{Frame, Hours, add_hours, count_heartbeat, pack_hours};
use heartbeat_engine::{
    Change, CountsPer, HistoryItem, MonitorId, Page, PartitionId, StorageError, Timestamp, Transition,
};

use crate::codec;
use crate::error::damaged;
use crate::pings;
use crate::script::FOLD;
use crate::store::Store;

const SPAN_HOURS: i64 = 16 * 24;
/// It is looked for old heartbeats when so many more have come.
const EVERY: u64 = 32;
/// So many elements of the list are folded at once.
const PORTION: usize = 64;

/// Whether it is to be looked for old heartbeats behind this transition: the number of its latest one. A monitor that is made
/// with heartbeats keeps them for now.
pub(crate) fn is_due(transition: &Transition) -> Option<u64> {
    let latest = transition.pings.iter().map(|ping| ping.n).max()?;
    let due = transition.pings.iter().any(|ping| ping.n.is_multiple_of(EVERY)) && transition.expected.is_some();
    (due && matches!(transition.change, Change::Put(_))).then_some(latest)
}

/// Folds what is old of monitors' heartbeats, given the number of the latest of each. What fails is tried again with a later one.
pub(crate) async fn fold_all(store: &Store, partition: PartitionId, latest: &BTreeMap<MonitorId, u64>) {
    let folds = latest.iter().map(|(id, latest)| async move {
        if let Err(error) = fold(store, partition, *id, *latest).await {
            tracing::warn!(monitor = %id, %error, "old heartbeats could not be counted and forgotten");
        }
    });
    join_all(folds).await;
}

async fn fold(store: &Store, partition: PartitionId, id: MonitorId, latest: u64) -> Result<(), StorageError> {
    let kept_from = (latest + 1).saturating_sub(store.options.limits.pings_per_monitor as u64);
    let mut command = redis::cmd("LRANGE");
    command.arg(store.keys.of_monitor(partition, "pings", id)).arg(0).arg(PORTION - 1);
    loop {
        let elements: Vec<Vec<u8>> = store.read(&command).await?;
        let mut old = 0;
        while old < elements.len() && is_old(id, &elements[old], kept_from)? {
            old += 1;
        }
        if old == 0 || !fold_elements(store, partition, id, &elements[..old]).await? || old < PORTION {
            return Ok(());
        }
    }
}

/// Whether all heartbeats of an element are before those that are kept.
fn is_old(id: MonitorId, element: &[u8], kept_from: u64) -> Result<bool, StorageError> {
    codec::read_frames(id, element).try_fold(true, |old, frame| Ok(old && frame?.n < kept_from))
}

/// Counts and forgets the oldest elements of the list; false where somebody else did it meanwhile.
async fn fold_elements(
    store: &Store,
    partition: PartitionId,
    id: MonitorId,
    old: &[Vec<u8>],
) -> Result<bool, StorageError> {
    let mut hours = Hours::new();
    count(&mut hours, id, &pings::frames(id, None, old)?)?;
    let days = i64::from(store.options.limits.counts_days);
    let first_kept = hours.last_key_value().map_or(i64::MIN, |(newest, _)| span_of(newest - days * 24));
    let spans: BTreeSet<i64> = hours.keys().map(|hour| span_of(*hour)).collect();
    let stored = stored_spans(store, partition, id, &spans).await?;
    let mut call = FOLD.on(&[&store.keys.lease(partition)]);
    call.arg(id.as_bytes()).arg(&old[0]).arg(old.len());
    call.arg(first_kept).arg(days * 24 / SPAN_HOURS + 2);
    for (span, stored) in spans.into_iter().zip(stored) {
        let mut counted: Hours =
            hours.range(span * SPAN_HOURS..(span + 1) * SPAN_HOURS).map(|(n, c)| (*n, *c)).collect();
        merge(&mut counted, id, stored.as_deref().unwrap_or_default())?;
        if days > 0 {
            call.arg(span).arg(pack_hours(&counted));
        }
    }
    Ok(store.write::<u8>(&FOLD, &call).await? == 1)
}

async fn stored_spans(
    store: &Store,
    partition: PartitionId,
    id: MonitorId,
    spans: &BTreeSet<i64>,
) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
    let mut command = redis::cmd("HMGET");
    command.arg(store.keys.of_monitor(partition, "hours", id));
    command.arg(spans.iter().copied().collect::<Vec<_>>());
    store.read(&command).await
}

/// A page of the counts of a monitor, newest first: those that were folded, and those of the heartbeats that are kept.
pub(crate) async fn page(
    store: &Store,
    id: MonitorId,
    per: CountsPer,
    (since, before): (Option<Timestamp>, Option<Timestamp>),
    limit: usize,
) -> Result<Page<HistoryItem>, StorageError> {
    let partition = store.partition_of(id);
    let (state, spans, elements) = read(store, partition, id).await?;
    let mut hours = Hours::new();
    count(&mut hours, id, &pings::frames(id, state.as_deref(), &elements)?)?;
    for span in spans {
        merge(&mut hours, id, &span)?;
    }
    let counts = per.gather(hours.into_values().rev());
    let wanted = counts.filter(|counts| {
        since.is_none_or(|since| counts.begins_at >= since) && before.is_none_or(|before| counts.begins_at < before)
    });
    Ok(Page::cut(wanted.map(HistoryItem::Counts), limit))
}

/// The state, the hours that are stored and the list of heartbeats that are not in them, with nothing folded between: not as a
/// transaction, which Redis does not take while its memory is full.
async fn read(
    store: &Store,
    partition: PartitionId,
    id: MonitorId,
) -> Result<(Option<Vec<u8>>, Vec<Vec<u8>>, Vec<Vec<u8>>), StorageError> {
    type Answer = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<Vec<u8>>, Vec<Vec<u8>>);
    let (pings, hours) = (store.keys.of_monitor(partition, "pings", id), store.keys.of_monitor(partition, "hours", id));
    let mut pipeline = redis::pipe();
    pings::add_state(&mut pipeline, store, id);
    pipeline.cmd("LINDEX").arg(&pings).arg(0);
    pipeline.cmd("HVALS").arg(&hours);
    pipeline.cmd("LRANGE").arg(&pings).arg(0).arg(-1);
    loop {
        let (state, oldest, hours, pings): Answer = store.read_all(&pipeline).await?;
        // Folding takes the oldest away.
        if oldest.as_ref() == pings.first() {
            return Ok((state, hours, pings));
        }
    }
}

fn count(hours: &mut Hours, id: MonitorId, frames: &[Frame<'_>]) -> Result<(), StorageError> {
    for frame in frames {
        let counted = count_heartbeat(hours, frame);
        counted.map_err(|error| damaged(&format!("a heartbeat of monitor {id}"), &error))?;
    }
    Ok(())
}

/// Adds hours that are stored.
fn merge(hours: &mut Hours, id: MonitorId, stored: &[u8]) -> Result<(), StorageError> {
    add_hours(hours, stored).map_err(|error| damaged(&format!("the counted hours of monitor {id}"), &error))
}

/// The span in which an hour lies.
pub(crate) const fn span_of(hour: i64) -> i64 {
    hour.div_euclid(SPAN_HOURS)
}
