//! Random ids, tokens and secrets: the only place of the engine that asks for randomness.

use crate::runtime::error::Unavailable;
use crate::{MonitorId, Secret, StorageError, Token};

fn bytes<const N: usize>() -> Result<[u8; N], Unavailable> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Unavailable::Storage(StorageError::Unavailable(format!("the system gave no random bytes: {error}")))
    })?;
    Ok(bytes)
}

fn uuid_v4() -> Result<uuid::Uuid, Unavailable> {
    Ok(uuid::Builder::from_random_bytes(bytes()?).into_uuid())
}

pub(crate) fn monitor_id() -> Result<MonitorId, Unavailable> {
    Ok(MonitorId::from_bytes(uuid_v4()?.into_bytes()))
}

/// A UUID of version 4 as text.
pub(crate) fn uuid() -> Result<String, Unavailable> {
    Ok(uuid_v4()?.as_hyphenated().to_string())
}

/// A UUID of version 4.
pub(crate) fn token() -> Result<Token, Unavailable> {
    Token::new(uuid()?).map_err(|error| Unavailable::Storage(StorageError::Unavailable(error.to_string())))
}

/// 64 hexadecimal digits.
pub(crate) fn secret() -> Result<Secret, Unavailable> {
    let bytes: [u8; 32] = bytes()?;
    Ok(Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

/// A number from 0 up to but not including 1.
pub(crate) fn unit() -> f64 {
    // Without randomness the retries of several nodes merely coincide.
    bytes::<4>().map_or(0.5, |b| f64::from(u32::from_be_bytes(b)) / (f64::from(u32::MAX) + 1.0))
}
