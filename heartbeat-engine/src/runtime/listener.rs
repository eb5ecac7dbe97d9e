//! Listens to what other nodes write, so that this one knows it soon.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::runtime::channels;
use crate::runtime::inbox::Work;
use crate::runtime::policies::{MAINTENANCE, ROUTE};
use crate::runtime::precedence::{Round, Rounds};
use crate::runtime::shared::Shared;
use crate::{
    DeliveryState, HistoryItem, HistoryQuery, MonitorNews, News, NotificationId, PartitionId, StorageError, Tenure,
};

/// How often it asks.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// The kinds of documents that the engine keeps in memory.
const KEPT_IN_MEMORY: [&str; 3] = [channels::DOCUMENT_KIND, MAINTENANCE, ROUTE];
/// How many notifications are read at the same time.
const READ_AT_ONCE: usize = 64;

/// What waits for news.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    rounds: Mutex<Rounds>,
    asked: Notify,
}

impl Awaited {
    /// See [`Rounds`]. It is whole after every call, so a panicking caller leaves nothing half done.
    pub(crate) fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the next round begin soon, because something waits for it.
    pub(crate) fn ask(&self) {
        self.asked.notify_one();
    }
}

/// Hands news to the seats as long as it is polled; ends when some was missed, and all has to be read anew.
pub(crate) async fn listen(shared: &Arc<Shared>, mut position: String) {
    if shared.tenure == Tenure::Exclusive {
        return std::future::pending().await;
    }
    let mut failing = false;
    let mut round = shared.awaited.rounds().begin();
    loop {
        let heard = shared.storage.news(Some(&position)).await;
        let more = heard.as_ref().is_ok_and(|news| news.more);
        let heard = match heard {
            // What waited is owed in the store, and is read again with everything.
            Ok(news) if news.missed => return,
            Ok(news) => tell(shared, news, &round, &mut position).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &heard
            && !failing
        {
            tracing::warn!(%error, "what other nodes write cannot be read; it is tried again");
        }
        failing = heard.is_err();
        if failing {
            tokio::time::sleep(ASK_EVERY).await;
            continue;
        }
        let heard_at = shared.clock.monotonic();
        shared.counters.report(|standing| standing.heard_at = Some(heard_at));
        if !more {
            shared.awaited.rounds().end(round.number);
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                () = shared.awaited.asked.notified() => {}
            }
            round = shared.awaited.rounds().begin();
        }
    }
}

/// Hands news on, and moves the position behind them.
async fn tell(shared: &Arc<Shared>, news: News, round: &Round, position: &mut String) -> Result<(), StorageError> {
    // What waited is told with the last of the news, and may be older than some of it.
    let waited: &[NotificationId] = if news.more { &[] } else { &round.owed };
    again(shared, [&news.owed[..], waited].concat(), round.number).await?;
    let mut of_partition: BTreeMap<PartitionId, Vec<MonitorNews>> = BTreeMap::new();
    for written in news.monitors {
        of_partition.entry(PartitionId::of(written.monitor, shared.partitions())).or_default().push(written);
    }
    for (partition, monitors) in of_partition {
        shared.inbox(partition).push_inner(&*shared.clock, Work::News(monitors));
    }
    for change in news.changes {
        // Nobody may be listening.
        let _ = shared.changes.send(change);
    }
    for kind in news.documents.into_iter().filter(|kind| KEPT_IN_MEMORY.contains(&kind.as_str())) {
        shared.first_inbox().push_inner(&*shared.clock, Work::Reread(kind));
    }
    *position = news.position;
    Ok(())
}

/// Has looked for, with the next round, what this node itself may have stored as owed without knowing.
pub(crate) fn look_for(shared: &Shared, owed: Vec<NotificationId>) {
    if !owed.is_empty() && shared.tenure != Tenure::Exclusive {
        shared.awaited.rounds().wait(owed);
        shared.awaited.ask();
    }
}

/// Hands over what is owed to channels for which this node delivers, if it is pending still. It goes by way of the seat that
/// keeps it, behind what that one came to owe before.
async fn again(shared: &Shared, owed: Vec<NotificationId>, round: u64) -> Result<(), StorageError> {
    if shared.lease.held().is_empty() {
        return Ok(());
    }
    let mut pending = Vec::new();
    for some in owed.chunks(READ_AT_ONCE) {
        let mut reads = JoinSet::new();
        for id in some.iter().copied() {
            let storage = shared.storage.clone();
            reads.spawn(async move { storage.history(&HistoryQuery::Notification(id), 1).await });
        }
        while let Some(read) = reads.join_next().await {
            let Ok(page) = read else { continue };
            let Some(HistoryItem::Notification(entry)) = page?.items.pop() else { continue };
            pending.push(entry);
        }
    }
    // Those of one monitor go out in their order.
    pending.sort_by_key(|entry| entry.seq);
    for entry in pending {
        let partition = shared.partition_of_channel(&entry.notification.channel);
        if entry.delivery.state == DeliveryState::Pending && shared.lease.epoch(partition).is_some() {
            let home = PartitionId::of_notification(entry.notification.id, shared.partitions());
            shared.inbox(home).push_inner(&*shared.clock, Work::Told(entry, round));
        }
    }
    Ok(())
}
