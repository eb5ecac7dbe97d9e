//! The Lua that Redis runs for us, called by its hash.

use std::sync::LazyLock;

use redis::Cmd;

/// A script and its hash.
pub(crate) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Makes it known to the server.
    pub(crate) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(self.code);
        command
    }

    /// A call on keys of one slot; its arguments are to be added.
    pub(crate) fn on(&self, keys: &[&str]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(keys.len()).arg(keys);
        command
    }
}

macro_rules! scripts {
    ($($name:ident $file:literal,)*) => {
        $(pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));)*
    };
}

scripts! {
    COMMIT "lua/commit.lua",
    DUE "lua/due.lua",
    FOLD "lua/fold.lua",
    NAMES "lua/names.lua",
    DOCUMENTS "lua/documents.lua",
    WATCH "lua/watch.lua",
    LEASE "lua/lease.lua",
    FEED "lua/feed.lua",
    IMPORT "lua/import.lua",
    IMPORT_FEED "lua/import_feed.lua",
    IMPORT_DOCUMENTS "lua/import_documents.lua",
}
