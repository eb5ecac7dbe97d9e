//! Dates of the proleptic Gregorian calendar as day numbers (0 is 1970-01-01), and local clocks as seconds.
//!
//! *Local seconds* count a local clock as if it were UTC: day number × 86,400 + seconds of the day.

/// Seconds of a day on the clock.
pub(super) const DAY_S: i64 = 86_400;

/// The first local second of the year 0; nothing earlier is looked at.
pub(super) const FIRST_S: i64 = -62_167_219_200;

/// The first local second of the year 10000; nothing from here on is looked at.
pub(super) const END_S: i64 = 253_402_300_800;

/// Days from 0000-03-01 to 1970-01-01: counting years from March puts the leap day last.
const MARCH_EPOCH: i64 = 719_468;

/// Days in 400 years, after which the calendar repeats, weekdays included.
const CYCLE_DAYS: i64 = 146_097;

/// The year, month (1 to 12) and day (from 1) of a day number.
pub(super) fn date(day_number: i64) -> (i64, u32, u32) {
    let from_march = day_number + MARCH_EPOCH;
    let cycle = from_march.div_euclid(CYCLE_DAYS);
    let of_cycle = from_march.rem_euclid(CYCLE_DAYS);
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (carry, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    (cycle * 400 + year + carry, small(month), small(day))
}

/// How many days the month has.
pub(super) fn month_days(year: i64, month: u32) -> u32 {
    month_days_by_kind(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0), month)
}

/// The same, told whether the year is a leap year.
pub(super) fn month_days_by_kind(leap: bool, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The weekday of a day number: 0 is Sunday, 6 is Saturday.
pub(super) fn weekday(day_number: i64) -> u32 {
    small((day_number + 4).rem_euclid(7))
}

/// Months, days and weekdays are small by construction.
fn small(value: i64) -> u32 {
    u32::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The day number of a date; `month` from 1 to 12, `day` from 1.
    fn day_number(year: i64, month: u32, day: u32) -> i64 {
        let (year, month) = if month > 2 { (year, i64::from(month) - 3) } else { (year - 1, i64::from(month) + 9) };
        let cycle = year.div_euclid(400);
        let of_cycle = year.rem_euclid(400);
        let of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
        cycle * CYCLE_DAYS + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - MARCH_EPOCH
    }

    #[test]
    fn every_day_of_a_cycle_and_back() {
        let mut expected = (1999, 12, 31);
        for number in day_number(2000, 1, 1)..day_number(2401, 1, 1) {
            let (year, month, day) = expected;
            expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                _ if day == month_days(year, month) => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
            assert_eq!(date(number), expected);
            assert_eq!(day_number(expected.0, expected.1, expected.2), number);
        }
    }

    #[test]
    fn known_days() {
        assert_eq!(day_number(1970, 1, 1), 0);
        assert_eq!(weekday(0), 4);
        assert_eq!(weekday(day_number(2026, 11, 20)), 5);
        assert_eq!(day_number(0, 1, 1) * DAY_S, FIRST_S);
        assert_eq!(day_number(10_000, 1, 1) * DAY_S, END_S);
        assert_eq!(date(-1), (1969, 12, 31));
    }
}
