//! Texts made fit for a line: of servers, and of times.

use std::error::Error;

use heartbeat_engine::Timestamp;

const EXCERPT_CHARS_MAX: usize = 200;

/// One line of at most 200 characters.
pub(crate) fn excerpt(text: &str) -> String {
    line(text, EXCERPT_CHARS_MAX)
}

/// One line of at most `chars_max` characters, and `…` where something is missing.
pub(crate) fn line(text: &str, chars_max: usize) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// The deepest cause of an error, which is the one that says what happened, with `secrets` hidden.
pub(crate) fn root_cause(error: &dyn Error, secrets: &[String]) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    // First hidden, then cut: half a secret is not found.
    excerpt(&hide(&cause.to_string(), secrets))
}

/// `text` with every one of `secrets` replaced by `***`.
pub(crate) fn hide(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
}

/// An instant for people: `2026-11-20 08:10:00 UTC`.
pub(crate) fn when(at: Timestamp) -> String {
    let text = at.to_string();
    match text.strip_suffix('Z') {
        Some(time) => format!("{} UTC", time.replacen('T', " ", 1)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_single_and_short() {
        assert_eq!(line("a\r\nb  c", 10), "a b c");
        assert_eq!(line("abcdef", 3), "abc…");
        assert_eq!(when("2026-11-20T08:10:00.250Z".parse().unwrap()), "2026-11-20 08:10:00.250 UTC");
        assert_eq!(when(Timestamp::MAX), "never");
    }
}
