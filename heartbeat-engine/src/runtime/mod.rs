//! The async shell around the core: it carries out what the core decides.

mod administration;
mod builder;
mod channels;
mod delivery;
mod dependencies;
mod directory;
mod distribution;
mod driver;
mod engine;
mod error;
mod inbox;
mod incidents;
mod lease_keeper;
mod limits;
mod loading;
mod metrics;
pub(crate) mod policies;
mod random;
mod shared;
mod waiting;

pub use builder::EngineBuilder;
pub use channels::{ChannelInfo, ChannelSpec};
pub use directory::{Filter, Target};
pub use distribution::Distribution;
pub use driver::Driver;
pub use engine::{Engine, Missed, PingReceipt, Put, PutMode, StateChanges};
pub use error::{EditError, PingError, ShutdownError, StartError, Unavailable};
pub use limits::Limits;
pub use metrics::{ChannelMetrics, Metrics, Readiness};
pub use policies::PutPolicy;
