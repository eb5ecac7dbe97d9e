//! What a [`crate::RedisStorage`] is told.

use std::collections::HashMap;
use std::time::Duration;

use crate::url::{Kind, RedisUrl, RedisUrlError};

/// How much history a [`crate::RedisStorage`] keeps, which lies in the memory of Redis. What is beyond a limit is forgotten,
/// the oldest first; open incidents and pending notifications are never forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RedisLimits {
    /// Heartbeats of each monitor, 100 unless told; up to 38 more wait to be counted.
    pub pings_per_monitor: usize,
    /// For how many days heartbeats are counted by the hour, 366 unless told.
    pub counts_days: u32,
    /// Changes of state of each monitor, 1000 unless told.
    pub changes_per_monitor: usize,
    /// Closed incidents of each monitor, 1000 unless told.
    pub incidents_per_monitor: usize,
    /// Closed incidents of each partition, also of removed monitors, 10,000 unless told.
    pub incidents_closed: usize,
    /// Notifications of each partition that were delivered or given up, 10,000 unless told.
    pub notifications_settled: usize,
}

impl Default for RedisLimits {
    fn default() -> Self {
        Self {
            pings_per_monitor: 100,
            counts_days: 366,
            changes_per_monitor: 1000,
            incidents_per_monitor: 1000,
            incidents_closed: 10_000,
            notifications_settled: 10_000,
        }
    }
}

/// Where the Redis is, and how it is used.
///
/// ```
/// use heartbeat_storage_redis::RedisOptions;
///
/// let options = RedisOptions::parse("redis://app:secret@localhost:6379/2?prefix=jobs&wait_replicas=1")?;
/// assert_eq!(options.to_string(), "redis://localhost:6379/2");
/// assert_eq!(options.prefix, "jobs");
/// # Ok::<(), heartbeat_storage_redis::RedisUrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RedisOptions {
    pub(crate) url: RedisUrl,
    /// Every key begins with `{` and this, so that several systems may share one Redis; `heartbeat` unless told.
    pub prefix: String,
    /// How many partitions a store is made with, from 1 to 1024; unless told 64 on a Redis Cluster, and 8 on one Redis, where each
    /// takes calls of its own. One that exists keeps what it has.
    pub partitions: u16,
    /// How long an answer may take, 5 s unless told.
    pub timeout: Duration,
    /// A commit waits until so many replicas have it; 0 unless told.
    pub wait_replicas: u32,
    /// Whether a Redis is taken that may throw keys away when its memory is full.
    pub allow_eviction: bool,
    /// How much history is kept.
    pub limits: RedisLimits,
}

impl RedisOptions {
    /// Reads a URL: `redis://[user:password@]host[:port][/database]`, `redis+sentinel://host:port,…/name-of-the-primary`
    /// or `redis+cluster://host:port,…`, with an `s` behind the scheme for TLS. Behind a question mark may stand `prefix`,
    /// `partitions`, `timeout_ms`, `wait_replicas` and `allow_eviction=true`, and for sentinels `sentinel_username` and
    /// `sentinel_password`.
    ///
    /// # Errors
    /// When it is not such a URL; says which part, and never repeats the password.
    pub fn parse(url: &str) -> Result<Self, RedisUrlError> {
        let mut url = RedisUrl::parse(url)?;
        let mut query = std::mem::take(&mut url.query);
        let prefix = query.remove("prefix").unwrap_or_else(|| "heartbeat".to_owned());
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            return Err(RedisUrlError::new(format!("`prefix` is `{prefix}`; it must be a text without braces")));
        }
        let partitions = number(&mut query, "partitions", if url.kind == Kind::Cluster { 64 } else { 8 }, 1..=1024)?;
        let options = Self {
            url,
            prefix,
            partitions: u16::try_from(partitions).unwrap_or(1024),
            timeout: Duration::from_millis(number(&mut query, "timeout_ms", 5000, 1..=600_000)?),
            wait_replicas: u32::try_from(number(&mut query, "wait_replicas", 0, 0..=100)?).unwrap_or(100),
            allow_eviction: match query.remove("allow_eviction").as_deref() {
                None | Some("false") => false,
                Some("true" | "") => true,
                Some(other) => {
                    return Err(RedisUrlError::new(format!("`allow_eviction` is `{other}`; it must be true or false")));
                }
            },
            limits: RedisLimits::default(),
        };
        match query.keys().next() {
            Some(unknown) => Err(RedisUrlError::new(format!(
                "`{unknown}` is not a parameter of a Redis; there are prefix, partitions, timeout_ms, wait_replicas and \
                 allow_eviction"
            ))),
            None => Ok(options),
        }
    }
}

/// The URL without login and parameters.
impl std::fmt::Display for RedisOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.url.shown())
    }
}

fn number(
    query: &mut HashMap<String, String>,
    name: &str,
    default: u64,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<u64, RedisUrlError> {
    let Some(text) = query.remove(name) else { return Ok(default) };
    match text.parse() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        _ => {
            let (least, most) = (allowed.start(), allowed.end());
            Err(RedisUrlError::new(format!("`{name}` is `{text}`; it must be a number from {least} to {most}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_checked() {
        let options = RedisOptions::parse("redis+cluster://a?partitions=64&allow_eviction&timeout_ms=250").unwrap();
        assert_eq!((options.partitions, options.allow_eviction), (64, true));
        assert_eq!(options.timeout, Duration::from_millis(250));
        let partitions = |url| RedisOptions::parse(url).unwrap().partitions;
        assert_eq!(["redis://a", "redis+sentinel://a/b", "redis+clusters://a"].map(partitions), [8, 8, 64]);
        for (query, part) in [
            ("partitions=0", "from 1 to 1024"),
            ("partitions=many", "`many`"),
            ("prefix={x}", "without braces"),
            ("allow_eviction=perhaps", "true or false"),
            ("prefx=a", "`prefx` is not a parameter"),
        ] {
            let message = RedisOptions::parse(&format!("redis://a?{query}")).unwrap_err().to_string();
            assert!(message.contains(part), "{query}: {message}");
        }
    }
}
