//! Where the server keeps everything, as a URL.

use std::fmt;
use std::path::PathBuf;

use heartbeat_storage_redis::RedisOptions;

/// A storage that this build has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StorageUrl {
    /// One SQLite file on this machine.
    Sqlite(PathBuf),
    /// A Redis, which several nodes may share.
    Redis(Box<RedisOptions>),
    /// Nothing outlives the process.
    Memory,
}

impl StorageUrl {
    /// Reads `sqlite:PATH`, the URL of a Redis, or `memory:`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wanted = "it must be sqlite:PATH, redis://HOST:PORT or memory:";
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(format!("`{text}` is not a storage; {wanted}"));
        };
        match scheme {
            "memory" if rest.is_empty() => Ok(Self::Memory),
            "memory" => Err(format!("`{text}` has something behind `memory:`; write `memory:` alone")),
            "sqlite" if rest.trim_start_matches('/').is_empty() => {
                Err(format!("`{text}` names no file; write for example sqlite:heartbeat.db"))
            }
            // `sqlite:///var/x` is the absolute path, as others write it.
            "sqlite" => Ok(Self::Sqlite(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))),
            // Which of them there are says the storage.
            scheme if scheme.starts_with("redis") => {
                let options = RedisOptions::parse(text).map_err(|error| error.to_string())?;
                Ok(Self::Redis(Box::new(options)))
            }
            // What follows may hold a password: it is not repeated.
            scheme => Err(format!("`{scheme}:` is not a storage that this build has; {wanted}")),
        }
    }

    /// Whether nothing can be stored there yet.
    pub(crate) fn is_new(&self) -> bool {
        match self {
            Self::Sqlite(path) => !path.exists(),
            Self::Memory => true,
            // It is asked later; what is there may be another node's.
            Self::Redis(_) => false,
        }
    }
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Redis(options) => options.fmt(f),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_this_build_has() {
        assert_eq!(StorageUrl::parse("memory:"), Ok(StorageUrl::Memory));
        for (text, path) in [
            ("sqlite:heartbeat.db", "heartbeat.db"),
            ("sqlite:/var/lib/h.db", "/var/lib/h.db"),
            ("sqlite:///var/lib/h.db", "/var/lib/h.db"),
            ("sqlite://h.db", "h.db"),
        ] {
            assert_eq!(StorageUrl::parse(text), Ok(StorageUrl::Sqlite(path.into())), "{text}");
            assert_eq!(StorageUrl::Sqlite(path.into()).to_string(), format!("sqlite:{path}"));
        }
    }

    #[test]
    fn says_what_would_be_right() {
        for (text, part) in [
            ("heartbeat.db", "sqlite:PATH"),
            ("sqlite:", "names no file"),
            ("memory:x", "`memory:` alone"),
            ("redis://u:secret@localhost/first", "`first`"),
            ("redis+clusters://u:secret@h?prefx=a", "`prefx`"),
            ("redis://u:secret@h?partitions=0", "`partitions` is `0`"),
            ("rediz://u:secret@h", "`rediz:`"),
            ("redis+x://u:secret@h", "`redis+x:`"),
            ("postgres://u:secret@h", "`postgres:`"),
        ] {
            let message = StorageUrl::parse(text).unwrap_err();
            assert!(message.contains(part), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
