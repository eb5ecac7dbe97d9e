//! What the host chooses about the HTTP surface.

use std::fmt;

use heartbeat_engine::schedule::Zone;

use crate::metrics::HostGauge;

/// The fewest characters of an admin key that somebody chooses.
pub const ADMIN_KEY_CHARS_MIN: usize = 16;

/// Settings of [`router`](crate::router). Start from [`HttpSettings::default`] and change what should differ.
///
/// ```
/// let mut settings = heartbeat_http::HttpSettings::default();
/// settings.public_url = "https://heartbeat.example.org".to_owned();
/// settings.pings_per_minute = 60;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpSettings {
    /// How the outside world reaches the router, without a slash at the end; ping URLs begin with it.
    pub public_url: String,
    /// The time zone of schedules that name none.
    pub timezone: Zone,
    /// Bytes of a heartbeat's body that are kept; the rest is cut off and marked as cut. Default 10,000.
    pub ping_body_limit: usize,
    /// Bytes of a heartbeat's body above which the heartbeat is refused with 413. Default 1,000,000.
    pub ping_body_max: usize,
    /// Bytes of a management request's body above which it is refused with 413. Default 1,000,000.
    pub api_body_max: usize,
    /// The `Host` headers that are answered, without ports; empty for any. Others get 400, except for the health checks.
    pub allowed_hosts: Vec<String>,
    /// Heartbeats of one monitor that are taken per minute, evenly spread with bursts up to this number; more get 429.
    /// 0 takes all. Default 600.
    pub pings_per_minute: u32,
    /// An admin key that is valid beside those that are stored.
    pub admin_key: Option<AdminKey>,
    /// Whose `X-Forwarded-For` header names the client.
    pub forwarded: TrustForwarded,
    /// Streams of `/api/events` that are open at the same time; more are answered 503. Default 100.
    pub event_streams_max: usize,
    /// Whether `/metrics` asks for a key that may read. Default `false`: it holds counts, and no names but those of channels.
    pub metrics_need_key: bool,
    /// What the host adds to `/metrics`.
    pub gauges: Vec<HostGauge>,
    /// What an acknowledgement means in the store, in a sentence that `/readyz` shows to everybody; `None` where it is as ever,
    /// that nothing acknowledged is lost.
    pub durability: Option<String>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            public_url: "http://localhost:8080".to_owned(),
            timezone: Zone::utc(),
            ping_body_limit: 10_000,
            ping_body_max: 1_000_000,
            api_body_max: 1_000_000,
            allowed_hosts: Vec::new(),
            pings_per_minute: 600,
            admin_key: None,
            forwarded: TrustForwarded::default(),
            event_streams_max: 100,
            metrics_need_key: false,
            gauges: Vec::new(),
            durability: None,
        }
    }
}

/// Whose `X-Forwarded-For` header is believed. The address is kept with a heartbeat; nothing is decided by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum TrustForwarded {
    /// Nobody's.
    Never,
    /// That of peers on this machine or in a private network, as proxies usually are.
    #[default]
    PrivatePeers,
    /// Everybody's: only for a server that nobody reaches but through a proxy.
    Always,
}

/// An admin key that somebody chose. It is not shown in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminKey(String);

/// The text is too short for an admin key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an admin key has at least {ADMIN_KEY_CHARS_MIN} characters; this one has {chars}")]
pub struct AdminKeyError {
    /// How many it has.
    pub chars: usize,
}

impl AdminKey {
    /// Takes any text of at least [`ADMIN_KEY_CHARS_MIN`] characters.
    ///
    /// # Errors
    /// When it is shorter.
    pub fn new(text: impl Into<String>) -> Result<Self, AdminKeyError> {
        let text = text.into();
        let chars = text.chars().count();
        if chars < ADMIN_KEY_CHARS_MIN { Err(AdminKeyError { chars }) } else { Ok(Self(text)) }
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(***)")
    }
}
