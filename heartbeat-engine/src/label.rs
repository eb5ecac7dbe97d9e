//! Texts that every monitor has, in little memory.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many bytes a label holds without memory of its own.
const INLINE: usize = 22;

/// A short text, such as the slug or the name of a monitor: 24 bytes, and memory of its own only when it is longer than 22
/// bytes. It is used like a `&str`, and made from a `&str` or a `String`.
///
/// ```
/// use heartbeat_engine::Label;
///
/// let slug = Label::from("cert-sync");
/// assert!(slug == "cert-sync" && slug.starts_with("cert"));
/// ```
#[derive(Clone)]
pub struct Label(Kept);

#[derive(Clone)]
enum Kept {
    Inline { length: u8, bytes: [u8; INLINE] },
    Apart(Box<str>),
}

impl Label {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // It was text when it was copied there.
            Kept::Inline { length, bytes } => str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default(),
            Kept::Apart(text) => text,
        }
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        let mut bytes = [0; INLINE];
        Self(match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                Kept::Inline { length: text.len() as u8, bytes }
            }
            None => Kept::Apart(text.into()),
        })
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        if text.len() > INLINE { Self(Kept::Apart(text.into())) } else { Self::from(text.as_str()) }
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        match label.0 {
            Kept::Apart(text) => text.into(),
            Kept::Inline { .. } => label.as_str().to_owned(),
        }
    }
}

/// A text that may be long and mostly is empty, such as a description: 8 bytes while it is. It is used like a `&str`, and made
/// from a `&str` or a `String`.
#[derive(Clone)]
pub struct LongText(Option<Box<Box<str>>>);

impl LongText {
    /// No text.
    pub const EMPTY: Self = Self(None);

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_deref().map_or("", |text| text)
    }
}

impl From<&str> for LongText {
    fn from(text: &str) -> Self {
        Self((!text.is_empty()).then(|| Box::new(text.into())))
    }
}

impl From<String> for LongText {
    fn from(text: String) -> Self {
        Self((!text.is_empty()).then(|| Box::new(text.into())))
    }
}

impl From<LongText> for String {
    fn from(text: LongText) -> Self {
        text.0.map_or_else(Self::new, |text| (*text).into())
    }
}

macro_rules! like_text {
    ($name:ident) => {
        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                self.as_str()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl From<&String> for $name {
            fn from(text: &String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl From<&$name> for String {
            fn from(text: &$name) -> Self {
                text.as_str().to_owned()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::from("")
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }

        impl Eq for $name {}

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl PartialEq<String> for $name {
            fn eq(&self, other: &String) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<$name> for String {
            fn eq(&self, other: &$name) -> bool {
                self == other.as_str()
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.as_str().cmp(other.as_str())
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    };
}

like_text!(Label);
like_text!(LongText);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_what_it_is_whatever_its_length() {
        for length in [0, 1, 21, 22, 23, 24, 300] {
            let text = "ü".repeat(length / 2) + &"x".repeat(length % 2);
            assert_eq!(text.len(), length);
            let (label, long) = (Label::from(text.as_str()), LongText::from(text.as_str()));
            let owned = (Label::from(text.clone()), LongText::from(text.clone()));
            assert!(label == text && long == text && owned == (label.clone(), long.clone()));
            assert_eq!(format!("{label} {label:?} {long} {long:?}"), format!("{text} {text:?} {text} {text:?}"));
            let json = serde_json::to_string(&(&label, &long)).unwrap();
            assert_eq!(json, serde_json::to_string(&(&text, &text)).unwrap());
            assert_eq!(serde_json::from_str::<(Label, LongText)>(&json).unwrap(), (label.clone(), long.clone()));
            assert_eq!((String::from(label), String::from(long)), (text.clone(), text));
        }
        let [apart, inline] = ["a-text-that-does-not-fit-in", "b"].map(Label::from);
        assert!(inline > apart);
    }

    #[test]
    fn they_are_as_small_as_they_are_said_to_be() {
        assert_eq!((size_of::<Label>(), size_of::<LongText>()), (24, 8));
    }
}
