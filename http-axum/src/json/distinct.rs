//! JSON in which a name stands twice in an object is refused: which of the two was meant nobody can know.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text is not taken.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is no JSON.
    Syntax(serde_json::Error),
    /// It gives this field twice.
    Twice(String),
}

/// Reads one JSON value from a whole text.
///
/// # Errors
/// See [`Fault`].
pub(crate) fn from_slice(text: &[u8]) -> Result<Value, Fault> {
    let twice = RefCell::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Reader { twice: &twice }.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| twice.take().map_or(Fault::Syntax(error), Fault::Twice))
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    /// The field that is given twice.
    twice: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if object.contains_key(&name) {
                self.twice.replace(Some(name));
                return Err(A::Error::custom("a field is given twice"));
            }
            object.insert(name, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_distinct_names_is_read_as_ever() {
        let text = r#" {"a": [null, true, -1, 18446744073709551615, 1.5e3, "xé"], "b": {"a": {}}} "#;
        assert_eq!(from_slice(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        assert!(matches!(from_slice(b"{} {}"), Err(Fault::Syntax(_))));
        assert!(matches!(from_slice(b""), Err(Fault::Syntax(_))));
    }

    #[test]
    fn a_name_given_twice_is_refused_at_every_depth() {
        for text in [r#"{"grace": "1m", "grace": "2m"}"#, r#"{"a": [{"grace": 1, "b": 2, "grace": 1}]}"#] {
            assert!(matches!(from_slice(text.as_bytes()), Err(Fault::Twice(field)) if field == "grace"), "{text}");
        }
    }
}
