//! Making a notifier from a URL and options, with every fault told at once.

use std::net::IpAddr;

use heartbeat_engine::{FieldError, is_public_address};
use url::{Host, Url};

use crate::WebhookNotifier;
use crate::client::client;
use crate::signing::Key;

const URL_BYTES_MAX: usize = 2048;
const SECRETS_MAX: usize = 4;

/// Settings that no webhook can be made of.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidSettings {
    /// Every field that is wrong, and what would be right.
    pub faults: Vec<FieldError>,
}

/// Makes a [`WebhookNotifier`]; begun with [`WebhookNotifier::builder`].
#[derive(Clone, Default)]
pub struct WebhookBuilder {
    pub(crate) url: Option<String>,
    pub(crate) secrets: Vec<(String, String)>,
    pub(crate) allow_private: bool,
    pub(crate) roots: Vec<Vec<u8>>,
}

impl WebhookBuilder {
    /// Signs deliveries with this secret, `whsec_` and the base64 of 24 to 64 random bytes. Called again, up to four
    /// times, it adds further signatures: put the new secret first while receivers still know the old one only.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        let field =
            if self.secrets.is_empty() { "secret".to_owned() } else { format!("secret.{}", self.secrets.len()) };
        self.secrets.push((field, secret.into()));
        self
    }

    /// Whether the webhook may lead to private, loopback, link-local and other addresses that are not public.
    #[must_use]
    pub fn allow_private(mut self, allow_private: bool) -> Self {
        self.allow_private = allow_private;
        self
    }

    /// Trusts servers whose certificate leads to this one (DER), besides those that the machine trusts.
    #[must_use]
    pub fn root_certificate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.roots.push(der.into());
        self
    }

    /// The notifier.
    ///
    /// # Errors
    /// With every setting that is wrong.
    pub fn build(self) -> Result<WebhookNotifier, InvalidSettings> {
        let mut faults = Vec::new();
        let notifier = self.finish(&mut faults);
        notifier.filter(|_| faults.is_empty()).ok_or(InvalidSettings { faults })
    }

    /// Adds what is wrong to `faults`; `None` only when something is.
    pub(crate) fn finish(self, faults: &mut Vec<FieldError>) -> Option<WebhookNotifier> {
        let url = self.url.as_deref().and_then(|url| match check_url(url, self.allow_private) {
            Ok(url) => Some(url),
            Err(message) => {
                faults.push(FieldError::new("url", message));
                None
            }
        });
        if self.secrets.len() > SECRETS_MAX {
            faults.push(FieldError::new("secret", format!("at most {SECRETS_MAX} secrets can be used at once")));
        }
        let mut keys = Vec::new();
        for (field, secret) in &self.secrets {
            match Key::parse(secret) {
                Ok(key) => keys.push(key),
                Err(message) => faults.push(FieldError::new(field, message)),
            }
        }
        let url = url.filter(|_| faults.is_empty())?;
        match client(self.allow_private, &self.roots) {
            Ok(client) => Some(WebhookNotifier::new(client, url, keys)),
            Err(error) => {
                faults.push(FieldError::new("url", error.to_string()));
                None
            }
        }
    }
}

impl std::fmt::Debug for WebhookBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookBuilder")
            .field("url", &self.url.as_deref().map(crate::text::redacted_url))
            .field("secrets", &self.secrets.len())
            .field("allow_private", &self.allow_private)
            .finish_non_exhaustive()
    }
}

/// The URL, when a webhook may go there as far as the URL itself tells.
fn check_url(text: &str, allow_private: bool) -> Result<Url, String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("has {} bytes; at most {URL_BYTES_MAX} are allowed", text.len()));
    }
    let url = Url::parse(text).map_err(|error| format!("is not a URL such as https://example.org/hook: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("begins with `{}:`; it must begin with https: or http:", url.scheme()));
    }
    let private = |what: String| Err(format!("leads to {what}, which is refused unless allow_private is true"));
    let literal = match url.host() {
        None => return Err("names no host".to_owned()),
        Some(Host::Domain(name)) if !allow_private && is_local_name(name) => {
            return private(format!("this machine, `{name}`"));
        }
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
    };
    match literal {
        Some(address) if !allow_private && !is_public_address(address) => {
            private(format!("the private address {address}"))
        }
        _ => Ok(url),
    }
}

/// Names that mean this machine by definition. Others are judged by what they resolve to.
fn is_local_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}
