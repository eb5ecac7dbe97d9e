//! A simulated world, decided by a seed: nodes on one shared storage, jobs, operators and far ends, in virtual time, with
//! faults of every kind. It runs the evaluator, the step, the absence, the lease and the outbox that ship, holds none of
//! their rules, and checks the promises S8.1 to S8.5 and what they rest on.
//!
//! ```
//! use heartbeat_engine::testing::sim;
//!
//! let ending = sim::run(7, &sim::Options::default());
//! assert!(ending.broken.is_none(), "{}", sim::tell(7, &sim::Options::default()));
//! ```

mod among;
mod apart;
mod beside;
mod checks;
mod clock;
mod courier;
mod coverage;
mod faults;
mod jobs;
mod keeper;
mod mutant;
mod node;
mod operators;
mod plan;
mod policies;
mod queue;
mod reading;
mod receiver;
mod rng;
mod spoil;
mod storage;
mod story;
mod traffic;
mod work;
mod world;

use std::sync::Arc;
use std::time::Duration;

pub use self::coverage::{Coverage, Deed};
pub use self::mutant::Mutant;
use self::world::World;
use crate::Storage;

/// What is chosen for a world beside its seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// How many days faults happen; a few hours or days, as the seed decides, where none is given.
    pub days: Option<u64>,
    /// A known bug that the world has.
    pub mutant: Option<Mutant>,
    /// How many lines of the story are told; 150 where none is given.
    pub lines: Option<usize>,
    /// Whether the world lasts for some minutes full of faults only, and what takes longer to come about is not looked for.
    pub brief: bool,
}

impl Options {
    /// The same with a known bug.
    #[must_use]
    pub const fn with(self, mutant: Mutant) -> Self {
        Self { mutant: Some(mutant), ..self }
    }

    /// The same with faults for so many days.
    #[must_use]
    pub const fn lasting(self, days: u64) -> Self {
        Self { days: Some(days), ..self }
    }

    /// The same for some minutes full of faults.
    #[must_use]
    pub const fn briefly(self) -> Self {
        Self { brief: true, ..self }
    }

    /// The same with so many lines of its story.
    #[must_use]
    pub const fn telling(self, lines: usize) -> Self {
        Self { lines: Some(lines), ..self }
    }
}

/// How a world went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ending {
    /// The first promise that was broken.
    pub broken: Option<Broken>,
    /// What happened.
    pub coverage: Coverage,
    /// How long the world lasted, in its own time.
    pub simulated: Duration,
    /// What happened last, where that was told: see [`run_on`].
    pub story: String,
}

/// How many nodes a world has, and how many partitions its store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Shape {
    /// Nodes; one has the store to itself.
    pub nodes: usize,
    /// Partitions, at least 1.
    pub partitions: u16,
}

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Broken {
    /// The promise, with its rule.
    pub promise: &'static str,
    /// What happened instead.
    pub what: String,
}

/// Lets the world of a seed go on to its end, or to the first broken promise.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Ending {
    World::new(seed, options, false, None).run().into()
}

/// The same on a storage: every operation is carried out on it too, and the nodes are given what it answered, which must be what
/// the model of the simulator says. Each start of a node gets a handle of its own from `open`, which is told how many partitions
/// the storage has; all lead to one storage that has nothing yet. Its futures are run on `runtime`, which must have threads of
/// its own. A world of one node must have one partition, see [`shape`].
#[must_use]
pub fn run_on(
    seed: u64,
    options: &Options,
    runtime: &tokio::runtime::Handle,
    open: impl FnMut(u16) -> Arc<dyn Storage> + 'static,
) -> Ending {
    World::new(seed, options, true, Some((runtime.clone(), Box::new(open)))).run().into()
}

/// How many nodes and partitions the world of a seed has.
#[must_use]
pub fn shape(seed: u64, options: &Options) -> Shape {
    let plan = plan::Plan::new(seed, options, &mut rng::Rng::new(seed));
    Shape { nodes: plan.nodes, partitions: plan.partitions }
}

impl From<world::Ending> for Ending {
    fn from(ending: world::Ending) -> Self {
        Self {
            broken: ending.broken.map(|broken| Broken { promise: broken.promise, what: broken.what }),
            coverage: ending.coverage,
            simulated: ending.simulated,
            story: ending.story.join("\n"),
        }
    }
}

/// The story of a seed's world: what happened last, around the broken promise where there is one, and how to repeat it.
#[must_use]
pub fn tell(seed: u64, options: &Options) -> String {
    let ending = World::new(seed, options, true, None).run();
    let mut story = ending.story.join("\n");
    if let Some(broken) = ending.broken {
        story = format!("{story}\n\nseed {seed}: {}\n  {}", broken.promise, broken.what);
    }
    let mutant = options.mutant.map(|mutant| format!(" --mutant {}", mutant.name())).unwrap_or_default();
    let brief = if options.brief { " --brief" } else { "" };
    let days = options.days.map(|days| format!(" --days {days}")).unwrap_or_default();
    let command = "cargo run --release -p heartbeat-engine --features testing --bin simulate --";
    format!("{story}\n\nagain: {command} --seed {seed}{days}{brief}{mutant}")
}

/// What the checkers watch over.
#[must_use]
pub fn promises() -> Vec<&'static str> {
    checks::Checks::promises(&plan::Plan::new(0, &Options::default(), &mut rng::Rng::new(0)))
}
