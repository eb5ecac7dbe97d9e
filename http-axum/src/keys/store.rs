//! Where keys are kept: documents, and a short-lived copy in memory so that a request costs no read.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use heartbeat_engine::{Document, DocumentWrite, EditError, Engine, StorageError, Timestamp, Version};
use tokio::time::Instant;

use super::record::{KeyHash, KeyRecord, StoredKey};

const DOCUMENT_KIND: &str = "key";
/// How old the copy may be: a change on another node takes effect within this time.
const COPY_AGE_MAX: Duration = Duration::from_secs(1);
/// How often the last use of a key is written at most.
const USE_WRITTEN_EVERY: Duration = Duration::from_secs(60);

/// The keys of this engine.
#[derive(Debug)]
pub(crate) struct Keys {
    engine: Engine,
    copy: RwLock<Arc<Copy>>,
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default, Clone)]
struct Copy {
    /// `None` before the first read.
    read_at: Option<Instant>,
    /// Something was written since.
    stale: bool,
    /// Counts the writes, so that a read that overlapped one does not pass for fresh.
    writes: u64,
    by_id: HashMap<String, StoredKey>,
}

impl Keys {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, copy: RwLock::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The stored key with this hash, expired or not. Every stored key is compared, each in constant time.
    pub(crate) async fn find(&self, hash: &KeyHash) -> Result<Option<StoredKey>, StorageError> {
        let now = self.engine.now();
        let copy = self.copy().await?;
        let mut found = None;
        for key in copy.by_id.values() {
            if key.record.accepts(hash, now) {
                found = Some(key.clone());
            }
        }
        Ok(found)
    }

    /// Every key, oldest first.
    pub(crate) async fn list(&self) -> Result<Vec<StoredKey>, StorageError> {
        self.forget();
        let mut keys: Vec<_> = self.copy().await?.by_id.values().cloned().collect();
        keys.sort_by(|a, b| (a.record.created_at, &a.id).cmp(&(b.record.created_at, &b.id)));
        Ok(keys)
    }

    pub(crate) async fn get(&self, id: &str) -> Result<Option<StoredKey>, StorageError> {
        self.forget();
        Ok(self.copy().await?.by_id.get(id).cloned())
    }

    pub(crate) async fn create(&self, record: &KeyRecord) -> Result<StoredKey, EditError> {
        let key = create(&self.engine, record).await?;
        self.forget();
        Ok(key)
    }

    /// Changes a key that may be changed by others meanwhile; `None` when there is none.
    pub(crate) async fn change(
        &self,
        id: &str,
        change: impl Fn(&mut KeyRecord),
    ) -> Result<Option<StoredKey>, EditError> {
        let mut last = EditError::NotFound("key");
        for _ in 0..4 {
            let Some(mut key) = self.get(id).await.map_err(heartbeat_engine::Unavailable::from)? else {
                return Ok(None);
            };
            change(&mut key.record);
            match write(&self.engine, &key.id, Some(key.version), Some(&key.record)).await {
                Ok(version) => {
                    self.forget();
                    return Ok(Some(StoredKey { version: version.unwrap_or(key.version), ..key }));
                }
                Err(error @ (EditError::Revision { .. } | EditError::NotFound(_))) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Removes a key; says whether there was one.
    pub(crate) async fn remove(&self, id: &str) -> Result<bool, EditError> {
        for _ in 0..4 {
            let Some(key) = self.get(id).await.map_err(heartbeat_engine::Unavailable::from)? else {
                return Ok(false);
            };
            match write(&self.engine, id, Some(key.version), None).await {
                Ok(_) => {
                    self.forget();
                    return Ok(true);
                }
                Err(EditError::Revision { .. }) => {}
                Err(EditError::NotFound(_)) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Err(EditError::Taken { field: "key" })
    }

    /// Notes that a key is used now; written in the background, and seldom.
    pub(crate) fn note_use(&self, key: &StoredKey) {
        let now = self.engine.now();
        if key.record.last_used_at.is_some_and(|at| now.since(at) < USE_WRITTEN_EVERY) {
            return;
        }
        let mut key = key.clone();
        key.record.last_used_at = Some(now);
        self.remember_use(&key.id, now);
        let engine = self.engine.clone();
        tokio::spawn(async move {
            // Whoever changed the key meanwhile wins; a use that is not noted harms nobody.
            if let Err(error) = write(&engine, &key.id, Some(key.version), Some(&key.record)).await {
                tracing::debug!(key = key.id, %error, "the last use of a key was not written");
            }
        });
    }

    async fn copy(&self) -> Result<Arc<Copy>, StorageError> {
        if let Some(copy) = self.fresh() {
            return Ok(copy);
        }
        let _one_reader = self.reading.lock().await;
        if let Some(copy) = self.fresh() {
            return Ok(copy);
        }
        let read_at = Some(Instant::now());
        let writes = self.held().writes;
        let stored = match read(&self.engine).await {
            Ok(stored) => stored,
            // Known keys stay valid while the store is away.
            Err(error) if self.held().read_at.is_some() => {
                tracing::warn!(%error, "the keys cannot be read; those known are used");
                return Ok(self.held());
            }
            Err(error) => return Err(error),
        };
        let by_id = stored.into_iter().map(|key| (key.id.clone(), key)).collect();
        let mut held = self.copy.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(Copy { read_at, stale: held.writes != writes, writes: held.writes, by_id });
        Ok(held.clone())
    }

    fn fresh(&self) -> Option<Arc<Copy>> {
        let copy = self.held();
        (!copy.stale && copy.read_at.is_some_and(|at| at.elapsed() < COPY_AGE_MAX)).then_some(copy)
    }

    fn held(&self) -> Arc<Copy> {
        self.copy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next look reads the store.
    fn forget(&self) {
        let mut held = self.copy.write().unwrap_or_else(PoisonError::into_inner);
        let copy = Arc::make_mut(&mut held);
        copy.stale = true;
        copy.writes += 1;
    }

    fn remember_use(&self, id: &str, now: Timestamp) {
        let mut held = self.copy.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = Arc::make_mut(&mut held).by_id.get_mut(id) {
            key.record.last_used_at = Some(now);
        }
    }
}

pub(super) async fn read(engine: &Engine) -> Result<Vec<StoredKey>, StorageError> {
    engine.documents(DOCUMENT_KIND).await?.into_iter().map(decode).collect()
}

pub(super) async fn create(engine: &Engine, record: &KeyRecord) -> Result<StoredKey, EditError> {
    let id = uuid::Uuid::new_v4().to_string();
    let version = write(engine, &id, None, Some(record)).await?;
    Ok(StoredKey { id, version: version.unwrap_or(Version::FIRST), record: record.clone() })
}

fn decode(document: Document) -> Result<StoredKey, StorageError> {
    let record = serde_json::from_value(document.body)
        .map_err(|error| StorageError::Corrupt(format!("key {}: {error}", document.id)))?;
    Ok(StoredKey { id: document.id, version: document.version, record })
}

async fn write(
    engine: &Engine,
    id: &str,
    expected: Option<Version>,
    record: Option<&KeyRecord>,
) -> Result<Option<Version>, EditError> {
    let body = record
        .map(serde_json::to_value)
        .transpose()
        .map_err(|error| EditError::InUse(format!("the key cannot be written: {error}")))?;
    engine.write_document(DocumentWrite { kind: DOCUMENT_KIND.to_owned(), id: id.to_owned(), expected, body }).await
}
