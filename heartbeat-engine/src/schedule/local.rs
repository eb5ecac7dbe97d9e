//! Local times of day and sets of weekdays.

use std::fmt;
use std::str::FromStr;

use super::error::{ScheduleError, shorten};

const NAMES: [(&str, &str); 7] = [
    ("sun", "sunday"),
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
];

/// Monday first, as weeks are written.
const WEEK: [u32; 7] = [1, 2, 3, 4, 5, 6, 0];

/// A time of day on a local clock, to the second: `16:05` or `16:05:30`.
///
/// ```
/// use heartbeat_engine::LocalTime;
///
/// let time: LocalTime = "16:05".parse()?;
/// assert_eq!((time.hour(), time.minute(), time.second()), (16, 5, 0));
/// assert!("24:00".parse::<LocalTime>().is_err());
/// # Ok::<(), heartbeat_engine::ScheduleError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalTime(u32);

impl LocalTime {
    /// 00:00.
    pub const MIDNIGHT: Self = Self(0);

    /// The time `hour:minute:second`; `None` where the clock never shows it.
    #[must_use]
    pub const fn new(hour: u32, minute: u32, second: u32) -> Option<Self> {
        if hour < 24 && minute < 60 && second < 60 { Some(Self(hour * 3600 + minute * 60 + second)) } else { None }
    }

    /// The hour, 0 to 23.
    #[must_use]
    pub const fn hour(self) -> u32 {
        self.0 / 3600
    }

    /// The minute, 0 to 59.
    #[must_use]
    pub const fn minute(self) -> u32 {
        self.0 / 60 % 60
    }

    /// The second, 0 to 59.
    #[must_use]
    pub const fn second(self) -> u32 {
        self.0 % 60
    }

    /// Seconds since local midnight on the clock.
    pub(super) fn clock_s(self) -> i64 {
        i64::from(self.0)
    }
}

impl FromStr for LocalTime {
    type Err = ScheduleError;

    /// Reads `hh:mm` or `hh:mm:ss`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.trim().split(':').map(two_digits);
        let (hour, minute) = (parts.next().flatten(), parts.next().flatten());
        let second = parts.next().unwrap_or(Some(0));
        match (hour, minute, second, parts.next()) {
            (Some(hour), Some(minute), Some(second), None) => Self::new(hour, minute, second),
            _ => None,
        }
        .ok_or_else(|| ScheduleError::BadTime { text: shorten(text) })
    }
}

fn two_digits(text: &str) -> Option<u32> {
    (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour(), self.minute())?;
        if self.second() == 0 { Ok(()) } else { write!(f, ":{:02}", self.second()) }
    }
}

impl fmt::Debug for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of weekdays.
///
/// ```
/// use heartbeat_engine::Weekdays;
///
/// let days: Weekdays = "Mon, wed, FRIDAY".parse()?;
/// assert_eq!(days.names().collect::<Vec<_>>(), ["mon", "wed", "fri"]);
/// # Ok::<(), heartbeat_engine::ScheduleError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Weekdays(u8);

impl Weekdays {
    /// Monday to Sunday.
    pub const EVERY_DAY: Self = Self(0x7f);
    /// Monday to Friday.
    pub const WORKDAYS: Self = Self(0x3e);
    /// No day; no schedule accepts it.
    pub const NONE: Self = Self(0);

    /// The set of the named days: `mon` or `monday`, in any case; one named twice counts once.
    ///
    /// # Errors
    /// When a name is not that of a weekday.
    pub fn from_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self, ScheduleError> {
        let mut days = Self::NONE;
        for name in names {
            days.0 |= 1 << number(name.as_ref())?;
        }
        Ok(days)
    }

    /// The names of the days, from `mon` to `sun`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        WEEK.into_iter().filter(move |day| self.contains(*day)).filter_map(|day| NAMES.get(day as usize).map(|n| n.0))
    }

    /// Whether there is no day in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many days are in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the day (0 is Sunday) is in the set.
    pub(super) const fn contains(self, day: u32) -> bool {
        self.0 >> day & 1 != 0
    }

    /// How many days after `day` (0 is Sunday) the next day of the set comes: 1 to 7.
    pub(super) const fn days_to_next(self, day: u32) -> u32 {
        let two_weeks = (self.0 as u32) << 7 | self.0 as u32;
        (two_weeks >> (day + 1)).trailing_zeros() + 1
    }
}

impl FromStr for Weekdays {
    type Err = ScheduleError;

    /// Reads names separated by commas or spaces.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_names(text.split([',', ' ']).filter(|name| !name.is_empty()))
    }
}

fn number(name: &str) -> Result<usize, ScheduleError> {
    let wanted = name.trim();
    NAMES
        .iter()
        .position(|(short, long)| wanted.eq_ignore_ascii_case(short) || wanted.eq_ignore_ascii_case(long))
        .ok_or_else(|| ScheduleError::BadDay { text: shorten(name) })
}

impl fmt::Display for Weekdays {
    /// `every day`, `mon to fri`, or the names with commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names().collect();
        match *self {
            Self::EVERY_DAY => f.write_str("every day"),
            Self::NONE => f.write_str("no day"),
            _ => match run_of_days(&names) {
                Some((first, last)) => write!(f, "{first} to {last}"),
                None => f.write_str(&listed(&names)),
            },
        }
    }
}

impl fmt::Debug for Weekdays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Three or more days in a row, as the first and the last of them.
fn run_of_days(names: &[&'static str]) -> Option<(&'static str, &'static str)> {
    let week: Vec<&str> = WEEK.iter().filter_map(|day| NAMES.get(*day as usize).map(|name| name.0)).collect();
    let in_a_row = names.len() > 2 && week.windows(names.len()).any(|run| run == names);
    Some((*names.first()?, *names.last()?)).filter(|_| in_a_row)
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times() {
        for text in ["00:00", "16:05", "23:59:59", "02:30:01"] {
            assert_eq!(text.parse::<LocalTime>().unwrap().to_string(), text);
        }
        assert_eq!("09:00:00".parse::<LocalTime>().unwrap().to_string(), "09:00");
        for text in ["", "9:00", "24:00", "12:60", "12:00:60", "12", "12:00:00:00", "+1:00", "1２:00", "12:00Z", ":"] {
            let error = text.parse::<LocalTime>().unwrap_err();
            assert_eq!(error.field(), "schedule.at");
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
        assert_eq!(format!("{:?}", "02:30:01".parse::<LocalTime>().unwrap()), "02:30:01");
        let error = "1\n2\u{1b}".parse::<LocalTime>().unwrap_err().to_string();
        assert!(error.starts_with("`1 2 ` "), "messages stay on one line: {error:?}");
    }

    #[test]
    fn weekdays() {
        assert_eq!("MON,Tuesday wed".parse::<Weekdays>().unwrap().to_string(), "mon to wed");
        assert_eq!("sat,sun".parse::<Weekdays>().unwrap().to_string(), "sat and sun");
        assert_eq!("sun, mon, thu".parse::<Weekdays>().unwrap().to_string(), "mon, thu and sun");
        assert_eq!(Weekdays::WORKDAYS.to_string(), "mon to fri");
        assert_eq!(Weekdays::EVERY_DAY.to_string(), "every day");
        assert_eq!(Weekdays::NONE.to_string(), "no day");
        assert!("".parse::<Weekdays>().unwrap().is_empty());
        assert_eq!([Weekdays::NONE, Weekdays::WORKDAYS, Weekdays::EVERY_DAY].map(Weekdays::len), [0, 5, 7]);
        assert_eq!(format!("{:?}", "sun,mon".parse::<Weekdays>().unwrap()), r#"{"mon", "sun"}"#);
        let error = "mon,xyz".parse::<Weekdays>().unwrap_err();
        assert_eq!((error.field(), error.to_string().contains("`xyz`")), ("schedule.days", true));
    }

    #[test]
    fn the_next_day_of_a_set() {
        let days: Weekdays = "sun,wed".parse().unwrap();
        assert_eq!((0..7).map(|day| days.days_to_next(day)).collect::<Vec<_>>(), [3, 2, 1, 4, 3, 2, 1]);
        assert_eq!("mon".parse::<Weekdays>().unwrap().days_to_next(1), 7);
    }
}
