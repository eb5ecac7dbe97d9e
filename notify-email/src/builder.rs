//! Making a notifier from a relay and addresses, with every fault told at once.

use std::collections::HashSet;
use std::fmt;

use heartbeat_engine::FieldError;
use lettre::message::Mailbox;
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};

use crate::EmailNotifier;
use crate::relay::{Relay, redacted};
use crate::text::root_cause;

const RECIPIENTS_MAX: usize = 50;
const PEM_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const MAILBOX: &str = "an address such as ops@example.org or Ops <ops@example.org>";

/// Settings that no mail can be sent with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidSettings {
    /// Every field that is wrong, and what would be right.
    pub faults: Vec<FieldError>,
}

/// Makes an [`EmailNotifier`]; begun with [`EmailNotifier::builder`].
#[derive(Clone, Default)]
pub struct EmailBuilder {
    pub(crate) smtp: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Vec<(String, String)>,
    pub(crate) allow_private: bool,
    pub(crate) roots: Vec<Certificate>,
    pub(crate) faults: Vec<FieldError>,
}

impl EmailBuilder {
    /// The sender: `ops@example.org` or `Heartbeat <heartbeat@example.org>`.
    #[must_use]
    pub fn from(mut self, mailbox: impl Into<String>) -> Self {
        self.from = Some(mailbox.into());
        self
    }

    /// A further recipient, up to 50.
    #[must_use]
    pub fn to(mut self, mailbox: impl Into<String>) -> Self {
        let field = format!("to.{}", self.to.len());
        self.to.push((field, mailbox.into()));
        self
    }

    /// Whether the relay's name may resolve to private addresses only. A relay that is written as a private address or
    /// as a name of the local network (`localhost`, `mailhog`, `mx.lan`) needs no leave here.
    #[must_use]
    pub fn allow_private(mut self, allow_private: bool) -> Self {
        self.allow_private = allow_private;
        self
    }

    /// Trusts relays whose certificate leads to one of these (PEM), besides those that the machine trusts.
    #[must_use]
    pub fn root_certificates(mut self, pem: &[u8]) -> Self {
        let present = pem.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN);
        match Certificate::from_pem(pem) {
            Ok(certificate) if present => self.roots.push(certificate),
            _ => self.faults.push(FieldError::new("tls_ca", "must hold certificates in the PEM form")),
        }
        self
    }

    /// The notifier.
    ///
    /// # Errors
    /// With every setting that is wrong.
    pub fn build(mut self) -> Result<EmailNotifier, InvalidSettings> {
        let mut faults = std::mem::take(&mut self.faults);
        let notifier = self.finish(&mut faults);
        notifier.filter(|_| faults.is_empty()).ok_or(InvalidSettings { faults })
    }

    /// Adds what is wrong to `faults`; `None` only when something is.
    pub(crate) fn finish(self, faults: &mut Vec<FieldError>) -> Option<EmailNotifier> {
        let relay = self.smtp.as_deref().and_then(|url| keep(Relay::parse(url), "smtp", faults));
        let from = match &self.from {
            Some(text) => keep(mailbox(text), "from", faults),
            None => {
                faults.push(FieldError::new("from", format!("is missing: {MAILBOX}")));
                None
            }
        };
        let to = self.recipients(faults);
        let (relay, from) = (relay?, from?);
        let tls = keep(self.tls(&relay), "smtp", faults)?;
        faults.is_empty().then(|| EmailNotifier::new(relay, tls, self.allow_private, from, to))
    }

    fn recipients(&self, faults: &mut Vec<FieldError>) -> Vec<Mailbox> {
        if !(1..=RECIPIENTS_MAX).contains(&self.to.len()) {
            let message = format!("has {} recipients; it must have 1 to {RECIPIENTS_MAX}", self.to.len());
            faults.push(FieldError::new("to", message));
        }
        let mut seen = HashSet::new();
        let mut recipients = Vec::new();
        for (field, text) in &self.to {
            if let Some(mailbox) = keep(mailbox(text), field, faults) {
                if seen.insert(mailbox.email.to_string()) {
                    recipients.push(mailbox);
                } else {
                    faults.push(FieldError::new(field, format!("`{}` stands twice", mailbox.email)));
                }
            }
        }
        recipients
    }

    fn tls(&self, relay: &Relay) -> Result<TlsParameters, String> {
        let machine_has_roots = !rustls_native_certs::load_native_certs().certs.is_empty();
        let store = if machine_has_roots { CertificateStore::Default } else { CertificateStore::WebpkiRoots };
        let mut tls = TlsParameters::builder(relay.host.clone()).certificate_store(store);
        for root in &self.roots {
            tls = tls.add_root_certificate(root.clone());
        }
        tls.build().map_err(|error| format!("TLS cannot be set up: {}", root_cause(&error, &[])))
    }
}

impl fmt::Debug for EmailBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailBuilder")
            .field("smtp", &self.smtp.as_deref().map(redacted))
            .field("from", &self.from)
            .field("to", &self.to)
            .field("allow_private", &self.allow_private)
            .finish_non_exhaustive()
    }
}

fn keep<T>(outcome: Result<T, String>, field: &str, faults: &mut Vec<FieldError>) -> Option<T> {
    outcome.map_err(|message| faults.push(FieldError::new(field, message))).ok()
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    let shown: String = text.chars().take(100).collect();
    let mailbox: Mailbox = text.parse().map_err(|_| format!("`{shown}` is not {MAILBOX}"))?;
    let address: &str = mailbox.email.as_ref();
    if address.is_ascii() {
        Ok(mailbox)
    } else {
        Err(format!("`{shown}` is not ASCII: write the domain in its xn-- form"))
    }
}
