//! The watcher's own life, which is that of all nodes together (S6.5).

use heartbeat_engine::{Batch, Outage, StorageError, Timestamp, WatchLog};

use crate::codec::{from_sortable, sortable};
use crate::script::WATCH;
use crate::store::Store;

/// Whether a batch says anything of it.
pub(crate) const fn has_part(batch: &Batch) -> bool {
    batch.mark.is_some()
        || batch.outage.is_some()
        || batch.forget_outages_before.is_some()
        || batch.forget_outages_after.is_some()
}

pub(crate) async fn write(store: &Store, batch: &Batch) -> Result<(), StorageError> {
    let mut call = WATCH.on(&[&store.keys.watch("mark"), &store.keys.watch("outages")]);
    let bytes = |at: Timestamp| sortable(at).to_vec();
    // Those that end after an instant are those that end a millisecond later, or later still.
    let after = batch.forget_outages_after.and_then(|at| at.as_millis().checked_add(1)).map(Timestamp::from_millis);
    call.arg(batch.mark.map(|mark| mark.as_millis().to_string()).unwrap_or_default());
    call.arg(batch.forget_outages_before.map(bytes).unwrap_or_default()).arg(after.map(bytes).unwrap_or_default());
    call.arg(batch.outage.map(|outage| [sortable(outage.to), sortable(outage.from)].concat()).unwrap_or_default());
    store.write::<u8>(&WATCH, &call).await.map(drop)
}

pub(crate) async fn read(store: &Store) -> Result<WatchLog, StorageError> {
    type Answer = (Option<i64>, Vec<Vec<u8>>, Option<i64>, Vec<Vec<u8>>);
    let mut pipeline = redis::pipe();
    for _ in 0..2 {
        pipeline.cmd("GET").arg(store.keys.watch("mark"));
        pipeline.cmd("ZRANGE").arg(store.keys.watch("outages")).arg(0).arg(-1);
    }
    let (mark, outages) = loop {
        // Redis takes no transaction while its memory is full. What is read twice alike was so at one instant.
        let (mark, outages, mark_again, outages_again): Answer = store.read_all(&pipeline).await?;
        if mark == mark_again && outages == outages_again {
            break (mark, outages);
        }
    };
    let outage = |bytes: Vec<u8>| {
        let parts = bytes.split_first_chunk().and_then(|(to, from)| Some((*to, from.try_into().ok()?)));
        let (to, from) = parts.ok_or_else(|| StorageError::Corrupt("an outage is not 16 bytes long".to_owned()))?;
        Ok(Outage { from: from_sortable(from), to: from_sortable(to) })
    };
    let outages = outages.into_iter().map(outage).collect::<Result<_, StorageError>>()?;
    Ok(WatchLog { mark: mark.map(Timestamp::from_millis), outages })
}
