//! A TOML file as JSON that remembers on which line each key stands.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

/// A settings file: its values, and where they stand.
#[derive(Debug)]
pub(crate) struct TomlDocument {
    file: String,
    root: Map<String, Value>,
    lines: HashMap<String, usize>,
}

/// What is wrong with a settings file: the file, the line, the key and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFault {
    file: String,
    line: Option<usize>,
    key: String,
    message: String,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ", {}", on_one_line(&self.key))?;
        }
        write!(f, ": {}", on_one_line(&self.message))
    }
}

/// Nothing that breaks the line or that a terminal obeys, whatever stands in the file.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl TomlDocument {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, FileFault> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| FileFault {
            file: file.clone(),
            line: None,
            key: String::new(),
            message: format!("cannot be read: {error}"),
        })?;
        Self::parse(&file, &text)
    }

    /// Reads the text of a file with this name.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, FileFault> {
        let starts = line_starts(text);
        let line_of = |offset: usize| starts.partition_point(|start| *start <= offset);
        let table = DeTable::parse(text).map_err(|error| FileFault {
            file: file.to_owned(),
            line: error.span().map(|span| line_of(span.start)),
            key: String::new(),
            message: format!("is not TOML: {}", error.message().replace('\n', ", ")),
        })?;
        let mut reader = Reader { line_of: &line_of, lines: HashMap::new(), fault: None };
        let root = reader.table(table.get_ref(), "");
        let Reader { lines, fault, .. } = reader;
        let document = Self { file: file.to_owned(), root, lines };
        match fault {
            Some((path, message)) => Err(document.fault(&path, message)),
            None => Ok(document),
        }
    }

    /// Its values.
    pub(crate) fn root(&self) -> &Map<String, Value> {
        &self.root
    }

    /// The last part of its path.
    pub(crate) fn file_name(&self) -> String {
        Path::new(&self.file).file_name().map_or_else(|| self.file.clone(), |name| name.to_string_lossy().into_owned())
    }

    /// Says that the value at this dotted path (`monitor.0.schedule.every`) is wrong. Where there is no such key, the line
    /// is that of what encloses it.
    pub(crate) fn fault(&self, path: &str, message: impl Into<String>) -> FileFault {
        let mut known = path;
        let line = loop {
            if let Some(line) = self.lines.get(known) {
                break Some(*line);
            }
            match known.rsplit_once('.') {
                Some((parent, _)) => known = parent,
                None => break None,
            }
        };
        FileFault { file: self.file.clone(), line, key: shown_key(path), message: message.into() }
    }

    /// The line of the value at this path; for the order of faults.
    pub(crate) fn line(&self, path: &str) -> usize {
        self.fault(path, "").line.unwrap_or(0)
    }
}

/// `monitor.0.schedule.every` as people write it: `[[monitor]] schedule.every`.
fn shown_key(path: &str) -> String {
    let mut parts = path.split('.');
    let (Some(section), index) = (parts.next(), parts.next()) else { return String::new() };
    let rest = parts.collect::<Vec<_>>().join(".");
    match (section, index) {
        ("monitor" | "channel" | "maintenance" | "route", Some(index)) if index.bytes().all(|b| b.is_ascii_digit()) => {
            format!("[[{section}]] {rest}").trim_end().to_owned()
        }
        ("self", Some(key)) => format!("[self] {}", [key, &rest].join(".").trim_end_matches('.')),
        _ => path.to_owned(),
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(index, _)| index + 1)).collect()
}

struct Reader<'l> {
    line_of: &'l dyn Fn(usize) -> usize,
    lines: HashMap<String, usize>,
    fault: Option<(String, String)>,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, path: &str) -> Map<String, Value> {
        let mut map = Map::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            self.note(&path, key.span());
            let value = self.value(value.get_ref(), &path);
            map.insert(name.to_owned(), value);
        }
        map
    }

    fn value(&mut self, value: &DeValue<'_>, path: &str) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                self.number(i64::from_str_radix(&digits, number.radix()).ok().map(Number::from), path)
            }
            DeValue::Float(number) => {
                let parsed = number.as_str().replace('_', "").parse::<f64>().ok();
                self.number(parsed.and_then(Number::from_f64), path)
            }
            // With its offset from UTC a date is a moment, and a moment is a text here.
            DeValue::Datetime(moment) if moment.offset.is_some() => Value::String(moment.to_string()),
            DeValue::Datetime(moment) if moment.date.is_none() => {
                self.refuse(path, &format!("is a time that is no text; write it in quotes: \"{moment}\""))
            }
            DeValue::Datetime(_) => {
                self.refuse(path, "is a date without its offset from UTC; write for example 2026-11-20T22:00:00Z")
            }
            DeValue::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}.{index}");
                    self.note(&path, item.span());
                    list.push(self.value(item.get_ref(), &path));
                }
                Value::Array(list)
            }
            DeValue::Table(table) => Value::Object(self.table(table, path)),
        }
    }

    fn number(&mut self, number: Option<Number>, path: &str) -> Value {
        number.map_or_else(|| self.refuse(path, "is not a number that can be kept"), Value::Number)
    }

    fn refuse(&mut self, path: &str, message: &str) -> Value {
        self.fault.get_or_insert_with(|| (path.to_owned(), message.to_owned()));
        Value::Null
    }

    fn note(&mut self, path: &str, span: Range<usize>) {
        let line = (self.line_of)(span.start);
        self.lines.insert(path.to_owned(), line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "listen = \"127.0.0.1:1\"\n\n[[monitor]]\nslug = \"a\"\nschedule = { every = \"5m\" }\n\n[[monitor]]\nslug = \"b\"\nlimits = [\n  1,\n  2.5,\n]\n\n[self]\nping_url = \"x\"\n";

    #[test]
    fn knows_the_line_of_every_key() {
        let document = TomlDocument::parse("heartbeat.toml", TEXT).unwrap();
        for (path, shown) in [
            ("listen", "heartbeat.toml, line 1, listen: bad"),
            ("monitor.0.schedule.every", "heartbeat.toml, line 5, [[monitor]] schedule.every: bad"),
            ("monitor.0.grace", "heartbeat.toml, line 3, [[monitor]] grace: bad"),
            ("monitor.1", "heartbeat.toml, line 7, [[monitor]]: bad"),
            ("monitor.1.limits.1", "heartbeat.toml, line 11, [[monitor]] limits.1: bad"),
            ("self.ping_url", "heartbeat.toml, line 15, [self] ping_url: bad"),
        ] {
            assert_eq!(document.fault(path, "bad").to_string(), shown);
        }
    }

    #[test]
    fn reads_values_as_json() {
        let document = TomlDocument::parse("f", TEXT).unwrap();
        let expected = serde_json::json!({
            "listen": "127.0.0.1:1",
            "monitor": [{"slug": "a", "schedule": {"every": "5m"}}, {"slug": "b", "limits": [1, 2.5]}],
            "self": {"ping_url": "x"},
        });
        assert_eq!(Value::Object(document.root().clone()), expected);
    }

    #[test]
    fn says_where_the_syntax_is_broken() {
        let fault = TomlDocument::parse("heartbeat.toml", "listen = \"a\"\nstorage = \n").unwrap_err().to_string();
        assert!(fault.starts_with("heartbeat.toml, line 2: is not TOML: "), "{fault}");
        let fault = TomlDocument::parse("f", "a = 1\na = 2\n").unwrap_err().to_string();
        assert!(fault.starts_with("f, line 2: "), "{fault}");
        let fault = TomlDocument::parse("f", "\"a\\n\\u001b\" = 2026-11-20\n").unwrap_err().to_string();
        assert!(fault.starts_with("f, line 1, a  : is a date"), "{fault:?}");
        let fault = TomlDocument::parse("f", "a = 2026-11-20\n").unwrap_err().to_string();
        assert!(fault.starts_with("f, line 1, a: is a date"), "{fault}");
        let fault = TomlDocument::parse("f", "at = [\n  02:30:00,\n]\n").unwrap_err().to_string();
        assert_eq!(fault, "f, line 2, at.0: is a time that is no text; write it in quotes: \"02:30:00\"");
    }
}
