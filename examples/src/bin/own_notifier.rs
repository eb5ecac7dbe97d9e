//! A notifier of one's own: each message becomes a line of a logbook. The engine retries what fails, in order.
//!
//! `own_notifier [FILE]` writes to logbook.txt unless told.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use heartbeat_engine::{
    Attempt, DeliveryError, Engine, MemoryStorage, MonitorSpec, Notification, Notifier, Ping, PutMode, Receipt,
    Schedule, Signal,
};

struct Logbook(PathBuf);

#[async_trait]
impl Notifier for Logbook {
    async fn deliver(&self, notification: &Notification, attempt: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        // The id stays the same over every attempt, so whoever reads can tell a repetition.
        let line = format!("{} {} {}: {}\n", attempt.at, notification.id, notification.kind, notification.message);
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.0);
        match file.and_then(|mut file| file.write_all(line.as_bytes())) {
            Ok(()) => Ok(Receipt::default()),
            // A full disk or a missing folder may be mended: the engine tries again, for a day.
            Err(error) => Err(DeliveryError::retry(error.to_string())),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "logbook.txt".to_owned()));
    let engine = Engine::builder(MemoryStorage::new()).notifier("logbook", Logbook(path.clone())).spawn().await?;

    let mut spec = MonitorSpec::new("backup", Schedule::every(Duration::from_secs(3600))?);
    spec.channels = vec!["logbook".to_owned()];
    engine.put(spec, PutMode::Upsert).await?;

    let mut failed = Ping::new(Signal::Fail);
    failed.message = Some("disk full".to_owned());
    engine.ping("backup", failed).await?;
    engine.ping("backup", Ping::new(Signal::Success)).await?;
    while engine.metrics().delivered < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    engine.shutdown(Duration::from_secs(5)).await?;
    print!("{}", std::fs::read_to_string(path)?);
    Ok(())
}
