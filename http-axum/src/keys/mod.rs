//! API keys: their form, what they may do, and where they are kept.

mod record;
mod store;

use std::fmt;

use heartbeat_engine::{EditError, Engine, StorageError, Unavailable};
use sha2::{Digest, Sha256};

pub(crate) use record::{KeyHash, KeyRecord, StoredKey};
pub(crate) use store::Keys;

const PREFIX: &str = "hb_";
/// 27 digits of base 62 are 160.7 bits.
const RANDOM_DIGITS: usize = 27;
const CHECK_DIGITS: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new key in clear: `hb_`, 160 random bits, and a checksum by which a scanner finds it and a typo is told from a
/// wrong key. It is shown once; only its hash is stored. Debug output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key itself, to be shown once to whoever asked for it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn random() -> Result<Self, Unavailable> {
        let mut text = PREFIX.to_owned();
        while text.len() < PREFIX.len() + RANDOM_DIGITS {
            let mut bytes = [0u8; 32];
            getrandom::fill(&mut bytes).map_err(|error| {
                Unavailable::Storage(StorageError::Unavailable(format!("the system gave no random bytes: {error}")))
            })?;
            // Six bits each, and only values below 62, so that every digit is equally likely.
            let digits = bytes.iter().filter_map(|byte| BASE62.get(usize::from(byte & 63)));
            let missing = PREFIX.len() + RANDOM_DIGITS - text.len();
            text.extend(digits.take(missing).map(|digit| char::from(*digit)));
        }
        text.push_str(&checksum(&text));
        Ok(Self(text))
    }

    pub(crate) fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// What a key may do; each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    Ping,
    Read,
    Manage,
    Admin,
}

impl Scope {
    pub(crate) const ALL: [(&'static str, Self); 4] =
        [("ping", Self::Ping), ("read", Self::Read), ("manage", Self::Manage), ("admin", Self::Admin)];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }
}

/// Makes the first admin key where no valid one is stored, and gives it in clear, once; `None` when there is one.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn ensure_admin_key(engine: &Engine) -> Result<Option<ApiKey>, EditError> {
    let now = engine.now();
    let stored = store::read(engine).await.map_err(Unavailable::from)?;
    if stored.iter().any(|key| key.record.scope == Scope::Admin && !key.record.is_expired(now)) {
        return Ok(None);
    }
    let key = ApiKey::random()?;
    let record = KeyRecord::new("first admin key", Scope::Admin, key.hash(), now);
    store::create(engine, &record).await?;
    Ok(Some(key))
}

/// Whether a text that looks like a key of ours has the right checksum; `None` when it does not look like one.
pub(crate) fn check_form(text: &str) -> Option<bool> {
    if !text.starts_with(PREFIX) {
        return None;
    }
    let body = text.len().checked_sub(CHECK_DIGITS).and_then(|at| text.split_at_checked(at));
    Some(text.len() == PREFIX.len() + RANDOM_DIGITS + CHECK_DIGITS && body.is_some_and(|(b, sum)| checksum(b) == sum))
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [0u8; CHECK_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

pub(crate) fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_form() {
        let key = ApiKey::random().unwrap();
        assert_eq!(key.reveal().len(), 36);
        assert!(key.reveal().bytes().skip(3).all(|b| b.is_ascii_alphanumeric()));
        assert_eq!(check_form(key.reveal()), Some(true));
        assert_ne!(key, ApiKey::random().unwrap());
        assert_eq!(format!("{key:?}"), "ApiKey(***)");
    }

    #[test]
    fn a_typo_is_told_from_a_wrong_key() {
        let key = ApiKey::random().unwrap().reveal().to_owned();
        for at in 3..key.len() {
            let mut typo = key.clone().into_bytes();
            typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(check_form(std::str::from_utf8(&typo).unwrap()), Some(false));
        }
        assert_eq!(check_form(&key[..35]), Some(false));
        assert_eq!(check_form("hb_é"), Some(false));
        assert_eq!(check_form("hb_"), Some(false));
        assert_eq!(check_form("some other password"), None);
    }
}
