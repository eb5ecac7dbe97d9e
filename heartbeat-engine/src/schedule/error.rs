//! What can be wrong with a schedule.

use std::fmt;
use std::time::Duration;

use super::{AT_TIMES_MAX, CRON_LENGTH_MAX};
use crate::duration::describe_duration;

/// A schedule, a grace or an `early` that cannot be used, and what would be right.
///
/// [`ScheduleError::field`] tells which part of a monitor it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The period is too short or too long.
    #[error("the period {} must be from 1 s to 366 d", describe_duration(*.period))]
    PeriodOutOfRange {
        /// The period given.
        period: Duration,
    },
    /// The period has a fraction of a millisecond.
    #[error("the period {period:?} must be a whole number of milliseconds")]
    PeriodNotWhole {
        /// The period given.
        period: Duration,
    },
    /// A list of local times is empty.
    #[error("there is no time in the list; give at least one, such as 16:05")]
    NoTimes,
    /// A list of local times is too long.
    #[error("{count} times are too many; give at most {AT_TIMES_MAX}, or use `every` or `cron`")]
    TooManyTimes {
        /// How many were given.
        count: usize,
    },
    /// A text is not a local time.
    #[error("`{text}` is not a local time; write hh:mm or hh:mm:ss from 00:00 to 23:59:59")]
    BadTime {
        /// The text given.
        text: String,
    },
    /// A list of weekdays is empty.
    #[error("there is no weekday in the list; name at least one, or leave `days` out for every day")]
    NoDays,
    /// A text is not the name of a weekday.
    #[error("`{text}` is not a weekday; write mon, tue, wed, thu, fri, sat or sun")]
    BadDay {
        /// The text given.
        text: String,
    },
    /// No such time zone is known.
    #[error("`{name}` is not a time zone of the IANA database; {hint}")]
    UnknownZone {
        /// The name given.
        name: String,
        /// What to write instead.
        hint: String,
    },
    /// A cron expression does not have five fields.
    #[error(
        "`{expression}` has {count} fields; a cron expression has five: minute, hour, day of month, month, \
         day of week{}", if *.count > 5 { " (seconds, years, users and commands are not part of it)" } else { "" }
    )]
    CronFieldCount {
        /// The expression given.
        expression: String,
        /// How many fields it has.
        count: usize,
    },
    /// A cron expression is too long.
    #[error("the cron expression has {length} bytes; at most {CRON_LENGTH_MAX} are read")]
    CronTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A cron expression starts with `@` and is none of the known names.
    #[error(
        "`{text}` is not known; write @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually, \
         or five fields"
    )]
    CronNickname {
        /// The text given.
        text: String,
    },
    /// One item of one field of a cron expression is wrong.
    #[error("in the {part} field `{text}`: {problem}")]
    CronItem {
        /// The field.
        part: CronPart,
        /// The text of the whole field.
        text: String,
        /// What is wrong, and what would be right.
        problem: CronProblem,
    },
    /// A cron expression names only dates or times that never come.
    #[error(
        "`{expression}` never fires: no time that the local clock shows matches all of its fields; change the day, \
         the month or the hour"
    )]
    NeverFires {
        /// The expression given.
        expression: String,
    },
    /// The grace is too long.
    #[error("the grace {} must be at most 366 d", describe_duration(*.grace))]
    GraceTooLong {
        /// The grace given.
        grace: Duration,
    },
    /// The grace has a fraction of a millisecond.
    #[error("the grace {grace:?} must be a whole number of milliseconds")]
    GraceNotWhole {
        /// The grace given.
        grace: Duration,
    },
    /// A text is neither a duration nor `end_of_day`.
    #[error("`{text}` is not a grace; write a duration such as 5m, or end_of_day")]
    BadGrace {
        /// The text given.
        text: String,
    },
    /// `end_of_day` was asked of an `every` schedule.
    #[error("`end_of_day` needs a time of day: use it with `at` or `cron`, or give a duration")]
    EndOfDayWithoutTime,
    /// `early` was asked of an `every` schedule.
    #[error("`early` needs fixed times: use it with `at` or `cron`, or leave it out")]
    EarlyWithoutTime,
    /// `early` has a fraction of a millisecond.
    #[error("early {early:?} must be a whole number of milliseconds")]
    EarlyNotWhole {
        /// The value given.
        early: Duration,
    },
    /// `early` reaches back to the occurrence before.
    #[error(
        "early {} must be shorter than {}, the smallest gap between two occurrences",
        describe_duration(*.early), describe_duration(*.gap)
    )]
    EarlyTooLong {
        /// The value given.
        early: Duration,
        /// The smallest gap.
        gap: Duration,
    },
    /// A schedule has none or several of `every`, `at` and `cron`.
    #[error("a schedule has exactly one of `every`, `at` and `cron`; this one has {count}")]
    NotOneKind {
        /// How many it has.
        count: usize,
    },
    /// A key stands beside a kind of schedule that does not use it.
    #[error("`{key}` does not go with `{kind}`; leave it out")]
    KeyOutOfPlace {
        /// The key.
        key: &'static str,
        /// The kind of schedule.
        kind: &'static str,
    },
    /// `at` or `cron` was given without a time zone.
    #[error("`{kind}` needs a time zone, such as \"timezone\": \"UTC\"")]
    NoZone {
        /// The kind of schedule.
        kind: &'static str,
    },
}

impl ScheduleError {
    /// Which part of a monitor is wrong, as a dotted path: `schedule`, `schedule.every`, `schedule.at`,
    /// `schedule.days`, `schedule.timezone`, `schedule.cron`, `grace` or `early`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::PeriodOutOfRange { .. } | Self::PeriodNotWhole { .. } => "schedule.every",
            Self::NoTimes | Self::TooManyTimes { .. } | Self::BadTime { .. } => "schedule.at",
            Self::NoDays | Self::BadDay { .. } => "schedule.days",
            Self::UnknownZone { .. } | Self::NoZone { .. } => "schedule.timezone",
            Self::CronFieldCount { .. }
            | Self::CronTooLong { .. }
            | Self::CronNickname { .. }
            | Self::CronItem { .. }
            | Self::NeverFires { .. } => "schedule.cron",
            Self::GraceTooLong { .. }
            | Self::GraceNotWhole { .. }
            | Self::BadGrace { .. }
            | Self::EndOfDayWithoutTime => "grace",
            Self::EarlyWithoutTime | Self::EarlyNotWhole { .. } | Self::EarlyTooLong { .. } => "early",
            Self::KeyOutOfPlace { key: "days", .. } => "schedule.days",
            Self::KeyOutOfPlace { key: "timezone", .. } => "schedule.timezone",
            Self::NotOneKind { .. } | Self::KeyOutOfPlace { .. } => "schedule",
        }
    }
}

/// One of the five fields of a cron expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CronPart {
    /// Minute, 0 to 59.
    Minute,
    /// Hour, 0 to 23.
    Hour,
    /// Day of the month, 1 to 31.
    DayOfMonth,
    /// Month, 1 to 12.
    Month,
    /// Day of the week, 0 to 7; both 0 and 7 are Sunday.
    DayOfWeek,
}

impl fmt::Display for CronPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day-of-month",
            Self::Month => "month",
            Self::DayOfWeek => "day-of-week",
        })
    }
}

/// What is wrong with one item of a cron field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronProblem {
    /// Two commas in a row, or one at an end.
    #[error("an item of the list is empty; remove the extra comma")]
    EmptyItem,
    /// A number outside of what the field holds.
    #[error("`{value}` must be from {low} to {high}")]
    OutOfRange {
        /// The number given.
        value: String,
        /// The lowest that would be right.
        low: u32,
        /// The highest that would be right.
        high: u32,
    },
    /// A range whose end comes before its start.
    #[error("the range `{range}` runs backwards; {hint}")]
    ReversedRange {
        /// The range given.
        range: String,
        /// What to write instead.
        hint: String,
    },
    /// A step that is zero or not a number.
    #[error("the step `{step}` must be a number from 1")]
    BadStep {
        /// The step given.
        step: String,
    },
    /// A plus or minus sign before a number.
    #[error("`{value}` has a sign; write the number alone")]
    Signed {
        /// The text given.
        value: String,
    },
    /// `?`, which other cron dialects know.
    #[error("`?` is not used here; write `*`")]
    QuestionMark,
    /// `W`, which other cron dialects know.
    #[error("`{value}`: `W` is only known as `LW`, the last weekday (mon to fri) of the month; name the days instead")]
    NearestWeekday {
        /// The text given.
        value: String,
    },
    /// `L` or `#` where it means nothing.
    #[error("`{value}`: {hint}")]
    Misplaced {
        /// The text given.
        value: String,
        /// What to write instead.
        hint: &'static str,
    },
    /// The name of a month or a weekday in another field.
    #[error("the name `{name}` belongs in the {belongs} field")]
    NameOutOfPlace {
        /// The name given.
        name: String,
        /// Where it belongs.
        belongs: CronPart,
    },
    /// Neither a number nor anything else that the field knows.
    #[error("`{value}` is not {expected}")]
    NotUnderstood {
        /// The text given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

/// Keeps messages short and on one line whatever was sent.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(64).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
