//! Documents.

use serde_json::{Value, json};

use super::super::fixtures::{DIFFICULT_TEXT, write_document};
use super::{StorageHarness, document_outcome, write};
use crate::{Batch, DOCUMENT_BYTES_MAX, Document, Outcome, Storage, Version};

fn document(kind: &str, id: &str, version: u64, body: Value) -> Document {
    Document { kind: kind.to_owned(), id: id.to_owned(), version: Version(version), body }
}

/// The content of a document comes back equal, difficult texts and numbers included.
pub async fn a_document_is_kept_as_it_was_written<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let body = json!({
        "text": DIFFICULT_TEXT, "": [], "null": null, "deep": [[[{"a": -0.1}]]], "largest": u64::MAX,
        "least": i64::MIN, "number": 0.100_000_000_000_000_02, "small": 5e-324,
    });
    let id = DIFFICULT_TEXT;
    write(
        &*storage,
        &Batch { documents: vec![write_document("channel", id, None, Some(body.clone()))], ..Batch::default() },
    )
    .await;
    assert_eq!(storage.documents("channel").await.unwrap(), [document("channel", id, 1, body)]);
}

/// A document is made, replaced and removed under its version; each change counts, and a removed one can be made anew.
pub async fn a_document_is_written_under_its_version<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let put = async |expected, body: Option<u64>| {
        document_outcome(&*storage, write_document("key", "a", expected, body.map(|n| json!(n)))).await
    };
    let stored = async || storage.documents("key").await.unwrap().pop().map(|found| (found.version.0, found.body));
    assert_eq!(put(Some(1), Some(9)).await, Outcome::Conflict { found: None });
    assert_eq!(put(Some(1), None).await, Outcome::Conflict { found: None });
    assert_eq!(put(None, Some(1)).await, Outcome::Committed);
    assert_eq!(stored().await, Some((1, json!(1))));
    assert_eq!(put(None, Some(9)).await, Outcome::Conflict { found: Some(Version(1)) });
    assert_eq!(put(Some(1), Some(2)).await, Outcome::Committed);
    assert_eq!(stored().await, Some((2, json!(2))));
    for body in [Some(9), None] {
        assert_eq!(put(Some(1), body).await, Outcome::Conflict { found: Some(Version(2)) });
        assert_eq!(put(None, body).await, Outcome::Conflict { found: Some(Version(2)) });
    }
    assert_eq!(stored().await, Some((2, json!(2))));
    assert_eq!(put(Some(2), None).await, Outcome::Committed);
    assert_eq!(stored().await, None);
    assert_eq!(put(None, Some(3)).await, Outcome::Committed);
    assert_eq!(stored().await, Some((1, json!(3))));
}

/// A listing has every document of its kind and no other, by id; equal ids of different kinds are different documents.
pub async fn documents_are_listed_by_kind_in_the_order_of_their_ids<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let names = [("key", "b"), ("key", "a"), ("keys", "a"), ("ke", "y"), ("key", "B"), ("key", "ä")];
    let documents = names.map(|(kind, id)| write_document(kind, id, None, Some(json!(id)))).to_vec();
    write(&*storage, &Batch { documents, ..Batch::default() }).await;
    let found = storage.documents("key").await.unwrap();
    assert_eq!(found, ["B", "a", "b", "ä"].map(|id| document("key", id, 1, json!(id))));
    assert_eq!(storage.documents("ke").await.unwrap().len(), 1);
    assert_eq!(storage.documents("").await.unwrap(), []);
}

/// The largest document is taken; one byte more is refused, and what stands beside it in the batch is written.
pub async fn a_document_that_is_too_large_is_refused<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    // Two of the bytes are the quotes.
    let body = |bytes: usize| Some(Value::String("x".repeat(bytes - 2)));
    let documents = vec![
        write_document("key", "fits", None, body(DOCUMENT_BYTES_MAX)),
        write_document("key", "large", None, body(DOCUMENT_BYTES_MAX + 1)),
        write_document("key", "small", None, body(2)),
    ];
    let applied = super::apply(&*storage, &Batch { documents, ..Batch::default() }).await;
    let refused = Outcome::TooLarge { bytes: DOCUMENT_BYTES_MAX + 1 };
    assert_eq!(applied.documents, [Outcome::Committed, refused, Outcome::Committed]);
    let found: Vec<_> = storage.documents("key").await.unwrap().into_iter().map(|document| document.id).collect();
    assert_eq!(found, ["fits", "small"]);
}
