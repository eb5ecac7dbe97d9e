//! Rules from the data embedded with chrono-tz, which tells offsets and no changes: those are looked for.

use std::path::Path;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};

use super::{AFTER_ALL, BEFORE_ALL, Change, Span, TABLE_END_S};

/// No zone changed its offset before 1840.
const SEARCH_FROM_S: i64 = -4_102_444_800;

/// No two changes of one zone lie within this time: the closest are seven days apart.
const SEARCH_STEP_S: i64 = 2 * 86_400;

/// What the embedded data calls itself.
pub(super) const EMBEDDED: &str = "chrono-tz";

/// The version of the embedded data.
pub(super) fn embedded_version() -> &'static str {
    chrono_tz::IANA_TZDB_VERSION
}

/// Whether zones can be read from the directory.
pub(super) fn can_read(_directory: &Path) -> bool {
    false
}

#[derive(Debug)]
pub(super) struct Source(Tz);

/// The official name and the rules of a zone; the case of the name does not matter.
pub(super) fn find(name: &str) -> Option<(String, Source)> {
    let zone = TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name))?;
    Some((zone.name().to_owned(), Source(*zone)))
}

impl Source {
    pub(super) fn utc() -> Self {
        Self(Tz::UTC)
    }

    pub(super) fn first_offset(&self) -> i32 {
        self.offset_at(SEARCH_FROM_S)
    }

    pub(super) fn changes(&self) -> impl Iterator<Item = Change> {
        let steps = (TABLE_END_S - SEARCH_FROM_S) / SEARCH_STEP_S;
        (0..steps).filter_map(|step| self.change_between(SEARCH_FROM_S + step * SEARCH_STEP_S))
    }

    /// The data holds no change from 2100 on.
    pub(super) fn span_at(&self, at: i64) -> Span {
        Span { from: BEFORE_ALL, until: AFTER_ALL, offset: i64::from(self.offset_at(at)) }
    }

    fn change_between(&self, from: i64) -> Option<Change> {
        let (mut before, mut after) = (from, from + SEARCH_STEP_S);
        let (old, new) = (self.offset_at(before), self.offset_at(after));
        if old == new {
            return None;
        }
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if self.offset_at(middle) == old {
                before = middle;
            } else {
                after = middle;
            }
        }
        Some(Change { at: after, offset: new })
    }

    fn offset_at(&self, at: i64) -> i32 {
        DateTime::from_timestamp(at, 0)
            .map_or(0, |at| self.0.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zones_of_the_system_are_not_read() {
        assert!(!can_read(Path::new("/usr/share/zoneinfo")));
    }
}
