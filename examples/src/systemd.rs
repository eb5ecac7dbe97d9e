//! What the server tells systemd; under anything else this does nothing.

use heartbeat_engine::Engine;
use sd_notify::NotifyState;

/// Everything is loaded and the server takes heartbeats.
pub(crate) fn ready() {
    tell(NotifyState::Ready);
}

/// The server stops.
pub(crate) fn stopping() {
    tell(NotifyState::Stopping);
}

/// Tells twice per watchdog period that the server is alive, as long as its evaluator is, or only its store is away, which no
/// restart would mend. It never ends.
pub(crate) async fn watchdog(engine: Engine) {
    let Some(period) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(period / 2);
    loop {
        ticks.tick().await;
        let readiness = engine.readiness();
        if readiness.evaluator.is_none() || !engine.is_loaded() || readiness.store.is_some() {
            tell(NotifyState::Watchdog);
        }
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
