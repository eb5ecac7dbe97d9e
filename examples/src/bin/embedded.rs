//! The engine inside a program that has no HTTP: it watches its own work and is told when that falls silent.

use std::time::Duration;

use async_trait::async_trait;
use heartbeat_engine::{
    Attempt, DeliveryError, Engine, Grace, MemoryStorage, MonitorSpec, Notification, Notifier, Ping, PutMode, Receipt,
    Schedule, Signal,
};

struct Terminal;

#[async_trait]
impl Notifier for Terminal {
    async fn deliver(&self, notification: &Notification, _: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        println!("{}: {}", notification.kind, notification.message);
        Ok(Receipt::default())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder(MemoryStorage::new()).notifier("terminal", Terminal).spawn().await?;

    let mut spec = MonitorSpec::new("indexer", Schedule::every(Duration::from_secs(1))?);
    spec.grace = Grace::Fixed(Duration::from_millis(500));
    spec.channels = vec!["terminal".to_owned()];
    engine.put(spec, PutMode::Upsert).await?;

    let mut changes = engine.subscribe();
    let receipt = engine.ping("indexer", Ping::new(Signal::Success)).await?;
    println!("indexer is {}", receipt.status);

    // Now it falls silent: the engine notices by itself.
    for _ in 0..2 {
        if let Some(change) = changes.next().await {
            let change = change?;
            println!("indexer went from {:?} to {:?}: {}", change.from, change.to, change.reason);
        }
    }
    engine.ping("indexer", Ping::new(Signal::Success)).await?;
    while engine.metrics().delivered < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    engine.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
