//! `kind = "webhook"`: channels made from settings.

use std::sync::Arc;

use heartbeat_engine::{ChannelKind, FieldError, Notifier};
use serde_json::Value;

use crate::WebhookBuilder;
use crate::text::redacted_url;

const HIDDEN: &str = "***";

/// Makes webhooks from a channel's settings: `url`, `secret` (a text or a list of them), `allow_private`.
///
/// ```
/// use heartbeat_engine::ChannelKind;
/// use heartbeat_notify_webhook::WebhookKind;
///
/// let faults = WebhookKind::new().build("ops", &serde_json::json!({ "url": "http://10.0.0.1/", "sercet": "x" }));
/// let fields: Vec<_> = faults.err().into_iter().flatten().map(|fault| fault.field).collect();
/// assert_eq!(fields, ["sercet", "url"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct WebhookKind {
    roots: Vec<Vec<u8>>,
}

impl WebhookKind {
    /// Webhooks that trust the certificates that the machine trusts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts servers whose certificate leads to this one (DER) too.
    #[must_use]
    pub fn root_certificate(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.roots.push(der.into());
        self
    }
}

impl ChannelKind for WebhookKind {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn build(&self, _channel: &str, settings: &Value) -> Result<Arc<dyn Notifier>, Vec<FieldError>> {
        let mut faults = Vec::new();
        let mut builder = read(settings, &mut faults);
        builder.roots.clone_from(&self.roots);
        match builder.finish(&mut faults) {
            Some(notifier) if faults.is_empty() => Ok(Arc::new(notifier)),
            _ => Err(faults),
        }
    }

    fn redacted(&self, settings: &Value) -> Value {
        let mut shown = settings.clone();
        if let Some(url) = shown.get_mut("url") {
            *url = url.as_str().map_or(HIDDEN.into(), |text| redacted_url(text).into());
        }
        if let Some(secret) = shown.get_mut("secret") {
            *secret = match secret {
                Value::Null => Value::Null,
                Value::Array(items) => vec![HIDDEN; items.len()].into(),
                _ => HIDDEN.into(),
            };
        }
        shown
    }

    fn privileged_setting(&self, settings: &Value) -> Option<&'static str> {
        let harmless = matches!(settings.get("allow_private"), None | Some(Value::Null | Value::Bool(false)));
        (!harmless).then_some("allow_private")
    }
}

/// Reads the settings as far as they have the right types, and tells of the others.
fn read(settings: &Value, faults: &mut Vec<FieldError>) -> WebhookBuilder {
    let mut builder = WebhookBuilder::default();
    let Some(fields) = settings.as_object() else {
        faults.push(FieldError::new("settings", "must be an object with `url`"));
        return builder;
    };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("url", Value::String(url)) => builder.url = Some(url.clone()),
            ("url", _) => faults.push(FieldError::new("url", "must be a text such as https://example.org/hook")),
            ("secret" | "allow_private", Value::Null) => {}
            ("secret", value) => read_secrets(value, &mut builder, faults),
            ("allow_private", Value::Bool(allow)) => builder.allow_private = *allow,
            ("allow_private", _) => faults.push(FieldError::new("allow_private", "must be true or false")),
            (unknown, _) => faults.push(FieldError::new(
                unknown,
                "is no setting of a webhook; there are `url`, `secret` and `allow_private`, and for every kind of channel \
                 `name`, `kind`, `fallback`, `burst` and `group_wait`",
            )),
        }
    }
    if !fields.contains_key("url") {
        faults.push(FieldError::new("url", "is missing: where the webhook goes, such as https://example.org/hook"));
    }
    builder
}

fn read_secrets(value: &Value, builder: &mut WebhookBuilder, faults: &mut Vec<FieldError>) {
    match value {
        Value::String(secret) => builder.secrets.push(("secret".to_owned(), secret.clone())),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let field = format!("secret.{index}");
                match item {
                    Value::String(secret) => builder.secrets.push((field, secret.clone())),
                    _ => faults.push(FieldError::new(field, "must be a text that begins with `whsec_`")),
                }
            }
        }
        _ => faults.push(FieldError::new("secret", "must be a text that begins with `whsec_`, or a list of them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(settings: &Value) -> Vec<(String, String)> {
        let built = WebhookKind::new().build("ops", settings);
        built.err().unwrap_or_default().into_iter().map(|fault| (fault.field, fault.message)).collect()
    }

    #[test]
    fn tells_every_wrong_field_at_once() {
        let found = faults(&json!({
            "url": "ftp://example.org/", "secret": ["nope", 5], "allow_private": "yes", "colour": "red",
        }));
        let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
        for field in ["url", "secret.0", "secret.1", "allow_private", "colour"] {
            assert!(fields.contains(&field), "{field} is not in {found:?}");
        }
        assert_eq!(found.len(), 5);
        assert_eq!(faults(&json!({}))[0].0, "url");
        assert_eq!(faults(&json!([]))[0].0, "settings");
        assert!(faults(&json!({ "url": "https://example.org/", "secret": null, "allow_private": null })).is_empty());
    }

    #[test]
    fn private_places_are_refused_however_they_are_written() {
        for host in [
            "127.0.0.1",
            "[::1]",
            "0x7f.1",
            "2130706433",
            "127.1",
            "0",
            "10.1.2.3",
            "169.254.169.254",
            "100.64.0.1",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fd00::1]",
            "[fe80::1]",
            "[ff02::1]",
            "224.0.0.1",
            "255.255.255.255",
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "①②⑦.⓪.⓪.①",
        ] {
            let url = format!("http://{host}:8080/hook");
            let found = faults(&json!({ "url": url }));
            assert!(found.len() == 1 && found[0].1.contains("allow_private"), "{url}: {found:?}");
            assert!(faults(&json!({ "url": url, "allow_private": true })).is_empty(), "{url}");
        }
        assert!(faults(&json!({ "url": "https://9.9.9.9/" })).is_empty());
    }

    #[test]
    fn shows_no_secret_and_names_what_needs_an_administrator() {
        let kind = WebhookKind::new();
        let settings = json!({
            "url": "https://u:pw@example.org/hook?token=t0k", "secret": ["whsec_a", "whsec_b"], "allow_private": true,
        });
        assert_eq!(
            kind.redacted(&settings),
            json!({ "url": "https://***@example.org/hook?***", "secret": ["***", "***"], "allow_private": true })
        );
        assert_eq!(kind.redacted(&json!({ "secret": "whsec_a" })), json!({ "secret": "***" }));
        assert_eq!(kind.privileged_setting(&settings), Some("allow_private"));
        assert_eq!(kind.privileged_setting(&json!({ "allow_private": false })), None);
        assert_eq!(kind.privileged_setting(&json!({})), None);
    }
}
