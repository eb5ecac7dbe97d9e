//! Durations as people write them: `90s`, `5m`, `1d12h`.

use std::fmt::Write;
use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration such as 90s, 5m, 2h or 1d12h")]
pub struct ParseDurationError {
    text: String,
}

/// Reads a duration: numbers with the units `d`, `h`, `m`, `s`, `ms`, largest first, each at most once (`1d12h`,
/// `1h 30m`), or a bare number of seconds (`90`). A day is 24 hours.
///
/// # Errors
/// When the text has another form, or is too long to count in milliseconds.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(heartbeat_engine::parse_duration("1h30m")?, Duration::from_secs(5400));
/// # Ok::<(), heartbeat_engine::ParseDurationError>(())
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    parse(text.trim())
        .map(Duration::from_millis)
        .ok_or_else(|| ParseDurationError { text: text.chars().take(64).collect() })
}

fn parse(text: &str) -> Option<u64> {
    let (number, _) = split_number(text)?;
    if number.len() == text.len() {
        return number.parse::<u64>().ok()?.checked_mul(1000);
    }
    let mut rest = text;
    let mut total = 0u64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (number, tail) = split_number(rest)?;
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let unit = &tail[..end];
        let (_, scale) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*scale)?)?;
        rest = tail[end..].trim_start();
    }
    Some(total)
}

/// The leading digits and what follows; `None` where there are none.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Writes a duration in the form that [`parse_duration`] reads: `1d12h`, `90s` as `1m30s`, zero as `0s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    spell(duration, |name| name, "")
}

/// Writes a duration for a sentence: `2 h`, `5 min`, `1 d 12 h`.
#[must_use]
pub fn describe_duration(duration: Duration) -> String {
    spell(duration, |name| if name == "m" { " min" } else { name }, " ")
}

fn spell(duration: Duration, unit: impl Fn(&'static str) -> &'static str, space: &str) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::with_capacity(16);
    for (name, scale) in UNITS {
        if rest >= scale {
            let between = if text.is_empty() { "" } else { space };
            let before_unit = if name == "m" { "" } else { space };
            // Writing to a string cannot fail.
            let _ = write!(text, "{between}{}{before_unit}{}", rest / scale, unit(name));
            rest %= scale;
        }
    }
    if text.is_empty() { format!("0{space}s") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, ms) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d12h", 129_600_000),
            ("90", 90_000),
            ("1h 30m", 5_400_000),
            ("1500ms", 1_500),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text).unwrap().as_millis(), ms, "{text}");
        }
        for text in ["", "h", "5x", "-5s", "1.5h", "5m1h", "1h1h", "99999999999999999999d", "5 m x"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for ms in [0, 1, 999, 1_000, 90_000, 129_600_000, 86_400_001] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
        }
        assert_eq!(describe_duration(Duration::from_secs(5400)), "1 h 30 min");
        assert_eq!(describe_duration(Duration::ZERO), "0 s");
    }
}
