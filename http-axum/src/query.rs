//! Query strings and what is written in them.

use std::borrow::Cow;

use heartbeat_engine::FieldError;
use percent_encoding::percent_decode;

use crate::problem::Problem;

/// Most items of one page.
pub(crate) const PAGE_MAX: usize = 1000;
const PAGE_DEFAULT: usize = 100;

/// The parameters of a request, decoded, in their order. Empty pairs (`a=1&&b=2`) are skipped.
#[derive(Debug, Default, Clone)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key), decode(value))
            })
            .collect();
        Self { pairs }
    }

    /// The last value of a parameter.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The last value of a parameter that is not empty.
    pub(crate) fn filled(&self, key: &str) -> Option<&str> {
        self.get(key).filter(|value| !value.is_empty())
    }

    /// Every value of a parameter.
    pub(crate) fn all(&self, key: &str) -> Vec<&str> {
        self.pairs.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str()).collect()
    }

    /// Refuses parameters that are not among `known`, so that a misspelt filter does not show everything.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        let faults: Vec<FieldError> = self
            .pairs
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
            .map(|(name, _)| {
                let name: String = name.chars().take(64).collect();
                FieldError::new(name, format!("is not a parameter here; there are: {}", known.join(", ")))
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(Problem::invalid(faults)) }
    }

    /// How many items a page should have.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.get("limit") else { return Ok(PAGE_DEFAULT) };
        match text.parse() {
            Ok(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
            _ => Err(Problem::field("limit", format!("`{}` is not a number from 1 to {PAGE_MAX}", clip(text)))),
        }
    }

    /// Where the page begins, as the page before said; read by `parse`.
    pub(crate) fn cursor<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(text) = self.filled("cursor") else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| {
            Problem::field("cursor", format!("`{}` is not a cursor; give the `next_cursor` of a page", clip(text)))
        })
    }
}

/// At most 64 characters of a text, for messages.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The longest beginning of a text that has at most `bytes_max` bytes.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

fn decode(text: &str) -> String {
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    percent_decode(spaced.as_bytes()).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_pairs_are_skipped_and_the_last_value_wins() {
        let query = Query::parse(Some("service=60y4E&&data=a%20b+c&data=123"));
        assert_eq!(query.get("service"), Some("60y4E"));
        assert_eq!(query.get("data"), Some("123"));
        assert_eq!(query.all("data"), ["a b c", "123"]);
        assert_eq!(Query::parse(Some("rid=")).get("rid"), Some(""));
        assert_eq!(Query::parse(Some("=x&%ff=%")).get("\u{fffd}"), Some("%"));
    }

    #[test]
    fn pages_have_limits() {
        assert_eq!(Query::parse(None).limit().unwrap(), 100);
        assert_eq!(Query::parse(Some("limit=1000")).limit().unwrap(), 1000);
        for text in ["0", "1001", "x", "-1"] {
            let problem = Query::parse(Some(&format!("limit={text}"))).limit().unwrap_err();
            assert!(problem.errors[0].message.contains(text));
        }
        let problem = Query::parse(Some("stauts=up&limit=3")).only(&["status", "limit"]).unwrap_err();
        assert_eq!(problem.errors[0].field, "stauts");
    }
}
