//! Texts of the far end, made fit to be shown and stored.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;

/// How much of an answer is kept.
const EXCERPT_CHARS_MAX: usize = 200;
/// Shorter parts of a URL are not worth hiding, and would blot out ordinary words.
const HIDDEN_CHARS_MIN: usize = 4;

/// One line of at most 200 characters.
pub(crate) fn excerpt(text: &str) -> String {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = printable.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

/// The deepest cause of an error, which is the one that says what happened.
pub(crate) fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    excerpt(&cause.to_string())
}

/// Where a webhook goes, without credentials, path and query.
pub(crate) fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The parts of a URL that may be secret, to be hidden in what the far end says back.
pub(crate) fn secret_parts(url: &Url) -> Vec<String> {
    let raw = [Some(url.username()), url.password(), url.query()].into_iter().flatten().map(str::to_owned);
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let raw_values = url.query().unwrap_or_default().split(['&', '=']).map(str::to_owned);
    let mut parts: Vec<_> = raw
        .chain(values)
        .chain(raw_values)
        .chain(credentials(url))
        .filter(|part| part.chars().count() >= HIDDEN_CHARS_MIN)
        .collect();
    // The longest first, so that no part of a secret is left standing beside a shorter one.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts.dedup();
    parts
}

/// User and password as they are meant, and as HTTP Basic sends them.
fn credentials(url: &Url) -> Vec<String> {
    let Some(password) = url.password() else { return Vec::new() };
    let [user, password] = [url.username(), password].map(|text| percent_decode_str(text).decode_utf8_lossy());
    let basic = STANDARD.encode(format!("{user}:{password}"));
    vec![user.into_owned(), password.into_owned(), basic]
}

/// `text` with every one of `parts` replaced by `***`.
pub(crate) fn hide(text: &str, parts: &[String]) -> String {
    parts.iter().fold(text.to_owned(), |text, part| text.replace(part.as_str(), "***"))
}

/// A URL to be shown to people: its credentials and query are `***`.
pub(crate) fn redacted_url(text: &str) -> String {
    // Anything else may be a password in an unexpected place.
    let Some(mut url) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return "***".to_owned();
    };
    if !url.username().is_empty() || url.password().is_some() {
        let hidden = url.set_username("***").and_then(|()| url.set_password(None));
        if hidden.is_err() {
            return "***".to_owned();
        }
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.set_fragment(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_of_one_line() {
        assert_eq!(excerpt(" a\r\n\tb\u{0}c "), "a b c");
        assert_eq!(excerpt(&"é".repeat(300)).chars().count(), 201);
    }

    #[test]
    fn hides_what_a_server_echoes() {
        let url = Url::parse("https://user:p%40ssword@example.org/hook?token=abc%20def&x=1").unwrap();
        let parts = secret_parts(&url);
        for text in
            ["Cannot POST /hook?token=abc%20def&x=1", "token abc def is wrong", "p%40ssword", "p@ssword", "abc%20def"]
        {
            let hidden = hide(text, &parts);
            assert!(hidden.contains("***"), "{hidden}");
            assert!(!hidden.contains("def") && !hidden.contains("ssword"), "{hidden}");
        }
        let basic = STANDARD.encode("user:p@ssword");
        assert_eq!(
            hide(&format!("Authorization: Basic {basic} is wrong"), &parts),
            "Authorization: Basic *** is wrong"
        );
    }

    #[test]
    fn shows_urls_without_secrets() {
        assert_eq!(redacted_url("https://u:p@example.org/a?b=c#d"), "https://***@example.org/a?***");
        assert_eq!(redacted_url("https://example.org/a"), "https://example.org/a");
        for text in ["not a url", "u:p@example.org", "ftp://u:p@example.org"] {
            assert_eq!(redacted_url(text), "***");
        }
    }
}
