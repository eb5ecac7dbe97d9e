//! Time zones: which offset from UTC holds from when to when.

mod data;
#[cfg(not(feature = "zoneinfo"))]
mod with_chrono;
#[cfg(feature = "zoneinfo")]
mod with_jiff;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

pub use data::{ZoneData, zone_data};
#[cfg(not(feature = "zoneinfo"))]
use with_chrono as source;
#[cfg(feature = "zoneinfo")]
use with_jiff as source;

use super::civil::{END_S, FIRST_S};
use super::error::{ScheduleError, shorten};
use super::steps::step;

/// Changes before this instant (2100-01-01) are kept in a table, later ones are asked of the source.
const TABLE_END_S: i64 = 4_102_444_800;

/// Files and aliases beside the zones that name no place.
const NOT_ZONES: [&str; 4] = ["Etc/Unknown", "Factory", "localtime", "posixrules"];

/// Zones already loaded; there are only some six hundred names.
static LOADED: RwLock<BTreeMap<String, Zone>> = RwLock::new(BTreeMap::new());

/// A time zone of the IANA database. A clone is cheap.
///
/// Two zones are equal when they have the same name. The rules of a zone are read once per process: after an update
/// of the system's data, restart.
///
/// ```
/// use heartbeat_engine::Zone;
///
/// assert_eq!(Zone::named("Asia/Shanghai")?.name(), "Asia/Shanghai");
/// assert!(Zone::named("asia/shanghai").unwrap_err().to_string().contains("Asia/Shanghai"));
/// # Ok::<(), heartbeat_engine::ScheduleError>(())
/// ```
#[derive(Clone)]
pub struct Zone(Arc<Rules>);

impl Zone {
    /// The zone of that name, in exactly the case of the IANA database: `Europe/Berlin`, `UTC`.
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn named(name: &str) -> Result<Self, ScheduleError> {
        let loaded = LOADED.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(zone) = loaded {
            return Ok(zone);
        }
        let unknown = |hint: String| ScheduleError::UnknownZone { name: shorten(name), hint };
        let general = || unknown("write one such as Europe/Berlin, America/New_York or UTC".to_owned());
        if NOT_ZONES.contains(&name) {
            return Err(general());
        }
        let (official, source) = source::find(name).ok_or_else(general)?;
        if official != name {
            return Err(unknown(format!("write `{official}`")));
        }
        let zone = Self(Arc::new(Rules::load(official, source)));
        LOADED.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), zone.clone());
        Ok(zone)
    }

    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self::named("UTC").unwrap_or_else(|_| Self(Arc::new(Rules::utc())))
    }

    /// The zone's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The stretch of time with one offset that holds the instant (UTC seconds).
    pub(super) fn span_at(&self, at: i64) -> Span {
        self.0.span_at(at)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

/// A stretch of time with one offset; all in seconds. The next one has another offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Its first instant.
    pub(super) from: i64,
    /// The first instant after it.
    pub(super) until: i64,
    /// Local clock less UTC.
    pub(super) offset: i64,
}

/// From `at` on the offset holds.
#[derive(Debug, Clone, Copy)]
struct Change {
    at: i64,
    offset: i32,
}

struct Rules {
    name: String,
    /// The first entry holds from before all times; offsets of neighbours differ.
    table: Box<[Change]>,
    /// Where the table ends: a change, or after all times.
    table_end: i64,
    source: source::Source,
}

/// Before and after every instant that is looked at, with room for sums.
const BEFORE_ALL: i64 = FIRST_S * 4;
const AFTER_ALL: i64 = END_S * 4;

impl Rules {
    fn load(name: String, source: source::Source) -> Self {
        let mut table = vec![Change { at: BEFORE_ALL, offset: source.first_offset() }];
        let mut table_end = AFTER_ALL;
        for change in source.changes() {
            if table.last().is_some_and(|last| last.offset == change.offset) {
                continue;
            }
            if change.at >= TABLE_END_S {
                table_end = change.at;
                break;
            }
            table.push(change);
        }
        Self { name, table: table.into_boxed_slice(), table_end, source }
    }

    fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
            table: Box::new([Change { at: BEFORE_ALL, offset: 0 }]),
            table_end: AFTER_ALL,
            source: source::Source::utc(),
        }
    }

    fn span_at(&self, at: i64) -> Span {
        step();
        if at >= self.table_end {
            return self.source.span_at(at);
        }
        let after = self.table.partition_point(|change| change.at <= at).max(1);
        let until = self.table.get(after).map_or(self.table_end, |change| change.at);
        let change = self.table.get(after - 1).copied().unwrap_or(Change { at: BEFORE_ALL, offset: 0 });
        Span { from: change.at, until, offset: i64::from(change.offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> Zone {
        Zone::named(name).unwrap()
    }

    #[test]
    fn unknown_names_are_refused() {
        for name in ["", "Mars/Phobos", "Factory", "posix/UTC", "right/UTC", "../etc/passwd", "+01:00", "localtime"] {
            let error = Zone::named(name).unwrap_err();
            assert_eq!(error.field(), "schedule.timezone", "{name}");
        }
        assert!(Zone::named("europe/berlin").unwrap_err().to_string().contains("write `Europe/Berlin`"));
        assert!(Zone::named(&"x".repeat(5000)).unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn spans_meet() {
        for name in ["Europe/London", "America/St_Johns", "Pacific/Apia", "Africa/Casablanca", "UTC", "Asia/Tehran"] {
            let zone = zone(name);
            let mut span = zone.span_at(FIRST_S);
            while span.until < 5_000_000_000 {
                let next = zone.span_at(span.until);
                assert_eq!(next.from, span.until, "{name} {span:?}");
                assert_ne!(next.offset, span.offset, "{name} {span:?}");
                assert_eq!(zone.span_at(span.until - 1), span, "{name}");
                span = next;
            }
        }
    }

    #[test]
    fn changes_before_2100_are_in_the_table() {
        for name in ["Europe/London", "America/New_York"] {
            let rules = zone(name).0;
            assert!(rules.table.len() > 100 && rules.table_end >= TABLE_END_S, "{name}");
            assert!(rules.table.iter().all(|change| change.at < TABLE_END_S), "{name}");
        }
    }

    #[test]
    fn before_the_first_change_is_local_mean_time() {
        assert_eq!(zone("Asia/Shanghai").span_at(FIRST_S).offset, 8 * 3600 + 5 * 60 + 43);
    }

    #[test]
    fn the_skipped_day_of_apia() {
        let span = zone("Pacific/Apia").span_at(1_325_239_200);
        assert_eq!((span.from, span.offset), (1_325_239_200, 14 * 3600));
        assert_eq!(zone("Pacific/Apia").span_at(1_325_239_199).offset, -10 * 3600);
    }

    #[test]
    fn utc_has_one_span() {
        assert_eq!(Zone::utc().span_at(0).offset, 0);
        assert_eq!(Zone::utc().span_at(0).from, BEFORE_ALL);
        assert_eq!(Zone::utc().name(), "UTC");
        assert_eq!(format!("{:?}", Zone::utc()), "Zone(UTC)");
    }
}
