//! The nodes that share a store: each keeps a document that it changes as long as it lives.

use serde::{Deserialize, Serialize};

use crate::{Document, DocumentWrite, Storage, StorageError, Timestamp, Version};

/// The kind of the documents.
pub(crate) const DOCUMENT_KIND: &str = "node";

/// A node that shares the store, as it described itself last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The name of this start of the node; no other has the same.
    #[serde(skip)]
    pub id: String,
    /// The name that it was given.
    pub name: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it described itself last, by its own clock.
    pub seen_at: Timestamp,
    /// Counts its descriptions.
    #[serde(skip)]
    pub beat: u64,
}

impl NodeInfo {
    /// What keeps the description: `expected` is the version of the stored one.
    pub(crate) fn write(&self, expected: Option<Version>) -> DocumentWrite {
        // A structure of plain fields has a form in JSON.
        let body = serde_json::to_value(self).unwrap_or_default();
        DocumentWrite { kind: DOCUMENT_KIND.to_owned(), id: self.id.clone(), expected, body: Some(body) }
    }
}

/// What takes a node's description away.
pub(crate) fn removal(id: &str, expected: Option<Version>) -> DocumentWrite {
    DocumentWrite { kind: DOCUMENT_KIND.to_owned(), id: id.to_owned(), expected, body: None }
}

/// Every node that described itself and did not leave in order, also those that died.
pub(crate) async fn read(storage: &dyn Storage) -> Result<Vec<NodeInfo>, StorageError> {
    storage.documents(DOCUMENT_KIND).await?.into_iter().map(node).collect()
}

fn node(document: Document) -> Result<NodeInfo, StorageError> {
    let described = serde_json::from_value::<NodeInfo>(document.body);
    let described = described.map_err(|error| StorageError::Corrupt(format!("node {}: {error}", document.id)))?;
    Ok(NodeInfo { id: document.id, beat: document.version.0, ..described })
}
