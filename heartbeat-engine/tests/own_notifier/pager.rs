//! A notifier that hands messages to a pager over a connection of its own: a line out, a line back.

use std::io;

use async_trait::async_trait;
use heartbeat_engine::{Attempt, DeliveryError, Notification, Notifier, Receipt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

pub struct Pager {
    /// Such as `pager.example.org:7000`.
    pub address: String,
    /// Lets us in; it must never stand in an error.
    pub password: String,
}

/// More than this is cut: what is too long for a pager is no reason to tell nobody.
const TEXT_CHARS_MAX: usize = 200;

impl Pager {
    /// Sends a line and waits for the answer.
    async fn ask(&self, line: &str) -> io::Result<String> {
        let mut pager = BufReader::new(TcpStream::connect(&self.address).await?);
        pager.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        match pager.read_line(&mut answer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(answer.trim_end().replace(&self.password, "***")),
        }
    }
}

#[async_trait]
impl Notifier for Pager {
    async fn deliver(&self, notification: &Notification, _attempt: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        let text: String = notification.message.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
        let line = format!("{} {} {text}\n", self.password, notification.id);
        match self.ask(&line).await {
            Ok(answer) if answer.starts_with("taken") => Ok(Receipt { answer: Some(answer), ..Receipt::default() }),
            Ok(answer) if answer.starts_with("no") => Err(DeliveryError::refused(answer)),
            Ok(answer) => Err(DeliveryError::retry(answer)),
            // It may have been shown before the line broke. The pager knows the id and shows it once.
            Err(error) => Err(DeliveryError::unknown(error.to_string())),
        }
    }
}
