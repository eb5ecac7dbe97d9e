//! The names of keys. All keys of a partition have one hash tag, so that they lie in one slot of a Redis Cluster.

use heartbeat_engine::{MonitorId, Name, PartitionId};

/// Makes names under a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What the store is: its format and how many partitions it has.
    pub(crate) fn meta(&self) -> String {
        format!("{{{}:meta}}:store", self.prefix)
    }

    /// Something of a partition.
    pub(crate) fn of(&self, partition: PartitionId, what: &str) -> String {
        format!("{{{}:{}}}:{what}", self.prefix, partition.0)
    }

    /// The partition's lease: scripts make the other keys of the partition from it.
    pub(crate) fn lease(&self, partition: PartitionId) -> String {
        self.of(partition, "lease")
    }

    /// Something of a monitor in its partition.
    pub(crate) fn of_monitor(&self, partition: PartitionId, what: &str, monitor: MonitorId) -> Vec<u8> {
        let mut key = self.of(partition, what).into_bytes();
        key.push(b':');
        key.extend_from_slice(monitor.as_bytes());
        key
    }

    /// Where the names lie whose hash has this remainder.
    pub(crate) fn names(&self, slot: u16) -> String {
        format!("{{{}:names-{slot}}}:reserved", self.prefix)
    }

    /// Something of documents.
    pub(crate) fn documents(&self, what: &str) -> String {
        format!("{{{}:documents}}:{what}", self.prefix)
    }

    /// Something of the watcher's own life.
    pub(crate) fn watch(&self, what: &str) -> String {
        format!("{{{}:watch}}:{what}", self.prefix)
    }

    /// Something of the one order of all events.
    pub(crate) fn feed(&self, what: &str) -> String {
        format!("{{{}:feed}}:{what}", self.prefix)
    }
}

/// A name as it is reserved: a letter, then the slug or the hash of the token.
pub(crate) fn name_field(name: &Name) -> Vec<u8> {
    match name {
        Name::Slug(slug) => [b"s", slug.as_bytes()].concat(),
        Name::Token(hash) => [b"t", &hash.as_bytes()[..]].concat(),
    }
}
