//! Heartbeats as they are kept: the latest beside the state, the others in a list, a few in each element, newest first.

use heartbeat_engine::compact::Frame;
use heartbeat_engine::{HistoryItem, MonitorId, Page, StorageError};
use redis::Pipeline;

use crate::codec;
use crate::store::Store;

/// So many elements of the list are read at first, and then four times as many where they do not do.
const PORTION: usize = 16;

/// A page of the heartbeats of a monitor, newest first. See [`heartbeat_engine::HistoryQuery::Pings`].
pub(crate) async fn page(
    store: &Store,
    id: MonitorId,
    before: Option<u64>,
    limit: usize,
) -> Result<Page<HistoryItem>, StorageError> {
    let list = store.keys.of_monitor(store.partition_of(id), "pings", id);
    let mut portion = PORTION;
    loop {
        let mut pipeline = redis::pipe();
        add_state(&mut pipeline, store, id);
        pipeline.cmd("LRANGE").arg(&list).arg(-(portion as isize)).arg(-1);
        let (state, elements): (Option<Vec<u8>>, Vec<Vec<u8>>) = store.read_all(&pipeline).await?;
        let mut found = frames(id, state.as_deref(), &elements)?;
        found.retain(|frame| before.is_none_or(|before| frame.n < before));
        if found.len() > limit || elements.len() < portion {
            let more = found.len() > limit;
            found.truncate(limit);
            let items = found.iter().map(|frame| Ok(HistoryItem::Ping(Box::new(codec::read_ping(id, frame)?))));
            return Ok(Page { items: items.collect::<Result<_, StorageError>>()?, more });
        }
        portion = portion.saturating_mul(4);
    }
}

/// Asks for the state of a monitor, beside which its latest heartbeats are: before its list, so that what goes from there
/// into the list meanwhile is found twice, and not missed.
pub(crate) fn add_state(pipeline: &mut Pipeline, store: &Store, id: MonitorId) {
    pipeline.cmd("HGET").arg(store.keys.of(store.partition_of(id), "state")).arg(id.as_bytes());
}

/// The heartbeats of a state and of elements of the list that were read after it, newest first, each once.
pub(crate) fn frames<'a>(
    id: MonitorId,
    state: Option<&'a [u8]>,
    elements: &'a [Vec<u8>],
) -> Result<Vec<Frame<'a>>, StorageError> {
    let latest = state.map_or(Ok(&[][..]), |state| codec::latest_of(id, state))?;
    let mut frames: Vec<Frame<'a>> = Vec::new();
    for bytes in std::iter::once(latest).chain(elements.iter().rev().map(|element| &element[..])) {
        for frame in codec::read_frames(id, bytes) {
            let frame = frame?;
            if frames.last().is_none_or(|last| frame.n < last.n) {
                frames.push(frame);
            }
        }
    }
    Ok(frames)
}
