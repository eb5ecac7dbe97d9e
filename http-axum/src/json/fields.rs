//! Reads an object field by field, and remembers everything that is wrong instead of stopping at the first.

use std::time::Duration;

use heartbeat_engine::{FieldError, Timestamp, parse_duration};
use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::query::clip;

/// The fields of an object, of which `path` tells where it stands (`""` or `schedule.`).
#[derive(Debug)]
pub(crate) struct Fields<'a, 'e> {
    object: &'a Map<String, Value>,
    path: String,
    known: Vec<&'static str>,
    errors: &'e mut Vec<FieldError>,
}

/// Reads an object with `read`; all that it found wrong becomes one problem.
pub(crate) fn read_object<T>(value: &Value, read: impl FnOnce(&mut Fields<'_, '_>) -> Option<T>) -> Result<T, Problem> {
    let mut errors = Vec::new();
    let Some(mut fields) = Fields::of(value, "", &mut errors) else { return Err(Problem::invalid(errors)) };
    let made = read(&mut fields);
    fields.finish();
    match made {
        Some(made) if errors.is_empty() => Ok(made),
        _ if errors.is_empty() => Err(Problem::bad_request("the body cannot be used")),
        _ => Err(Problem::invalid(errors)),
    }
}

impl<'a, 'e> Fields<'a, 'e> {
    /// The fields of `value`, which must be an object; else that is noted as an error of `path`.
    pub(crate) fn of(value: &'a Value, path: &str, errors: &'e mut Vec<FieldError>) -> Option<Self> {
        let Value::Object(object) = value else {
            let found = kind(value);
            errors.push(FieldError::new(path, format!("must be an object, not {found}")));
            return None;
        };
        let path = if path.is_empty() { String::new() } else { format!("{path}.") };
        Some(Self { object, path, known: Vec::new(), errors })
    }

    /// Notes an error of a field.
    pub(crate) fn fault(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(format!("{}{field}", self.path), message));
    }

    /// The errors so far, for a reader of something inside.
    pub(crate) fn errors(&mut self) -> &mut Vec<FieldError> {
        self.errors
    }

    /// The dotted path of a field.
    pub(crate) fn path(&self, field: &str) -> String {
        format!("{}{field}", self.path)
    }

    /// What a field holds; `None` where it is missing or null.
    pub(crate) fn value(&mut self, field: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&field) {
            self.known.push(field);
        }
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// Whether a field stands there and is null.
    pub(crate) fn is_null(&self, field: &str) -> bool {
        self.object.get(field).is_some_and(Value::is_null)
    }

    /// Whether a field stands there, be it null.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.object.contains_key(field)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Option<&'a str> {
        let value = self.value(field)?;
        self.read_as(field, value, value.as_str(), "a string")
    }

    pub(crate) fn boolean(&mut self, field: &'static str) -> Option<bool> {
        let value = self.value(field)?;
        self.read_as(field, value, value.as_bool(), "true or false")
    }

    pub(crate) fn count(&mut self, field: &'static str) -> Option<u32> {
        let value = self.value(field)?;
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        self.read_as(field, value, count, "a whole number from 0")
    }

    pub(crate) fn number(&mut self, field: &'static str) -> Option<f64> {
        let value = self.value(field)?;
        self.read_as(field, value, value.as_f64(), "a number")
    }

    /// A list of strings; each wrong item is an error of its own, such as `tags.2`.
    pub(crate) fn texts(&mut self, field: &'static str) -> Option<Vec<String>> {
        let value = self.value(field)?;
        let items = self.read_as(field, value, value.as_array(), "a list of strings")?;
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.fault(&format!("{field}.{index}"), format!("must be a string, not {}", kind(item))),
            }
        }
        (texts.len() == items.len()).then_some(texts)
    }

    /// A duration: a string such as `90s`, or a number of seconds.
    pub(crate) fn duration(&mut self, field: &'static str) -> Option<Duration> {
        let value = self.value(field)?;
        match duration(value) {
            Ok(duration) => Some(duration),
            Err(message) => {
                self.fault(field, message);
                None
            }
        }
    }

    pub(crate) fn time(&mut self, field: &'static str) -> Option<Timestamp> {
        let text = self.text(field)?;
        match text.parse() {
            Ok(at) => Some(at),
            Err(error) => {
                self.fault(field, heartbeat_engine::ParseTimestampError::to_string(&error));
                None
            }
        }
    }

    /// One of some words.
    pub(crate) fn word<T: Copy>(&mut self, field: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(field)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let all: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.fault(field, format!("`{}` is none of {}", clip(text), all.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A list of some words; each wrong item is an error of its own.
    pub(crate) fn words<T: Copy>(&mut self, field: &'static str, words: &[(&str, T)]) -> Option<Vec<T>> {
        let value = self.value(field)?;
        let items = self.read_as(field, value, value.as_array(), "a list of strings")?;
        let mut found = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match words.iter().find(|(word, _)| item.as_str() == Some(*word)) {
                Some((_, word)) => found.push(*word),
                None => {
                    let all: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
                    let message = format!("{} is none of {}", kind(item), all.join(", "));
                    self.fault(&format!("{field}.{index}"), message);
                }
            }
        }
        (found.len() == items.len()).then_some(found)
    }

    /// Notes every field that nobody asked for.
    pub(crate) fn finish(self) {
        for name in self.object.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let message = format!("is not a field here; there are: {}", self.known.join(", "));
            self.errors.push(FieldError::new(format!("{}{}", self.path, clip(name)), message));
        }
    }

    fn read_as<T>(&mut self, field: &str, value: &Value, read: Option<T>, right: &str) -> Option<T> {
        if read.is_none() {
            self.fault(field, format!("must be {right}, not {}", kind(value)));
        }
        read
    }
}

/// A duration as the public JSON writes it.
pub(crate) fn duration(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => parse_duration(text).map_err(|error| error.to_string()),
        Value::Number(number) => number
            .as_f64()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|duration| duration.as_millis() < i64::MAX as u128)
            .map(|duration| {
                Duration::from_millis(u64::try_from((duration.as_nanos() + 500_000) / 1_000_000).unwrap_or(u64::MAX))
            })
            .ok_or_else(|| format!("{number} is not a duration; give seconds from 0, or a string such as `5m`")),
        other => Err(format!("must be a duration such as `5m` or a number of seconds, not {}", kind(other))),
    }
}

/// What a value is, with the value itself where it is short.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("the string `{}`", clip(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_wrong_is_told_at_once() {
        let value = json!({"name": 1, "tags": ["a", 2, null], "grace": "5x", "count": -1, "what": 0, "on": "yes"});
        let problem = read_object(&value, |fields| {
            let _ = (fields.text("name"), fields.texts("tags"), fields.duration("grace"), fields.count("count"));
            let _ = (fields.boolean("on"), fields.number("missing"));
            Some(())
        })
        .unwrap_err();
        let fields: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["name", "tags.1", "tags.2", "grace", "count", "on", "what"]);
        assert_eq!(problem.errors[0].message, "must be a string, not 1");
    }

    #[test]
    fn durations_in_both_forms() {
        assert_eq!(duration(&json!("1d12h")), Ok(Duration::from_secs(129_600)));
        assert_eq!(duration(&json!(90)), Ok(Duration::from_secs(90)));
        assert_eq!(duration(&json!(0.25)), Ok(Duration::from_millis(250)));
        for wrong in [json!(-1), json!(1e300), json!("soon"), json!([]), json!(true)] {
            assert!(duration(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_body_that_is_no_object() {
        let problem = read_object(&json!([]), |_| Some(())).unwrap_err();
        assert_eq!(problem.errors[0].message, "must be an object, not a list");
    }
}
