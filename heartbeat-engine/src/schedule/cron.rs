//! Cron expressions by Debian's rules.

use std::sync::Arc;
use std::time::Duration;

use super::civil::{DAY_S, date, month_days, month_days_by_kind, weekday};
use super::cron_parse;
use super::error::{ScheduleError, shorten};
use super::steps::step;
use super::walk::LocalTimes;
use super::zone::Zone;

const MINUTES_OF_DAY: i64 = 1_440;

/// How far ahead the smallest gap is looked for (S2.5).
const GAP_YEARS: i64 = 5;

/// A cron expression in a time zone (S2.3).
#[derive(Debug, Clone)]
pub struct Cron {
    fields: Fields,
    expression: Arc<str>,
    zone: Zone,
}

impl Cron {
    pub(super) fn new(expression: &str, zone: Zone) -> Result<Self, ScheduleError> {
        let fields = cron_parse::parse(expression)?;
        let words: Vec<_> = expression.split_ascii_whitespace().collect();
        let expression: Arc<str> = words.join(" ").into();
        if !fields.fires() {
            return Err(ScheduleError::NeverFires { expression: shorten(&expression) });
        }
        Ok(Self { fields, expression, zone })
    }

    /// The expression as it was written, with single spaces.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The time zone.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.fields.fixed
    }

    pub(super) fn describe(&self) -> String {
        format!("cron `{}`, {}", self.expression, self.zone)
    }

    /// The smallest gap by the wall clock over the next five years from the local second (S2.5); `None` where fewer
    /// than two occurrences come.
    pub(super) fn smallest_gap(&self, from: i64) -> Option<Duration> {
        let fields = &self.fields;
        let last = (from + GAP_YEARS * 366 * DAY_S).div_euclid(DAY_S) * MINUTES_OF_DAY + MINUTES_OF_DAY - 1;
        let mut day = from.div_euclid(DAY_S);
        let mut smallest: Option<i64> = None;
        let mut before: Option<i64> = None;
        while let Some(next) = fields.next(day * MINUTES_OF_DAY, last) {
            if let Some(before) = before {
                let night = next - (before + fields.last_minute());
                smallest = Some(smallest.map_or(night, |gap| gap.min(night)));
            }
            day = next.div_euclid(MINUTES_OF_DAY);
            before = Some(day * MINUTES_OF_DAY);
            day += 1;
        }
        let within = before.and_then(|_| fields.smallest_gap_of_day());
        let minutes = smallest.into_iter().chain(within).min()?;
        Some(Duration::from_secs(u64::try_from(minutes).unwrap_or_default() * 60))
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression && self.zone == other.zone
    }
}

impl Eq for Cron {}

impl LocalTimes for Cron {
    fn next(&self, after: i64, upto: i64) -> Option<i64> {
        self.fields.next(after.div_euclid(60) + 1, upto.div_euclid(60)).map(|minute| minute * 60)
    }
}

/// The fields as sets of bits: bit n stands for the value n, Sunday is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fields {
    pub(super) minutes: u64,
    pub(super) hours: u32,
    pub(super) days: u32,
    pub(super) months: u16,
    /// The weekdays allowed in the first, second, … fifth seven days of the month.
    pub(super) weeks: [u8; 5],
    /// The weekdays allowed in the last seven days of the month.
    pub(super) last_week: u8,
    /// `L`.
    pub(super) last_day: bool,
    /// `LW`.
    pub(super) last_workday: bool,
    /// Both of day-of-month and day-of-week must match.
    pub(super) both: bool,
    /// The local times happen once each, whatever the clock does (S2.4).
    pub(super) fixed: bool,
}

impl Fields {
    fn has_month(&self, month: u32) -> bool {
        self.months >> month & 1 != 0
    }

    fn first_minute(&self) -> i64 {
        i64::from(self.hours.trailing_zeros() * 60 + self.minutes.trailing_zeros())
    }

    fn last_minute(&self) -> i64 {
        i64::from((31 - self.hours.leading_zeros()) * 60 + 63 - self.minutes.leading_zeros())
    }

    fn smallest_gap_of_day(&self) -> Option<i64> {
        let within_hour = smallest_distance(self.minutes).map(i64::from);
        let one_hour_span = i64::from(63 - self.minutes.leading_zeros() - self.minutes.trailing_zeros());
        let over_hours = smallest_distance(u64::from(self.hours)).map(|hours| i64::from(hours) * 60 - one_hour_span);
        within_hour.into_iter().chain(over_hours).min()
    }

    /// The matching days of the month that begins on the day number `first`; bit n is day n.
    fn days(&self, year: i64, month: u32, first: i64) -> u32 {
        self.days_of(weekday(first), month_days(year, month))
    }

    fn days_of(&self, first_weekday: u32, length: u32) -> u32 {
        let month = u32::MAX >> (31 - length) & !1;
        let mut by_date = self.days;
        if self.last_day {
            by_date |= 1 << length;
        }
        if self.last_workday {
            let back = match (first_weekday + length - 1) % 7 {
                0 => 2,
                6 => 1,
                _ => 0,
            };
            by_date |= 1 << (length - back);
        }
        let mut by_weekday = 0u64;
        for (week, days) in (0u32..).zip(self.weeks) {
            by_weekday |= u64::from(from_weekday(days, first_weekday)) << (7 * week + 1);
        }
        let last_seven = length - 6;
        by_weekday |= u64::from(from_weekday(self.last_week, (first_weekday + last_seven - 1) % 7)) << last_seven;
        let by_weekday = u32::try_from(by_weekday & u64::from(u32::MAX)).unwrap_or_default();
        month & if self.both { by_date & by_weekday } else { by_date | by_weekday }
    }

    /// Whether any date matches; each month of each kind of year begins on each weekday within 400 years.
    fn fires(&self) -> bool {
        [false, true].into_iter().any(|leap| {
            (1..=12).filter(|month| self.has_month(*month)).any(|month| {
                let length = month_days_by_kind(leap, month);
                (0..7).any(|first_weekday| self.days_of(first_weekday, length) != 0)
            })
        })
    }

    /// The first matching local minute from `minute` to `upto`, in minutes of the local clock.
    fn next(&self, minute: i64, upto: i64) -> Option<i64> {
        step();
        let day = minute.div_euclid(MINUTES_OF_DAY);
        let (mut year, mut month, of_month) = date(day);
        let mut first = day - i64::from(of_month) + 1;
        let mut ahead = 0;
        if self.has_month(month) {
            let days = self.days(year, month, first);
            if days >> of_month & 1 != 0
                && let Some(of_day) = self.next_of_day(minute.rem_euclid(MINUTES_OF_DAY))
            {
                return Some(day * MINUTES_OF_DAY + of_day).filter(|found| *found <= upto);
            }
            // In two steps, because day 31 would shift by 32.
            ahead = days >> of_month >> 1 << 1 << of_month;
        }
        let last_day = upto.div_euclid(MINUTES_OF_DAY);
        while ahead == 0 {
            step();
            first += i64::from(month_days(year, month));
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            if first > last_day {
                return None;
            }
            if self.has_month(month) {
                ahead = self.days(year, month, first);
            }
        }
        let day = first - 1 + i64::from(ahead.trailing_zeros());
        Some(day * MINUTES_OF_DAY + self.first_minute()).filter(|found| *found <= upto)
    }

    /// The first matching minute of the day from `from` on.
    fn next_of_day(&self, from: i64) -> Option<i64> {
        let (hour, minute) = (from / 60, from % 60);
        let minutes = self.minutes >> minute << minute;
        if self.hours >> hour & 1 != 0 && minutes != 0 {
            return Some(hour * 60 + i64::from(minutes.trailing_zeros()));
        }
        let hours = self.hours >> hour >> 1 << 1 << hour;
        (hours != 0).then(|| i64::from(hours.trailing_zeros() * 60 + self.minutes.trailing_zeros()))
    }
}

/// The set with its bit 0 for the weekday `first` instead of Sunday.
fn from_weekday(days: u8, first: u32) -> u8 {
    let two_weeks = u16::from(days) << 7 | u16::from(days);
    u8::try_from(two_weeks >> first & 0x7f).unwrap_or_default()
}

/// The smallest distance between two bits that are set.
fn smallest_distance(bits: u64) -> Option<u32> {
    (1..64).find(|distance| bits & bits >> distance != 0)
}
