//! Standard Webhooks signatures, version 1: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
const KEY_BYTES_MIN: usize = 24;
const KEY_BYTES_MAX: usize = 64;

/// One signing key.
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// Reads `whsec_` and base64.
    ///
    /// # Errors
    /// With what is wrong and what would be right; never with the secret.
    pub(crate) fn parse(secret: &str) -> Result<Self, String> {
        let encoded = secret
            .strip_prefix(PREFIX)
            .ok_or_else(|| format!("must begin with `{PREFIX}`, followed by the base64 of 24 to 64 random bytes"))?;
        let key = STANDARD.decode(encoded).map_err(|_| format!("must be base64 after `{PREFIX}`"))?;
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(format!(
                "holds {} bytes after `{PREFIX}`; {KEY_BYTES_MIN} to {KEY_BYTES_MAX} random bytes are needed",
                key.len()
            ));
        }
        Ok(Self(key))
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// The value of `webhook-signature`: one signature per key, `None` without keys.
pub(crate) fn signatures(keys: &[Key], id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let all: Vec<_> = keys.iter().filter_map(|key| key.sign(id, timestamp, body)).collect();
    (!all.is_empty()).then(|| all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_standard_says() {
        let key = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signatures(&[key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert_eq!(signatures(&[], "id", 0, b""), None);
    }

    #[test]
    fn says_what_is_wrong_with_a_secret_without_showing_it() {
        for (secret, words) in [
            ("hunter2hunter2hunter2hunter2", "must begin with `whsec_`"),
            ("whsec_***", "must be base64"),
            ("whsec_aHVudGVyMg==", "holds 7 bytes"),
        ] {
            let fault = Key::parse(secret).unwrap_err();
            assert!(fault.contains(words), "{fault}");
            assert!(!fault.contains("hunter2") && !fault.contains("aHVudGVyMg"), "{fault}");
        }
    }
}
