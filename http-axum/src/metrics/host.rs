//! Figures that the host adds.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::engine::gauge;

/// A figure that the host of the HTTP surface has told at `/metrics`, such as the size of its database.
///
/// ```
/// use heartbeat_http::{HostGauge, HttpSettings};
///
/// let mut settings = HttpSettings::default();
/// let size = || std::fs::metadata("heartbeat.db").map_or(0.0, |file| file.len() as f64);
/// settings.gauges.push(HostGauge::new("store_file_bytes", "Size of the database", size));
/// ```
#[derive(Clone)]
pub struct HostGauge {
    name: String,
    help: String,
    read: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl HostGauge {
    /// A gauge `heartbeat_` and `name`, with a few words of help, which is read at each scrape and so must not wait long. The
    /// name ends in its unit, such as `_bytes` or `_seconds`.
    pub fn new(
        name: impl Into<String>,
        help: impl Into<String>,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), help: help.into(), read: Arc::new(read) }
    }
}

impl fmt::Debug for HostGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostGauge").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads what the host told of.
#[derive(Debug)]
pub(super) struct HostCollector {
    pub(super) gauges: Vec<HostGauge>,
}

impl Collector for HostCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.gauges.iter().try_for_each(|HostGauge { name, help, read }| gauge(&mut encoder, name, help, read()))
    }
}
