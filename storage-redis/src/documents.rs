//! Documents: a hash for each kind.

use heartbeat_engine::{DOCUMENT_BYTES_MAX, Document, DocumentWrite, Outcome, StorageError, Version};

use crate::codec;
use crate::script::DOCUMENTS;
use crate::store::Store;

pub(crate) async fn write(store: &Store, writes: &[DocumentWrite]) -> Result<Vec<Outcome>, StorageError> {
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let lane = store.lanes.take();
    let mut call = DOCUMENTS.on(&[&store.keys.documents(&format!("done:{}", lane.name()))]);
    call.arg(lane.next_batch());
    let mut outcomes = Vec::new();
    let mut sent = Vec::new();
    for write in writes {
        let body = write.body.as_ref().map(codec::json).transpose()?.unwrap_or_default();
        let too_large = body.len() > DOCUMENT_BYTES_MAX;
        if !too_large {
            sent.push(outcomes.len());
            call.arg(&write.kind).arg(&write.id);
            call.arg(write.expected.map(|version| version.0.to_string()).unwrap_or_default()).arg(&body);
        }
        outcomes.push(if too_large { Outcome::TooLarge { bytes: body.len() } } else { Outcome::Committed });
    }
    if sent.is_empty() {
        return Ok(outcomes);
    }
    let answers: Vec<String> = store.write(&DOCUMENTS, &call).await?;
    for (place, answer) in sent.into_iter().zip(answers) {
        if answer != "k" {
            let found = answer.parse().ok().filter(|version| *version > 0).map(Version);
            outcomes[place] = Outcome::Conflict { found };
        }
    }
    Ok(outcomes)
}

/// The documents of a kind, in the order of their ids.
pub(crate) async fn read(store: &Store, kind: &str) -> Result<Vec<Document>, StorageError> {
    let mut command = redis::cmd("HGETALL");
    command.arg(store.keys.documents(&format!("kind:{kind}")));
    let mut found: Vec<(String, Vec<u8>)> = store.read(&command).await?;
    found.sort_unstable();
    found.into_iter().map(|(id, stored)| document(kind, id, &stored)).collect()
}

fn document(kind: &str, id: String, stored: &[u8]) -> Result<Document, StorageError> {
    let damaged = |why: &str| StorageError::Corrupt(format!("the document {id} of kind {kind} {why}"));
    let blank = stored.iter().position(|byte| *byte == b' ').ok_or_else(|| damaged("has no version"))?;
    let version = std::str::from_utf8(&stored[..blank]).ok().and_then(|digits| digits.parse().ok());
    let version = Version(version.ok_or_else(|| damaged("has no number as its version"))?);
    let body =
        serde_json::from_slice(&stored[blank + 1..]).map_err(|error| damaged(&format!("is no JSON: {error}")))?;
    Ok(Document { kind: kind.to_owned(), id, version, body })
}
