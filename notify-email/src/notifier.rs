//! Delivering one notification to every recipient.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use heartbeat_engine::{Attempt, DeliveryError, Notification, Notifier, Receipt};
use lettre::message::Mailbox;
use lettre::transport::smtp::client::TlsParameters;

use crate::EmailBuilder;
use crate::compose::compose;
use crate::relay::Relay;
use crate::session::{Connections, Trouble, on_the_wire, reset};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Delivers notifications as mails with a text and an HTML part, one SMTP transaction per recipient.
///
/// A recipient that is refused with 5xx never gets a notification, and the others still do. Whatever else goes wrong
/// asks for a later attempt, for those alone that have not got it yet (S7.4). When the connection ends or the time is
/// over after the content went out, the outcome is unknown.
#[derive(Clone)]
pub struct EmailNotifier {
    connections: Arc<Connections>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl EmailNotifier {
    /// Begins a channel that sends through `smtp`: `smtps://user:password@host:465` (TLS from the start),
    /// `smtp://host:25` (plain), `smtp://user:password@host:587?starttls=required` or `?starttls=opportunistic`. User
    /// and password are percent-decoded; a password needs TLS, except to this machine.
    pub fn builder(smtp: impl Into<String>) -> EmailBuilder {
        EmailBuilder { smtp: Some(smtp.into()), ..EmailBuilder::default() }
    }

    pub(crate) fn new(relay: Relay, tls: TlsParameters, allow_private: bool, from: Mailbox, to: Vec<Mailbox>) -> Self {
        Self { connections: Arc::new(Connections::new(relay, tls, allow_private)), from, to }
    }

    /// Sends to one after the other; what became of each is in `progress`, also when this is dropped half way.
    async fn send_all(&self, mail: &str, attempt: Attempt<'_>, progress: &mut Progress) {
        let timeout = CONNECT_TIMEOUT.min(attempt.timeout);
        let mut connection = match self.connections.take(attempt.at, timeout).await {
            Ok(connection) => connection,
            Err(reason) => return progress.stop(reason),
        };
        for recipient in &self.to {
            let address = recipient.email.to_string();
            if attempt.recipients_done.contains(&address) {
                continue;
            }
            let (from, to) = (&self.from.email, &recipient.email);
            let sent = self.connections.send(&mut connection, from, to, mail, &mut progress.unconfirmed).await;
            let usable = sent.is_ok();
            if progress.note(address, sent) {
                return;
            }
            if !usable && !reset(&mut connection).await {
                return progress.stop(format!("{} closed the connection", self.connections.place()));
            }
        }
        self.connections.give_back(connection, attempt.at);
    }
}

#[async_trait]
impl Notifier for EmailNotifier {
    async fn deliver(&self, notification: &Notification, attempt: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        let open = self.to.iter().filter(|to| !attempt.recipients_done.contains(&to.email.to_string())).count();
        if open == 0 {
            return Ok(Receipt::default());
        }
        let mail = compose(notification, &self.from, &self.to, attempt.at)
            .map_err(|reason| DeliveryError::refused(format!("it cannot be written as a mail: {reason}")))?;
        let mut progress = Progress { open, others: open < self.to.len(), ..Progress::default() };
        let mail = on_the_wire(&mail);
        let all = self.send_all(&mail, attempt, &mut progress);
        if tokio::time::timeout(budget(attempt.timeout), all).await.is_err() {
            progress.stop(format!("{} did not answer in time", self.connections.place()));
        }
        progress.finish()
    }
}

impl fmt::Debug for EmailNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailNotifier")
            .field("relay", &self.connections.place())
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// A little less than the attempt may take, so that what was done until then is told.
fn budget(timeout: Duration) -> Duration {
    timeout - timeout / 20
}

/// What became of the recipients in one attempt.
#[derive(Default)]
struct Progress {
    /// How many recipients are to be settled.
    open: usize,
    /// Whether an earlier attempt settled some.
    others: bool,
    answer: Option<String>,
    delivered: Vec<String>,
    refused: Vec<(String, String)>,
    /// What hinders the others.
    troubles: Vec<String>,
    /// The content of a mail is out and its receipt not confirmed.
    unconfirmed: bool,
}

impl Progress {
    /// Notes how it went with `recipient`; true when the connection is of no more use.
    fn note(&mut self, recipient: String, sent: Result<String, Trouble>) -> bool {
        match sent {
            Ok(answer) => {
                self.answer = Some(answer);
                self.delivered.push(recipient);
                false
            }
            Err(Trouble::Refused(reason)) => {
                self.refused.push((recipient, reason));
                false
            }
            Err(Trouble::Later(reason)) => {
                self.troubles.push(format!("{recipient}: {reason}"));
                false
            }
            Err(Trouble::Lost(reason)) => {
                self.troubles.push(reason);
                true
            }
            Err(Trouble::Unconfirmed(reason)) => {
                self.unconfirmed = true;
                self.troubles.push(format!("{recipient}: the relay did not confirm the mail: {reason}"));
                true
            }
        }
    }

    fn stop(&mut self, reason: String) {
        if self.settled() < self.open {
            self.troubles.push(reason);
        }
    }

    fn settled(&self) -> usize {
        self.delivered.len() + self.refused.len()
    }

    fn finish(self) -> Result<Receipt, DeliveryError> {
        if self.settled() == self.open {
            if self.delivered.is_empty() && !self.others {
                return Err(DeliveryError::refused(told(&self.refused)));
            }
            return Ok(Receipt { answer: self.answer, refused_recipients: self.refused });
        }
        if self.unconfirmed && self.settled() == 0 {
            return Err(DeliveryError::unknown(self.troubles.join("; ")));
        }
        let mut reasons = self.troubles;
        if !self.refused.is_empty() {
            reasons.push(told(&self.refused));
        }
        let refused = self.refused.into_iter().map(|(recipient, _)| recipient);
        Err(DeliveryError::Retry {
            reason: reasons.join("; "),
            after: None,
            recipients_done: self.delivered.into_iter().chain(refused).collect(),
        })
    }
}

fn told(refused: &[(String, String)]) -> String {
    let each = refused.iter().map(|(recipient, reason)| format!("{recipient} was refused: {reason}"));
    each.collect::<Vec<_>>().join("; ")
}
