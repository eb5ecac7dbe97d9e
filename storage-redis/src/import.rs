//! Takes in what another storage kept.

use heartbeat_engine::compact::{Hours, hour_of, pack_hours};
use heartbeat_engine::{Counts, Document, Imported, MonitorId, StateChange, StorageError};
use redis::Cmd;

use crate::codec;
use crate::fold::span_of;
use crate::script::{IMPORT, IMPORT_DOCUMENTS, IMPORT_FEED};
use crate::store::Store;

/// Takes it in. See [`heartbeat_engine::Import::import`].
pub(crate) async fn import(store: &Store, imported: &Imported) -> Result<(), StorageError> {
    let since = store.before_writing().await?;
    let Imported { partition, epoch, counts, events, incidents, documents } = imported;
    let mut call = IMPORT.on(&[&store.keys.lease(*partition)]);
    call.arg(epoch.0).arg(counts.len());
    counts.iter().for_each(|(id, counts)| add_hours(&mut call, *id, counts));
    call.arg(events.len());
    for (seq, change) in events {
        call.arg(*seq).arg(change.monitor.as_bytes()).arg(codec::json(change)?);
    }
    call.arg(incidents.len());
    for incident in incidents {
        let mut bytes = Vec::new();
        codec::incident(&mut bytes, incident)?;
        call.arg(bytes);
    }
    store.write::<u8>(&IMPORT, &call).await?;
    // Whoever repeats the first call after a crash repeats this one.
    write_places(store, partition.0, events).await?;
    write_documents(store, documents).await?;
    store.wait_for_replicas(since).await
}

fn add_hours(call: &mut Cmd, id: MonitorId, counts: &[Counts]) {
    let hours: Hours = counts.iter().map(|counts| (hour_of(counts.begins_at), *counts)).collect();
    let mut spans: Vec<(i64, Hours)> = Vec::new();
    for (hour, counts) in hours {
        let span = span_of(hour);
        match spans.last_mut() {
            Some((last, hours)) if *last == span => drop(hours.insert(hour, counts)),
            _ => spans.push((span, Hours::from([(hour, counts)]))),
        }
    }
    call.arg(id.as_bytes()).arg(spans.len());
    for (span, hours) in spans {
        call.arg(span).arg(pack_hours(&hours));
    }
}

async fn write_places(store: &Store, partition: u16, events: &[(u64, StateChange)]) -> Result<(), StorageError> {
    if events.is_empty() {
        return Ok(());
    }
    let keys = [store.keys.feed("order"), store.keys.feed("last"), store.keys.feed("up-to")];
    let mut call = IMPORT_FEED.on(&keys.each_ref().map(String::as_str));
    call.arg(partition);
    for (seq, _) in events {
        call.arg(*seq);
    }
    store.write::<u8>(&IMPORT_FEED, &call).await.map(drop)
}

async fn write_documents(store: &Store, documents: &[Document]) -> Result<(), StorageError> {
    if documents.is_empty() {
        return Ok(());
    }
    let mut call = IMPORT_DOCUMENTS.on(&[&store.keys.documents("import")]);
    for document in documents {
        let body = [document.version.0.to_string().as_bytes(), b" ", &codec::json(&document.body)?].concat();
        call.arg(&document.kind).arg(&document.id).arg(body);
    }
    store.write::<u8>(&IMPORT_DOCUMENTS, &call).await.map(drop)
}
