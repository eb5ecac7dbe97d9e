//! Ping tokens and signing secrets, and their rotation.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Label, Timestamp};

const UUID_CHARS: usize = uuid::fmt::Hyphenated::LENGTH;

/// The secret part of a ping URL: 8 to 64 of `[A-Za-z0-9_-]`. It is not shown in debug output.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(Kept);

/// The engine makes tokens that are UUIDs, which take less memory than their text.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kept {
    Uuid(Uuid),
    Text(Label),
}

/// The text cannot be a ping token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a ping token has 8 to 64 characters of A-Z, a-z, 0-9, `_` and `-`")]
pub struct TokenError;

impl Token {
    /// Takes a token as somebody gives it.
    ///
    /// # Errors
    /// When it has another length or other characters.
    pub fn new(text: impl AsRef<str>) -> Result<Self, TokenError> {
        let text = text.as_ref();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !(8..=64).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err(TokenError);
        }
        // Written in another way it is another token.
        let is_lower = text.len() == UUID_CHARS && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let uuid = if is_lower { Uuid::try_parse(text).ok() } else { None };
        Ok(Self(uuid.map_or_else(|| Kept::Text(text.into()), Kept::Uuid)))
    }

    /// The token itself, to be shown to those who may see it.
    #[must_use]
    pub fn reveal(&self) -> Cow<'_, str> {
        match &self.0 {
            Kept::Uuid(uuid) => Cow::Owned(uuid.as_hyphenated().to_string()),
            Kept::Text(text) => Cow::Borrowed(text),
        }
    }

    /// What look-ups go by.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        match &self.0 {
            Kept::Uuid(uuid) => TokenHash::of(lower(uuid, &mut [0; UUID_CHARS])),
            Kept::Text(text) => TokenHash::of(text),
        }
    }
}

impl TryFrom<String> for Token {
    type Error = TokenError;

    fn try_from(text: String) -> Result<Self, TokenError> {
        Self::new(text)
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.reveal().into_owned()
    }
}

/// The way in which the engine writes UUIDs.
fn lower<'a>(uuid: &Uuid, buffer: &'a mut [u8; UUID_CHARS]) -> &'a str {
    uuid.as_hyphenated().encode_lower(buffer)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// The SHA-256 of a ping token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of any text, so that an impossible token is simply not found.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash with these 32 bytes, as read from a storage.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// A secret text that is not shown in debug output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A value and, for a while after it was replaced, its predecessor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rotating<T> {
    /// The value to use.
    pub current: T,
    /// The value before it, and until when that is accepted still.
    pub retiring: Option<Box<(T, Timestamp)>>,
}

impl<T> Rotating<T> {
    /// A value without a predecessor.
    pub const fn new(current: T) -> Self {
        Self { current, retiring: None }
    }

    /// Replaces the value; the old one stays valid until `overlap_ends`.
    #[must_use]
    pub fn rotated(self, next: T, overlap_ends: Timestamp) -> Self {
        Self { current: next, retiring: Some(Box::new((self.current, overlap_ends))) }
    }

    /// The values that are accepted at `now`.
    pub fn accepted(&self, now: Timestamp) -> impl Iterator<Item = &T> {
        let retiring = self.retiring.as_deref().filter(|(_, ends)| *ends > now).map(|(value, _)| value);
        std::iter::once(&self.current).chain(retiring)
    }

    /// Every value that is kept, accepted or not.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.current).chain(self.retiring.as_deref().map(|(value, _)| value))
    }
}
