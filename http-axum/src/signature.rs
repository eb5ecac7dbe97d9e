//! Signed heartbeats: the sender proves that it holds the monitor's secret, and the answer proves the same of the server.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use heartbeat_engine::{Record, Secret, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::hex;

const TIMESTAMP: HeaderName = HeaderName::from_static("heartbeat-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("heartbeat-signature");
/// How far the sender's clock may be off.
const TOLERANCE: Duration = Duration::from_secs(300);
/// Signatures that are remembered; beyond that signed heartbeats are refused until some are forgotten.
const REMEMBERED_MAX: usize = 1_000_000;

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("a signature is required: Heartbeat-Timestamp and Heartbeat-Signature")]
    Missing,
    #[error("Heartbeat-Timestamp must be the time in unix seconds, at most 5 minutes off")]
    Time,
    #[error("Heartbeat-Signature does not match")]
    Wrong,
    #[error("this signature was used already")]
    Replayed,
    #[error("too many signatures are remembered; try again later")]
    Full,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// The path with the query, as the client sent it.
    pub(crate) target: &'a str,
    pub(crate) body: &'a [u8],
}

/// An accepted signature: what is needed to sign the answer.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    secret: Secret,
    method: String,
    target: String,
    /// What the replay guard remembers.
    mark: Mark,
}

type Mark = (Timestamp, [u8; 32]);

impl Signer {
    /// The headers that sign an answer with this body.
    pub(crate) fn sign(&self, now: Timestamp, body: &[u8]) -> [(HeaderName, HeaderValue); 2] {
        let timestamp = now.as_secs().to_string();
        let signed = Signed { method: &self.method, target: &self.target, body };
        let tag = mac(&self.secret, &timestamp, signed).map(|mac| mac.finalize().into_bytes().to_vec());
        let signature = format!("v1={}", hex::encode(&tag.unwrap_or_default()));
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        [(TIMESTAMP, value(&timestamp)), (SIGNATURE, value(&signature))]
    }
}

/// Whether a heartbeat carries a signature, so that all of its body counts.
pub(crate) fn is_signed(headers: &HeaderMap) -> bool {
    headers.contains_key(&SIGNATURE)
}

/// Checks the signature of a heartbeat and remembers it; `None` when none is needed.
///
/// A monitor that does not require signatures but has a secret still has those checked that come.
pub(crate) fn check(
    replays: &Replays,
    record: &Record,
    headers: &HeaderMap,
    signed: Signed<'_>,
    now: Timestamp,
) -> Result<Option<Signer>, SignatureError> {
    let required = record.spec().require_signature;
    let (Some(timestamp), Some(signature)) = (headers.get(&TIMESTAMP), headers.get(&SIGNATURE)) else {
        return if required { Err(SignatureError::Missing) } else { Ok(None) };
    };
    let Some(secrets) = &record.monitor.signing_secret else {
        return if required { Err(SignatureError::Wrong) } else { Ok(None) };
    };
    let timestamp = timestamp.to_str().map_err(|_| SignatureError::Time)?.trim();
    let at = timestamp.parse().map(Timestamp::from_secs).map_err(|_| SignatureError::Time)?;
    if at.since(now) > TOLERANCE || now.since(at) > TOLERANCE {
        return Err(SignatureError::Time);
    }
    let digits = signature.to_str().ok().and_then(|text| text.trim().strip_prefix("v1="));
    let tag: [u8; 32] = digits.and_then(hex::decode).ok_or(SignatureError::Wrong)?;
    let fits = |secret: &&Secret| mac(secret, timestamp, signed).is_some_and(|mac| mac.verify_slice(&tag).is_ok());
    let secret = secrets.accepted(now).find(fits).ok_or(SignatureError::Wrong)?.clone();
    let mark = (at, tag);
    replays.remember(mark, now)?;
    Ok(Some(Signer { secret, method: signed.method.to_owned(), target: signed.target.to_owned(), mark }))
}

fn mac(secret: &Secret, timestamp: &str, signed: Signed<'_>) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).ok()?;
    for part in [timestamp, ".", signed.method, ".", signed.target, "."] {
        mac.update(part.as_bytes());
    }
    mac.update(signed.body);
    Some(mac)
}

/// The signatures that were used and could be used again.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    marks: HashSet<[u8; 32]>,
    by_time: BTreeSet<Mark>,
}

impl Replays {
    fn remember(&self, mark: Mark, now: Timestamp) -> Result<(), SignatureError> {
        let mut used = self.lock();
        while let Some(oldest) = used.by_time.first().copied()
            && now.since(oldest.0) > TOLERANCE
        {
            used.by_time.remove(&oldest);
            used.marks.remove(&oldest.1);
        }
        if used.marks.contains(&mark.1) {
            return Err(SignatureError::Replayed);
        }
        if used.marks.len() >= REMEMBERED_MAX {
            return Err(SignatureError::Full);
        }
        used.marks.insert(mark.1);
        used.by_time.insert(mark);
        Ok(())
    }

    /// Lets a signature be used again whose heartbeat was not stored.
    pub(crate) fn release(&self, signer: &Signer) {
        let mut used = self.lock();
        used.by_time.remove(&signer.mark);
        used.marks.remove(&signer.mark.1);
    }

    // Both sets change together and nothing between can panic.
    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
