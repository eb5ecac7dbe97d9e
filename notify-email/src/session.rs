//! Connections to the relay: opening, keeping and the dialogue for one recipient.
//!
//! The dialogue is led step by step, because what a refusal means depends on the step: at the login it can be mended,
//! at the recipient it is final (S7.4), and silence after the content leaves the outcome open.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use heartbeat_engine::Timestamp;
use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::ClientId;

use crate::relay::{Relay, Security};
use crate::text::{excerpt, hide, root_cause};

const IDLE_MAX: usize = 4;
const IDLE_FOR: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Answers that speak of the login, at whatever step they come.
const LOGIN_CODES: [u16; 4] = [530, 534, 535, 538];

/// Why one recipient did not get the mail.
pub(crate) enum Trouble {
    /// The recipient never will; others may.
    Refused(String),
    /// Perhaps later; others may get it now.
    Later(String),
    /// Nobody gets anything over this connection any more.
    Lost(String),
    /// The mail was sent and its receipt not confirmed.
    Unconfirmed(String),
}

/// The relay and the connections to it that wait for the next mail.
pub(crate) struct Connections {
    relay: Relay,
    tls: TlsParameters,
    allow_private: bool,
    idle: Mutex<Vec<(Timestamp, AsyncSmtpConnection)>>,
}

impl Connections {
    pub(crate) fn new(relay: Relay, tls: TlsParameters, allow_private: bool) -> Self {
        Self { relay, tls, allow_private, idle: Mutex::default() }
    }

    pub(crate) fn place(&self) -> String {
        self.relay.place()
    }

    /// A connection that is ready for a mail.
    ///
    /// # Errors
    /// With the reason for people; all of them can be mended.
    pub(crate) async fn take(&self, now: Timestamp, timeout: Duration) -> Result<AsyncSmtpConnection, String> {
        while let Some((since, mut connection)) = self.pop() {
            // A connection that died unnoticed must not cost the attempt.
            let patience = PROBE_TIMEOUT.min(timeout / 4);
            if now.since(since) < IDLE_FOR
                && tokio::time::timeout(patience, connection.test_connected()).await == Ok(true)
            {
                return Ok(connection);
            }
        }
        self.open(timeout).await
    }

    /// Keeps a connection for the next mail.
    pub(crate) fn give_back(&self, connection: AsyncSmtpConnection, now: Timestamp) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push((now, connection));
        }
    }

    fn pop(&self) -> Option<(Timestamp, AsyncSmtpConnection)> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Sends `mail`, as it is to appear on the wire, to one recipient and gives the relay's answer. `sent` is set before
    /// the content leaves.
    pub(crate) async fn send(
        &self,
        connection: &mut AsyncSmtpConnection,
        from: &Address,
        to: &Address,
        mail: &str,
        sent: &mut bool,
    ) -> Result<String, Trouble> {
        let begun = connection.command(Mail::new(Some(from.clone()), Vec::new())).await;
        begun.map_err(|error| Trouble::Lost(format!("the sender was refused: {}", self.told(&error))))?;
        let taken = connection.command(Rcpt::new(to.clone(), Vec::new())).await;
        taken.map_err(|error| self.refusal(&error, Trouble::Lost))?;
        let ready = connection.command(Data).await;
        ready.map_err(|error| self.refusal(&error, Trouble::Lost))?;
        *sent = true;
        // As one command, so as one write: with two, Nagle's algorithm holds the second back for 40 ms.
        let stored = connection.command(mail).await;
        *sent = false;
        let answer = stored.map_err(|error| self.refusal(&error, Trouble::Unconfirmed))?;
        let said = format!("{} {}", answer.code(), answer.message().collect::<Vec<_>>().join(" "));
        Ok(excerpt(&hide(&said, &self.relay.secrets)))
    }

    async fn open(&self, timeout: Duration) -> Result<AsyncSmtpConnection, String> {
        let place = self.place();
        let addresses = self.relay.addresses(self.allow_private).await?;
        let hello = ClientId::default();
        let tls = || self.tls.clone();
        let implicit = (self.relay.security == Security::Implicit).then(tls);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(addresses.as_slice(), Some(timeout), &hello, implicit, None)
                .await
                .map_err(|error| format!("no connection to {place}: {}", self.told(&error)))?;
        let starttls = match self.relay.security {
            Security::Required => true,
            Security::Opportunistic => connection.can_starttls(),
            Security::Plain | Security::Implicit => false,
        };
        if starttls {
            let secured = connection.starttls(tls(), &hello).await;
            secured.map_err(|error| format!("no STARTTLS with {place}: {}", self.told(&error)))?;
        }
        if let Some(login) = &self.relay.login {
            let login = connection.auth(&[Mechanism::Plain, Mechanism::Login], login).await;
            login.map_err(|error| format!("{place} refused the login: {}", self.told(&error)))?;
        }
        Ok(connection)
    }

    fn refusal(&self, error: &Error, otherwise: fn(String) -> Trouble) -> Trouble {
        let reason = self.told(error);
        match error.status().map(u16::from) {
            Some(421) => Trouble::Lost(reason),
            Some(code) if LOGIN_CODES.contains(&code) => Trouble::Lost(reason),
            Some(_) if error.is_permanent() => Trouble::Refused(reason),
            Some(_) => Trouble::Later(reason),
            None => otherwise(reason),
        }
    }

    /// What a failed step says: the relay's answer, or the deepest cause.
    fn told(&self, error: &Error) -> String {
        let cause = root_cause(error, &self.relay.secrets);
        error.status().map_or_else(|| cause.clone(), |code| format!("{code} {cause}"))
    }
}

/// Makes the connection ready for another recipient after a refusal.
pub(crate) async fn reset(connection: &mut AsyncSmtpConnection) -> bool {
    connection.command(Rset).await.is_ok()
}

/// A mail as it goes over the wire: lines that begin with a dot get a second one, and a lone dot ends it.
pub(crate) fn on_the_wire(mail: &str) -> String {
    let mut wire = String::with_capacity(mail.len() + 16);
    for line in mail.strip_suffix("\r\n").unwrap_or(mail).split("\r\n") {
        if line.starts_with('.') {
            wire.push('.');
        }
        wire.push_str(line);
        wire.push_str("\r\n");
    }
    wire.push_str(".\r\n");
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_and_the_end_is_marked() {
        assert_eq!(on_the_wire("a\r\n.b\r\n..c\r\n"), "a\r\n..b\r\n...c\r\n.\r\n");
        assert_eq!(on_the_wire(".\r\n\r\n"), "..\r\n\r\n.\r\n");
        assert_eq!(on_the_wire("a"), "a\r\n.\r\n");
    }
}
