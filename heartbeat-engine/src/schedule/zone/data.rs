//! Which copy of the time zone data is used, and how old it is.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Serialize;

use super::source::{EMBEDDED, can_read, embedded_version};

/// Where systems keep their zoneinfo.
const DIRECTORIES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];

/// A first line or a version file is never longer.
const VERSION_BYTES_MAX: u64 = 128;

static CHOICE: LazyLock<Choice> = LazyLock::new(|| choose(system_directory(), embedded_version(), can_read));

/// The time zone data in use, for logs and health pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ZoneData {
    /// Where it comes from: `system`, `embedded`, or `chrono-tz` (without the feature `zoneinfo`).
    pub source: &'static str,
    /// Its version, such as `2026e`; `unknown` where the system does not tell.
    pub version: String,
    /// The version of the system's own data, where there is one that tells.
    pub system_version: Option<String>,
}

impl ZoneData {
    /// What an operator should know: the data in use is older than the system's, or the system's was too old to use.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let system = self.system_version.as_deref()?;
        if release(system)? > release(&self.version)? {
            let (version, source) = (&self.version, self.source);
            return Some(format!(
                "the time zone data in use ({version}, {source}) is older than the system's ({system}); \
                 build with the feature `zoneinfo` to use that"
            ));
        }
        None
    }
}

/// Which time zone data is in use. It is chosen once, at first use: the system's, unless the embedded is newer.
#[must_use]
pub fn zone_data() -> ZoneData {
    told(choice())
}

fn told(choice: &Choice) -> ZoneData {
    match choice {
        Choice::System { version, .. } => ZoneData {
            source: "system",
            version: version.clone().unwrap_or_else(|| "unknown".to_owned()),
            system_version: version.clone(),
        },
        Choice::Embedded { system_version } => ZoneData {
            source: EMBEDDED,
            version: embedded_version().to_owned(),
            system_version: system_version.clone(),
        },
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    #[cfg_attr(not(feature = "zoneinfo"), allow(dead_code))]
    System {
        directory: PathBuf,
        version: Option<String>,
    },
    Embedded {
        system_version: Option<String>,
    },
}

pub(super) fn choice() -> &'static Choice {
    &CHOICE
}

/// An unknown version of the system's data wins: who keeps a system without versions still keeps it fresh.
fn choose(directory: Option<PathBuf>, embedded: &str, can_read: impl Fn(&Path) -> bool) -> Choice {
    let Some(directory) = directory else { return Choice::Embedded { system_version: None } };
    let version = version_in(&directory);
    let outdated = match (version.as_deref().and_then(release), release(embedded)) {
        (Some(system), Some(embedded)) => system < embedded,
        _ => false,
    };
    if outdated || !can_read(&directory) {
        Choice::Embedded { system_version: version }
    } else {
        Choice::System { directory, version }
    }
}

fn system_directory() -> Option<PathBuf> {
    let named = std::env::var_os("TZDIR").map(PathBuf::from);
    named.into_iter().chain(DIRECTORIES.map(PathBuf::from)).find(|directory| directory.is_dir())
}

/// The version that a zoneinfo directory tells of itself.
fn version_in(directory: &Path) -> Option<String> {
    let from_source = || first_line(&directory.join("tzdata.zi"))?.strip_prefix("# version ").map(str::to_owned);
    let from_file = || first_line(&directory.join("+VERSION"));
    let version = from_source().or_else(from_file)?;
    let version = version.split_whitespace().next()?;
    Some(version.to_owned())
}

fn first_line(path: &Path) -> Option<String> {
    let mut line = String::new();
    BufReader::new(fs::File::open(path).ok()?.take(VERSION_BYTES_MAX)).read_line(&mut line).ok()?;
    Some(line.trim().to_owned())
}

/// `2026e` as something to compare; a suffix after it (`2026e-dirty`) does not count.
fn release(version: &str) -> Option<(u32, &str)> {
    let year = version.get(..4)?.parse().ok()?;
    let letters = version.get(4..)?;
    let end = letters.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(letters.len());
    Some((year, letters.get(..end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare() {
        assert!(release("2026e") > release("2026"));
        assert!(release("2026za") > release("2026z"));
        assert!(release("2026a") > release("2025z"));
        assert_eq!(release("2026e-dirty"), release("2026e"));
        assert_eq!(release("unknown"), None);
        assert_eq!(release("é"), None);
        assert!(release(embedded_version()) > release("2025a"), "{}", embedded_version());
    }

    #[test]
    fn a_warning_only_when_older_than_the_system() {
        let data = |version: &str, system: Option<&str>| ZoneData {
            source: "embedded",
            version: version.to_owned(),
            system_version: system.map(str::to_owned),
        };
        assert_eq!(data("2026e", Some("2025b")).warning(), None);
        assert_eq!(data("2026e", None).warning(), None);
        assert_eq!(data("2026e", Some("2026e")).warning(), None);
        assert_eq!(
            data("2025b", Some("2026f")).warning().unwrap(),
            "the time zone data in use (2025b, embedded) is older than the system's (2026f); \
             build with the feature `zoneinfo` to use that"
        );
    }

    #[test]
    fn without_a_system_the_embedded_data_is_used() {
        assert_eq!(choose(None, "2026e", |_| true), Choice::Embedded { system_version: None });
        assert!(!zone_data().version.is_empty());
    }

    #[test]
    fn what_is_told_of_each_choice() {
        let known = || Some("2025b".to_owned());
        let system = |version| told(&Choice::System { directory: PathBuf::new(), version });
        let data =
            |source, version: &str, system_version| ZoneData { source, version: version.to_owned(), system_version };
        assert_eq!(system(known()), data("system", "2025b", known()));
        assert_eq!(system(None), data("system", "unknown", None));
        let embedded = told(&Choice::Embedded { system_version: known() });
        assert_eq!(embedded, data(EMBEDDED, embedded_version(), known()));
        assert_eq!(zone_data(), told(choice()));
    }

    #[test]
    fn the_directory_of_the_system_is_found_where_there_is_one() {
        let usual = DIRECTORIES.iter().any(|directory| Path::new(directory).is_dir());
        let found = system_directory();
        assert!(found.is_some() || !usual);
        assert!(found.is_none_or(|directory| directory.is_dir()));
    }

    #[test]
    fn the_newer_data_is_used() {
        let directory = std::env::temp_dir().join(format!("heartbeat-zoneinfo-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let choose_with = |file: &str, line: &str, readable: bool| {
            fs::write(directory.join(file), line).unwrap();
            let choice = choose(Some(directory.clone()), "2026e", |_| readable);
            fs::remove_file(directory.join(file)).unwrap();
            choice
        };
        let embedded = |version: &str| Choice::Embedded { system_version: Some(version.to_owned()) };
        let system = |version: Option<&str>| Choice::System {
            directory: directory.clone(),
            version: version.map(str::to_owned),
        };
        let chosen = [
            choose_with("tzdata.zi", "# version 2026f\n# redo", true),
            choose_with("+VERSION", "2026e\n", true),
            choose_with("README", "no version here", true),
            choose_with("tzdata.zi", "# version 2025b", true),
            choose_with("tzdata.zi", "# version 2026f", false),
        ];
        fs::remove_dir(&directory).unwrap();
        let expected =
            [system(Some("2026f")), system(Some("2026e")), system(None), embedded("2025b"), embedded("2026f")];
        assert_eq!(chosen, expected);
    }
}
