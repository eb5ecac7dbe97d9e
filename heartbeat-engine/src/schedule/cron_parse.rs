//! Reading cron expressions.

use super::CRON_LENGTH_MAX;
use super::cron::Fields;
use super::error::{CronPart, CronProblem, ScheduleError, shorten};

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// More digits than any sensible number has.
const DIGITS_MAX: usize = 6;

/// Reads a whole expression.
pub(super) fn parse(expression: &str) -> Result<Fields, ScheduleError> {
    if expression.len() > CRON_LENGTH_MAX {
        return Err(ScheduleError::CronTooLong { length: expression.len() });
    }
    let text = expression.trim_ascii();
    if text.starts_with('@') {
        let known = NICKNAMES.iter().find(|(name, _)| *name == text);
        return known
            .map_or_else(|| Err(ScheduleError::CronNickname { text: shorten(text) }), |(_, means)| parse(means));
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(ScheduleError::CronFieldCount { expression: shorten(text), count: fields.len() });
    };
    let mut parsed = Fields {
        both: day.starts_with('*') || weekday.starts_with('*'),
        fixed: !minute.starts_with('*') && !hour.starts_with('*'),
        ..Fields::default()
    };
    parsed.minutes = field(CronPart::Minute, minute, &mut parsed)?;
    parsed.hours = low_bits(field(CronPart::Hour, hour, &mut parsed)?);
    parsed.days = low_bits(field(CronPart::DayOfMonth, day, &mut parsed)?);
    parsed.months = u16::try_from(field(CronPart::Month, month, &mut parsed)?).unwrap_or_default();
    let weekdays = week(field(CronPart::DayOfWeek, weekday, &mut parsed)?);
    for days in &mut parsed.weeks {
        *days |= weekdays;
    }
    Ok(parsed)
}

/// The plain values of a field as bits; `L`, `LW`, `5L` and `MON#2` go to `special`.
fn field(part: CronPart, text: &str, special: &mut Fields) -> Result<u64, ScheduleError> {
    text.split(',')
        .try_fold(0, |bits, item| Ok(bits | self::item(part, item, special)?))
        .map_err(|problem| ScheduleError::CronItem { part, text: shorten(text), problem })
}

fn item(part: CronPart, item: &str, special: &mut Fields) -> Result<u64, CronProblem> {
    if item.is_empty() {
        return Err(CronProblem::EmptyItem);
    }
    if item.contains('?') {
        return Err(CronProblem::QuestionMark);
    }
    if is_special(part, item, special)? {
        return Ok(0);
    }
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(self::step(step)?)),
        None => (item, None),
    };
    let (low, high) = limits(part);
    let (from, to) = if range == "*" {
        (low, high)
    } else if let Some((from, to)) = split_range(range)? {
        let (start, end) = (value(part, from)?, value(part, to)?);
        if start > end {
            return Err(reversed(part, range, start, end));
        }
        (start, end)
    } else {
        let start = value(part, range)?;
        (start, if step.is_some() { high } else { start })
    };
    let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
    Ok((from..=to).step_by(step).fold(0, |bits, value| bits | 1 << value))
}

/// Takes `L` and `LW` in day-of-month, `5L` and `MON#2` in day-of-week.
fn is_special(part: CronPart, item: &str, special: &mut Fields) -> Result<bool, CronProblem> {
    let misplaced = |hint| CronProblem::Misplaced { value: shorten(item), hint };
    let upper = item.to_ascii_uppercase();
    match part {
        CronPart::DayOfMonth if upper == "L" => special.last_day = true,
        CronPart::DayOfMonth if upper == "LW" => special.last_workday = true,
        CronPart::DayOfMonth if is_near_weekday(&upper) => {
            return Err(CronProblem::NearestWeekday { value: shorten(item) });
        }
        CronPart::DayOfMonth if upper.starts_with("L-") || upper.starts_with("L/") => {
            return Err(misplaced("`L` stands alone, as the last day of the month"));
        }
        CronPart::DayOfWeek if upper == "L" => {
            return Err(misplaced("say which weekday is the last of the month, such as 5L for the last Friday"));
        }
        CronPart::DayOfWeek if upper.contains('#') => {
            let (day, nth) = upper.split_once('#').unwrap_or((&upper, ""));
            let day = weekday_alone(day).ok_or_else(|| misplaced("write one weekday before `#`, such as MON#2"))?;
            let week = match nth.as_bytes() {
                [digit @ b'1'..=b'5'] => usize::from(digit - b'1'),
                _ => return Err(misplaced("write a number from 1 to 5 after `#`, such as MON#2")),
            };
            if let Some(days) = special.weeks.get_mut(week) {
                *days |= day;
            }
        }
        // JUL is a month in the wrong field.
        CronPart::DayOfWeek if upper.ends_with('L') && !MONTHS.contains(&upper.as_str()) => {
            let day = upper.strip_suffix('L').and_then(weekday_alone);
            special.last_week |= day.ok_or_else(|| misplaced("write one weekday before `L`, such as 5L"))?;
        }
        CronPart::Minute | CronPart::Hour | CronPart::Month if upper == "L" || upper == "LW" => {
            return Err(misplaced("`L` and `LW` belong in the day-of-month field"));
        }
        _ if upper.contains('#') => return Err(misplaced("`#` belongs in the day-of-week field")),
        _ => return Ok(false),
    }
    Ok(true)
}

fn weekday_alone(text: &str) -> Option<u8> {
    value(CronPart::DayOfWeek, text).ok().map(|day| 1 << (day % 7))
}

/// `15W`, `W`, `LW-1` and the like.
fn is_near_weekday(upper: &str) -> bool {
    upper.contains('W') && upper.bytes().all(|byte| byte.is_ascii_digit() || b"LW-/".contains(&byte))
}

fn step(text: &str) -> Result<u32, CronProblem> {
    number(text).filter(|step| *step > 0).ok_or_else(|| match text.as_bytes() {
        [b'+' | b'-', ..] => CronProblem::Signed { value: shorten(text) },
        _ => CronProblem::BadStep { step: shorten(text) },
    })
}

/// The two ends of a range; `None` where it is none.
fn split_range(text: &str) -> Result<Option<(&str, &str)>, CronProblem> {
    match text.split_once('-') {
        Some(("", _)) => Err(CronProblem::Signed { value: shorten(text) }),
        ends => Ok(ends),
    }
}

fn reversed(part: CronPart, range: &str, start: u32, end: u32) -> CronProblem {
    let (low, high) = limits(part);
    let hint = match (part, end) {
        (CronPart::DayOfWeek, 0) => format!("write {start}-7, 7 is Sunday too"),
        (CronPart::DayOfWeek, _) => format!("write {start}-6,{low}-{end}"),
        _ => format!("write {start}-{high},{low}-{end}"),
    };
    CronProblem::ReversedRange { range: shorten(range), hint }
}

/// One number or name of the field.
fn value(part: CronPart, text: &str) -> Result<u32, CronProblem> {
    let (low, high) = limits(part);
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(text).filter(|value| (low..=high).contains(value)).ok_or_else(|| CronProblem::OutOfRange {
            value: shorten(text),
            low,
            high,
        });
    }
    if text.starts_with(['+', '-']) {
        return Err(CronProblem::Signed { value: shorten(text) });
    }
    let position = |names: &[&str]| (0u32..).zip(names).find(|(_, name)| text.eq_ignore_ascii_case(name)).map(|n| n.0);
    let belongs = match (part, position(&MONTHS), position(&WEEKDAYS)) {
        (CronPart::Month, Some(month), _) => return Ok(month + 1),
        (CronPart::DayOfWeek, _, Some(day)) => return Ok(day),
        (_, Some(_), _) => CronPart::Month,
        (_, _, Some(_)) => CronPart::DayOfWeek,
        _ => return Err(CronProblem::NotUnderstood { value: shorten(text), expected: expected(part) }),
    };
    Err(CronProblem::NameOutOfPlace { name: shorten(text), belongs })
}

fn number(text: &str) -> Option<u32> {
    let digits = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn limits(part: CronPart) -> (u32, u32) {
    match part {
        CronPart::Minute => (0, 59),
        CronPart::Hour => (0, 23),
        CronPart::DayOfMonth => (1, 31),
        CronPart::Month => (1, 12),
        CronPart::DayOfWeek => (0, 7),
    }
}

fn expected(part: CronPart) -> &'static str {
    match part {
        CronPart::Minute => "a number from 0 to 59, a range such as 10-40, a step such as */5, or `*`",
        CronPart::Hour => "a number from 0 to 23, a range such as 9-17, a step such as */2, or `*`",
        CronPart::DayOfMonth => "a number from 1 to 31, a range such as 1-7, a step such as */2, `L`, `LW`, or `*`",
        CronPart::Month => "a number from 1 to 12, a name such as JAN, a range such as 3-6, a step such as */3, or `*`",
        CronPart::DayOfWeek => {
            "a number from 0 to 7 (0 and 7 are Sunday), a name such as MON, a range such as 1-5, 5L, MON#2, or `*`"
        }
    }
}

fn low_bits(bits: u64) -> u32 {
    u32::try_from(bits).unwrap_or_default()
}

/// Sunday as 7 is Sunday as 0.
fn week(bits: u64) -> u8 {
    u8::try_from((bits | bits >> 7) & 0x7f).unwrap_or_default()
}
