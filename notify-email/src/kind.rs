//! `kind = "email"`: channels made from settings.

use std::sync::Arc;

use heartbeat_engine::{ChannelKind, FieldError, Notifier};
use serde_json::Value;

use crate::EmailBuilder;
use crate::relay::{leads_to_private_place, redacted};

const KNOWN: &str = "there are `smtp`, `from`, `to`, `tls_ca` and `allow_private`, and for every kind of channel `name`, `kind`, \
                     `fallback`, `burst` and `group_wait`";
const SMTP: &str = "a URL such as smtps://user:password@smtp.example.org:465 or smtp://host:25";

/// Makes mail channels from settings: `smtp`, `from`, `to` (a list), and where needed `tls_ca` (a file of PEM
/// certificates to trust too) and `allow_private`.
///
/// ```
/// use heartbeat_engine::ChannelKind;
/// use heartbeat_notify_email::EmailKind;
///
/// let settings = serde_json::json!({
///     "smtp": "smtp://u:secret@mail.example.org",
///     "from": "Heartbeat <heartbeat@example.org>",
///     "to": ["ops@example.org", "nobody"],
/// });
/// let faults = EmailKind::new().build("mail", &settings).err().unwrap_or_default();
/// let fields: Vec<_> = faults.into_iter().map(|fault| fault.field).collect();
/// assert_eq!(fields, ["smtp", "to.1"]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EmailKind {}

impl EmailKind {
    /// The kind.
    #[must_use]
    pub fn new() -> Self {
        Self {}
    }
}

impl ChannelKind for EmailKind {
    fn name(&self) -> &'static str {
        "email"
    }

    fn build(&self, _channel: &str, settings: &Value) -> Result<Arc<dyn Notifier>, Vec<FieldError>> {
        let mut builder = read(settings);
        let mut faults = std::mem::take(&mut builder.faults);
        let mut others = Vec::new();
        let finished = builder.finish(&mut others);
        // What is of the wrong type is told as that, and not as missing too.
        others.retain(|other| faults.iter().all(|fault| root(&fault.field) != other.field));
        faults.append(&mut others);
        match finished {
            Some(notifier) if faults.is_empty() => Ok(Arc::new(notifier)),
            _ => Err(faults),
        }
    }

    fn redacted(&self, settings: &Value) -> Value {
        let mut shown = settings.clone();
        if let Some(smtp) = shown.get_mut("smtp") {
            *smtp = smtp.as_str().map_or("***".into(), |text| redacted(text).into());
        }
        shown
    }

    fn privileged_setting(&self, settings: &Value) -> Option<&'static str> {
        let smtp = settings.get("smtp").and_then(Value::as_str);
        if smtp.is_some_and(leads_to_private_place) {
            return Some("smtp");
        }
        if !matches!(settings.get("allow_private"), None | Some(Value::Null | Value::Bool(false))) {
            return Some("allow_private");
        }
        // It makes the server read a file.
        settings.get("tls_ca").is_some_and(|path| !path.is_null()).then_some("tls_ca")
    }
}

fn root(field: &str) -> &str {
    field.split('.').next().unwrap_or_default()
}

/// Reads the settings as far as they have the right types, and keeps what is wrong with the others.
fn read(settings: &Value) -> EmailBuilder {
    let mut builder = EmailBuilder::default();
    let Some(fields) = settings.as_object() else {
        builder.faults.push(FieldError::new("settings", "must be an object with `smtp`, `from` and `to`"));
        return builder;
    };
    if !fields.contains_key("smtp") {
        builder.faults.push(FieldError::new("smtp", format!("is missing: {SMTP}")));
    }
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("tls_ca" | "allow_private", Value::Null) => {}
            ("smtp", Value::String(url)) => builder.smtp = Some(url.clone()),
            ("from", Value::String(mailbox)) => builder.from = Some(mailbox.clone()),
            ("to", Value::Array(items)) => read_recipients(items, &mut builder),
            ("tls_ca", Value::String(path)) => builder = read_certificates(path, builder),
            ("allow_private", Value::Bool(allow)) => builder.allow_private = *allow,
            (name, _) => builder.faults.push(FieldError::new(name, wanted(name))),
        }
    }
    builder
}

fn wanted(name: &str) -> String {
    match name {
        "smtp" => format!("must be {SMTP}"),
        "from" => "must be a text such as Heartbeat <heartbeat@example.org>".to_owned(),
        "to" => "must be a list of addresses, such as [\"ops@example.org\"]".to_owned(),
        "tls_ca" => "must be the path of a file with PEM certificates".to_owned(),
        "allow_private" => "must be true or false".to_owned(),
        _ => format!("is no setting of an e-mail channel; {KNOWN}"),
    }
}

fn read_recipients(items: &[Value], builder: &mut EmailBuilder) {
    for (index, item) in items.iter().enumerate() {
        let field = format!("to.{index}");
        match item.as_str() {
            Some(mailbox) => builder.to.push((field, mailbox.to_owned())),
            None => builder.faults.push(FieldError::new(field, "must be a text such as ops@example.org")),
        }
    }
}

fn read_certificates(path: &str, mut builder: EmailBuilder) -> EmailBuilder {
    match std::fs::read(path) {
        Ok(pem) => builder.root_certificates(&pem),
        Err(error) => {
            builder.faults.push(FieldError::new("tls_ca", format!("`{path}` cannot be read: {error}")));
            builder
        }
    }
}
