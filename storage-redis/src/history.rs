//! Pages of the history.

use heartbeat_engine::{HistoryItem, HistoryQuery, MonitorId, Page, StorageError};

use crate::store::Store;
use crate::{feed, fold, incidents, notifications, pings};

pub(crate) async fn page(store: &Store, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
    match query {
        HistoryQuery::Pings { monitor, before } => pings::page(store, *monitor, *before, limit).await,
        HistoryQuery::Counts { monitor, per, since, before } => {
            fold::page(store, *monitor, *per, (*since, *before), limit).await
        }
        HistoryQuery::Changes { monitor, before } => changes(store, *monitor, *before, limit).await,
        HistoryQuery::Incidents { monitor, open, before } => {
            incidents::page(store, *monitor, *open, *before, limit).await
        }
        HistoryQuery::Incident(id) => {
            Ok(Page::cut(incidents::one(store, *id).await?.map(HistoryItem::Incident), limit))
        }
        HistoryQuery::Notifications { state, incident, before } => {
            notifications::page(store, *state, *incident, *before, limit).await
        }
        HistoryQuery::Notification(id) => {
            let entry = notifications::one(store, *id).await?;
            Ok(Page::cut(entry.map(|entry| HistoryItem::Notification(Box::new(entry))), limit))
        }
        HistoryQuery::Feed { after } => feed::page(store, *after, limit).await,
        HistoryQuery::LatestEvent => feed::latest(store).await,
        other => Err(StorageError::Unavailable(format!("this storage does not know {other:?}"))),
    }
}

/// A page does not end between two changes of one version: the cursor could not tell them apart.
async fn changes(
    store: &Store,
    id: MonitorId,
    before: Option<u64>,
    limit: usize,
) -> Result<Page<HistoryItem>, StorageError> {
    let partition = store.partition_of(id);
    let mut command = redis::cmd("LRANGE");
    command.arg(store.keys.of_monitor(partition, "changes", id)).arg(0).arg(-1);
    let mut numbers: Vec<u64> = store.read(&command).await?;
    numbers.reverse();
    let changes = feed::changes(store, partition, &numbers).await?.into_iter().flatten();
    let mut wanted = changes.filter(|change| before.is_none_or(|version| change.version.0 < version)).peekable();
    let (mut items, mut last) = (Vec::new(), None);
    while let Some(change) = wanted.next_if(|change| items.len() < limit || last == Some(change.version)) {
        last = Some(change.version);
        items.push(HistoryItem::Change(change));
    }
    Ok(Page { items, more: wanted.peek().is_some() })
}
