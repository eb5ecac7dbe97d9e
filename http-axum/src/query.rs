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

    /// Reads parameters with `read`; everything that is wrong with them becomes one problem, and so do parameters that it
    /// did not ask for, so that a misspelt filter does not show everything.
    pub(crate) fn read<'q, T>(&'q self, read: impl FnOnce(&mut Parameters<'q>) -> T) -> Result<T, Problem> {
        let mut parameters = Parameters { query: self, known: Vec::new(), faults: Vec::new() };
        let made = read(&mut parameters);
        let Parameters { known, mut faults, .. } = parameters;
        let there_are = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let mut unknown: Vec<String> = Vec::new();
        for (name, _) in self.pairs.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let name = clip(name);
            if !unknown.contains(&name) {
                faults.push(FieldError::new(&*name, format!("is not a parameter here; there are: {there_are}")));
                unknown.push(name);
            }
        }
        if faults.is_empty() { Ok(made) } else { Err(Problem::invalid(faults)) }
    }

    /// Refuses every parameter.
    pub(crate) fn none(&self) -> Result<(), Problem> {
        self.read(|_| ())
    }
}

/// The parameters of a request while they are read one by one.
#[derive(Debug)]
pub(crate) struct Parameters<'q> {
    query: &'q Query,
    known: Vec<&'static str>,
    faults: Vec<FieldError>,
}

impl<'q> Parameters<'q> {
    /// Notes that a parameter is wrong.
    pub(crate) fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(FieldError::new(name, message));
    }

    /// The last value of a parameter that is not empty.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<&'q str> {
        self.known.push(name);
        self.query.filled(name)
    }

    /// Every value of a parameter.
    pub(crate) fn all(&mut self, name: &'static str) -> Vec<&'q str> {
        self.known.push(name);
        self.query.all(name)
    }

    /// The parts of a parameter that may be given several times and may hold commas.
    pub(crate) fn list(&mut self, name: &'static str) -> Vec<String> {
        let values = self.all(name);
        let parts = values.into_iter().flat_map(|value| value.split(',')).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    }

    /// What `parse` makes of a parameter that is not empty; `right` says what it must be.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &'static str,
        right: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(text);
        if value.is_none() {
            self.fault(name, format!("`{}` is not {right}", clip(text)));
        }
        value
    }

    /// One of some words.
    pub(crate) fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.fault(name, format!("`{}` is none of {}", clip(text), all.join(", ")));
        }
        found
    }

    /// How many items a page should have.
    pub(crate) fn limit(&mut self) -> usize {
        self.known.push("limit");
        let Some(text) = self.query.get("limit") else { return PAGE_DEFAULT };
        match text.parse() {
            Ok(limit) if (1..=PAGE_MAX).contains(&limit) => limit,
            _ => {
                self.fault("limit", format!("`{}` is not a number from 1 to {PAGE_MAX}", clip(text)));
                PAGE_DEFAULT
            }
        }
    }

    /// Where the page begins, as the page before said; read by `parse`.
    pub(crate) fn cursor<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.parsed("cursor", "a cursor; give the `next_cursor` of a page", parse)
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
        let limit = |text: Option<&str>| Query::parse(text).read(Parameters::limit);
        assert_eq!(limit(None).unwrap(), 100);
        assert_eq!(limit(Some("limit=1000")).unwrap(), 1000);
        for text in ["0", "1001", "x", "-1"] {
            let problem = limit(Some(&format!("limit={text}"))).unwrap_err();
            assert!(problem.errors[0].message.contains(text));
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let query = Query::parse(Some("stauts=up&limit=0&status=on&cursor=x&stauts=2"));
        let problem = query
            .read(|parameters| {
                let _ = parameters.word("status", &[("open", true), ("closed", false)]);
                let _ = parameters.cursor(|text| text.parse::<u64>().ok());
                parameters.limit()
            })
            .unwrap_err();
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["status", "cursor", "limit", "stauts"]);
        assert_eq!(problem.errors[0].message, "`on` is none of open, closed");
        assert_eq!(problem.errors[3].message, "is not a parameter here; there are: status, cursor, limit");
    }
}
