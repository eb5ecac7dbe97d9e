//! Kills a real Heartbeat server with `kill -9`, again and again, and checks after each start that nothing that was promised
//! is broken: acknowledged heartbeats are there (S8.3), each incident exists once (S8.4) and has its notifications (S7.2),
//! silence is found (S8.1), and every message reaches its channel (S7.3).
//!
//! The binary `crash` and the tests use it. One seed decides what is sent, when the server is killed and how the receiver
//! behaves; the machine decides the rest.

mod api;
mod beats;
mod check;
mod failure;
mod incidents;
mod lane;
mod ledger;
mod process;
mod random;
mod receiver;
mod summary;
mod world;

use std::path::PathBuf;
use std::sync::Arc;

pub use api::Api;
pub use beats::{Beat, Fate, Pace, Sender, Streams};
pub use failure::Failure;
pub use ledger::Ledger;
pub use process::{Process, Program, Starting};
pub use random::Random;
pub use receiver::Receiver;
pub use summary::Summary;
pub use world::{CHANNELS, Role, Watched, World};

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server's binary.
    pub server: PathBuf,
    /// Where the databases and logs are put; it must exist.
    pub folder: PathBuf,
    /// Decides what happens.
    pub seed: u64,
    /// How often a server is killed, over all lanes.
    pub kills: u32,
    /// How many servers live side by side, each on its own file.
    pub lanes: u32,
}

impl Plan {
    /// Runs it.
    ///
    /// # Errors
    /// The first broken promise, or what kept the run from going on.
    pub async fn run(&self) -> Result<Summary, Failure> {
        let receiver = Arc::new(Receiver::start(self.seed).await?);
        let lanes = self.lanes.clamp(1, self.kills.max(1));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..lanes {
            let kills = self.kills / lanes + u32::from(number < self.kills % lanes);
            let (plan, receiver) = (self.clone(), receiver.clone());
            tasks.spawn(async move { lane::run(&plan, number, kills, receiver).await });
        }
        let mut summary = Summary::default();
        while let Some(lane) = tasks.join_next().await {
            let lane = lane.map_err(|error| Failure::harness("a lane", &error))??;
            summary.add(&lane);
        }
        summary.require_events()?;
        Ok(summary)
    }
}
