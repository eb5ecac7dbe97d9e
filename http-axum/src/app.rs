//! What every handler has at hand.

use std::sync::Arc;

use heartbeat_engine::{Engine, Record, Target, Unavailable};

use crate::keys::{KeyHash, Keys};
use crate::metrics::HttpMetrics;
use crate::rate::PingRates;
use crate::settings::HttpSettings;
use crate::signature::Replays;
use crate::trace::RequestIds;

pub(crate) type AppState = Arc<App>;

#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) settings: HttpSettings,
    pub(crate) keys: Keys,
    pub(crate) admin_key: Option<KeyHash>,
    pub(crate) rates: PingRates,
    pub(crate) replays: Replays,
    pub(crate) metrics: HttpMetrics,
    pub(crate) request_ids: RequestIds,
}

impl App {
    pub(crate) fn new(engine: Engine, settings: HttpSettings) -> AppState {
        Arc::new(Self {
            keys: Keys::new(engine.clone()),
            admin_key: settings.admin_key.as_ref().map(|key| KeyHash::of(key.reveal())),
            rates: PingRates::new(settings.pings_per_minute),
            replays: Replays::default(),
            metrics: HttpMetrics::new(engine.clone(), settings.gauges.clone()),
            request_ids: RequestIds::new(),
            engine,
            settings,
        })
    }

    /// The monitor, also where another node made it a moment ago; while the engine loads, a monitor that is not found may
    /// exist.
    pub(crate) async fn find(&self, target: impl Into<Target>) -> Result<Option<Arc<Record>>, Unavailable> {
        self.engine.look_up(target).await
    }

    /// The same by what this node knows already.
    pub(crate) fn known(&self, target: impl Into<Target>) -> Result<Option<Arc<Record>>, Unavailable> {
        match self.engine.find(target) {
            None if self.is_loading() => Err(Unavailable::Loading),
            found => Ok(found),
        }
    }

    /// The monitor that is named by id or slug, by what this node knows already.
    pub(crate) fn known_by_name(&self, id_or_slug: &str) -> Result<Option<Arc<Record>>, Unavailable> {
        match self.known(Target::id_or_slug(id_or_slug))? {
            None => self.known(Target::slug(id_or_slug)),
            found => Ok(found),
        }
    }

    /// The monitor that a path names: by id where the text is one, else by slug.
    pub(crate) async fn find_named(&self, id_or_slug: &str) -> Result<Option<Arc<Record>>, Unavailable> {
        match self.find(Target::id_or_slug(id_or_slug)).await? {
            None => self.find(Target::slug(id_or_slug)).await,
            found => Ok(found),
        }
    }

    pub(crate) fn is_loading(&self) -> bool {
        !self.engine.is_loaded()
    }

    /// The URL at which a monitor with this token is pinged.
    pub(crate) fn ping_url(&self, token: &str) -> String {
        format!("{}/ping/{token}", self.settings.public_url.trim_end_matches('/'))
    }
}
