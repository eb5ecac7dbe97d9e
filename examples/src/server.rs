//! The server's life: bind, load, declare, serve, stop.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use heartbeat_engine::{ChannelKind, Engine, Storage, zone_data};
use heartbeat_http::{AdminKey, Drained, HostGauge, HttpSettings, ServeOptions, Site, ensure_admin_key, serve};
use heartbeat_notify_email::EmailKind;
use heartbeat_notify_webhook::WebhookKind;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::declare::{self, Declarations, DeclareError};
use crate::gate::Gate;
use crate::settings::{ConfigFault, Settings};
use crate::shutdown::Signals;
use crate::storage::Opened;
use crate::{banner, migrate, self_ping, storage, systemd};

/// How long requests that are under way may take when the server stops; the engine then has the rest of the 10 s.
const DRAIN: Duration = Duration::from_secs(4);
const ENGINE_STOP: Duration = Duration::from_secs(4);

/// Why the server did not run, or not on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration is wrong.
    Config(ConfigFault),
    /// Something else.
    Run(String),
}

impl From<ConfigFault> for Failure {
    fn from(fault: ConfigFault) -> Self {
        Self::Config(fault)
    }
}

/// The kinds of channel that this server has.
pub(crate) fn channel_kinds() -> [Arc<dyn ChannelKind>; 2] {
    [Arc::new(WebhookKind::new()), Arc::new(EmailKind::new())]
}

/// Runs until a signal comes.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    let mut signals = Signals::catch().map_err(|error| Failure::Run(format!("signals cannot be caught: {error}")))?;
    let declarations = declare::check(&settings, &channel_kinds())?;
    let listener = TcpListener::bind(&settings.listen).await;
    let listener = listener.map_err(|error| Failure::Run(format!("cannot listen on {}: {error}", settings.listen)))?;
    let url = own_url(&settings, &listener);
    let (gate, stop) = (Gate::new(), CancellationToken::new());
    let mut serving = tokio::spawn(serve(listener, gate.site(), serve_options(&stop)));

    let running = tokio::select! {
        started = start(&settings, declarations, &url, &gate) => started?,
        signal = signals.next() => {
            tracing::info!(signal, "stopping before everything was loaded");
            return Ok(());
        }
    };
    let Running { engine, mut driver, gauges, durability, new_admin_key } = running;
    let mut http = http_settings(&settings, &url)?;
    (http.gauges, http.durability) = (gauges, durability);
    let mut site = Site::new(engine.clone(), http);
    if settings.noop_route {
        site = site.with_routes(Router::new().route("/noop", get(async || "OK")));
    }
    gate.open(site);
    show(&banner::text(&url, new_admin_key.as_deref()));
    tracing::info!(url, "ready");
    systemd::ready();
    tokio::spawn(systemd::watchdog(engine.clone()));
    if let Some(url) = settings.ping_url {
        tokio::spawn(self_ping::run(engine.clone(), url));
    }

    let ended = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        ended = &mut serving => Err(Failure::Run(format!("the listener ended: {ended:?}"))),
        ended = &mut driver => Err(Failure::Run(format!("the engine ended: {ended:?}"))),
    };
    systemd::stopping();
    stop.cancel();
    if !serving.is_finished() && !matches!(serving.await, Ok(Drained::Fully)) {
        tracing::warn!("some requests were cut");
    }
    if let Err(error) = engine.shutdown(ENGINE_STOP).await {
        tracing::warn!(%error, "stopped in the middle");
    }
    ended
}

struct Running {
    engine: Engine,
    driver: JoinHandle<()>,
    gauges: Vec<HostGauge>,
    durability: Option<String>,
    new_admin_key: Option<String>,
}

/// Opens the store, loads what is in it and declares what the file says.
async fn start(settings: &Settings, declarations: Declarations, url: &str, gate: &Gate) -> Result<Running, Failure> {
    let zones = zone_data();
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, node = settings.node, url, zones.source, zones.version, "loading");
    if let Some(warning) = zones.warning() {
        tracing::warn!("{warning}");
    }
    for (path, warning) in &declarations.warnings {
        tracing::warn!("{}", settings.fault(path, warning));
    }
    let opened = storage::open(&settings.storage).await.map_err(Failure::Run)?;
    let Opened { storage, gauges, durability } = opened;
    refuse_incomplete(settings, &*storage).await?;
    let (engine, mut driver) = Engine::builder(Arc::clone(&storage))
        .channel_kind(WebhookKind::new())
        .channel_kind(EmailKind::new())
        .watcher_channels(settings.self_channels.clone())
        .node(settings.node.clone())
        .tenure(storage::tenure(&settings.storage, settings.lease_ttl))
        .build();
    gate.show_loading(engine.clone());
    driver.load().await.map_err(|error| Failure::Run(format!("{} cannot be loaded: {error}", settings.storage)))?;
    // A migration that began meanwhile has not seen this server.
    refuse_incomplete(settings, &*storage).await?;
    let driver = tokio::spawn(driver.run());
    let summary = declare::declare(&engine, settings, declarations).await.map_err(|error| match error {
        DeclareError::Config(fault) => Failure::Config(fault),
        DeclareError::Unavailable(error) => Failure::Run(error.to_string()),
    })?;
    if settings.document.is_some() {
        let declare::Summary { made, updated, unchanged, released } = summary;
        tracing::info!(made, updated, unchanged, released, "declared what the settings file says");
    }
    let new_admin_key = match settings.admin_key {
        Some(_) => None,
        None => ensure_admin_key(&engine).await.map_err(|error| Failure::Run(error.to_string()))?,
    };
    Ok(Running { engine, driver, gauges, durability, new_admin_key: new_admin_key.map(|key| key.reveal().to_owned()) })
}

/// Nobody works on what a migration has not completed.
async fn refuse_incomplete(settings: &Settings, storage: &dyn Storage) -> Result<(), Failure> {
    let unfinished = migrate::unfinished(storage).await;
    match unfinished.map_err(|error| Failure::Run(format!("{}: {error}", settings.storage)))? {
        Some(text) => Err(Failure::Run(format!("{} is not complete: {text}", settings.storage))),
        None => Ok(()),
    }
}

fn serve_options(stop: &CancellationToken) -> ServeOptions {
    let mut options = ServeOptions::default();
    options.shutdown = stop.clone();
    options.drain_timeout = DRAIN;
    options
}

fn http_settings(settings: &Settings, url: &str) -> Result<HttpSettings, Failure> {
    let mut http = HttpSettings::default();
    http.public_url = url.to_owned();
    http.timezone = settings.timezone.clone();
    http.allowed_hosts.clone_from(&settings.allowed_hosts);
    http.ping_body_limit = settings.ping_body_limit.unwrap_or(http.ping_body_limit);
    http.pings_per_minute = settings.pings_per_minute.unwrap_or(http.pings_per_minute);
    if let Some(key) = &settings.admin_key {
        http.admin_key = Some(AdminKey::new(key.as_str()).map_err(|error| Failure::Run(error.to_string()))?);
    }
    Ok(http)
}

/// How others reach the server: as the settings say, else by the address that it listens on.
fn own_url(settings: &Settings, listener: &TcpListener) -> String {
    if let Some(url) = &settings.public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    match listener.local_addr() {
        Ok(address) if address.ip().is_unspecified() => format!("http://localhost:{}", address.port()),
        Ok(address) => format!("http://{address}"),
        Err(_) => format!("http://{}", settings.listen),
    }
}

/// A terminal that went away is no reason to stop.
fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
