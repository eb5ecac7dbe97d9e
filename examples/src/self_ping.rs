//! The watchdog: this server reports to another monitor, so that two servers watch each other.

use std::time::Duration;

use heartbeat_engine::Engine;
use tokio::time::{MissedTickBehavior, interval};
use url::Url;

use crate::web_client;

const EVERY: Duration = Duration::from_secs(60);

/// Reports to `url` at once and then every minute, while the engine is ready; else it keeps silent, and the other side
/// alerts. It never ends.
pub(crate) async fn run(engine: Engine, url: Url) {
    let client = match web_client::client(true) {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "cannot report to [self] ping_url"),
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = true;
    loop {
        ticks.tick().await;
        if !engine.readiness().ready {
            continue;
        }
        // The URL holds a token: errors are told without it.
        let fault = match client.get(url.clone()).send().await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.without_url().to_string()),
        };
        match &fault {
            Some(fault) if heard => tracing::warn!(fault, "[self] ping_url does not take reports"),
            None if !heard => tracing::info!("[self] ping_url takes reports again"),
            _ => {}
        }
        heard = fault.is_none();
    }
}
