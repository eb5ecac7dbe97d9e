//! The life of one server on one file: started, fed, killed, checked, again and again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::crash::Plan;
use crate::crash::api::Api;
use crate::crash::beats::{Fate, Pace, START, SUCCESS, Sender, Streams};
use crate::crash::check::standings;
use crate::crash::failure::Failure;
use crate::crash::ledger::Ledger;
use crate::crash::process::{Process, Program};
use crate::crash::random::Random;
use crate::crash::receiver::Receiver;
use crate::crash::summary::Summary;
use crate::crash::world::{Role, World};

/// How long silence may take to be found, and messages to arrive, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// A stream between two kills: so short that a check still finds each heartbeat among those that are kept.
const PACE: Pace = Pace { beats_max: 20, pause_ms_max: 24, body_bytes: 0, until_gone: true };

/// What happens between a start and the kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// It is killed before it is ready.
    Starting,
    /// Heartbeats stream from the first instant; the check is left to the next round.
    Blind,
    /// A check, then heartbeats.
    Quick,
    /// The same, and the kill comes about when silent monitors are due.
    Edge,
    /// No kill until every silent monitor is found (S8.1).
    Calm,
}

struct Lane {
    name: String,
    program: Program,
    folder: PathBuf,
    random: Random,
    receiver: Arc<Receiver>,
    world: World,
    ledger: Ledger,
    summary: Summary,
    kills: u32,
    blind: bool,
}

/// Runs one lane to its end.
pub(crate) async fn run(plan: &Plan, number: u32, kills: u32, receiver: Arc<Receiver>) -> Result<Summary, Failure> {
    let name = format!("lane-{number}");
    let folder = plan.folder.join(&name);
    std::fs::create_dir_all(&folder).map_err(|error| Failure::harness("a folder", &error))?;
    let seed = plan.seed.wrapping_mul(1000).wrapping_add(number.into());
    let mut lane = Lane {
        name,
        program: Program::new(&plan.server)?,
        folder,
        random: Random::new(seed),
        receiver,
        world: World::default(),
        ledger: Ledger::default(),
        summary: Summary::default(),
        kills: 0,
        blind: false,
    };
    let done = lane.live(kills).await;
    let place =
        format!("seed {}, {}, after kill {}, files in {}", plan.seed, lane.name, lane.kills, lane.folder.display());
    done.map_err(|failure| failure.at(place))?;
    Ok(lane.summary)
}

impl Lane {
    async fn live(&mut self, kills: u32) -> Result<(), Failure> {
        let first = self.program.start(&self.folder)?.ready().await?;
        self.world = World::make(&first.api, &self.receiver.hook(&self.name)).await?;
        first.kill().await?;
        self.kills = 1;
        let began = Instant::now();
        while self.kills < kills {
            let round = self.next_round();
            self.round(round).await?;
            self.kills += 1;
        }
        self.summary.killing = began.elapsed();
        self.summary.kills = u64::from(self.kills);
        self.settle().await
    }

    fn next_round(&mut self) -> Round {
        // The first of them early, so that silent monitors have gone down before the others.
        if self.kills % 16 == 3 {
            return Round::Calm;
        }
        match self.random.below(100) {
            0..12 => Round::Starting,
            12..24 if !self.blind => Round::Blind,
            24..32 => Round::Edge,
            _ => Round::Quick,
        }
    }

    async fn round(&mut self, round: Round) -> Result<(), Failure> {
        let starting = self.program.start(&self.folder)?;
        if round == Round::Starting {
            let longest = self.summary.mean_start().as_millis().max(20) as u64;
            tokio::time::sleep(self.random.millis(0, longest)).await;
            self.summary.killed_starting += 1;
            return starting.kill().await;
        }
        let process = starting.ready().await?;
        self.summary.started(process.took);
        if round == Round::Blind {
            self.blind = true;
        } else {
            self.ledger.check(&process.api, &self.world).await?;
            self.blind = false;
        }
        let name = format!("{}-{}", self.name, self.kills);
        let streams = Streams::start(&process.api, &self.world, &name, &mut self.random, PACE);
        match round {
            Round::Calm => {
                self.begin_runs(&process.api, &name).await?;
                self.wait_for_silence(&process.api).await?;
                self.report_again(&process.api, &name).await?;
            }
            Round::Edge => {
                self.report_again(&process.api, &name).await?;
                self.begin_runs(&process.api, &name).await?;
                // Period and grace of the silent ones are 1.2 s, the limit of a run is 1 s.
                tokio::time::sleep(self.random.millis(800, 1200)).await;
            }
            Round::Quick | Round::Blind | Round::Starting => {}
        }
        tokio::time::sleep(self.random.millis(0, 300)).await;
        process.kill().await?;
        self.ledger.sent(streams.stop().await?);
        Ok(())
    }

    async fn say(
        &mut self,
        api: &Api,
        roles: &[Role],
        name: &str,
        saying: crate::crash::beats::Saying,
    ) -> Result<(), Failure> {
        for (slug, watched) in self.world.of(roles) {
            let mut sender = Sender::new(api, slug, watched, format!("{name}-{slug}-{}", saying.2));
            let beat = sender.send(saying, 0).await;
            if beat.fate != Fate::Acknowledged {
                return Err(Failure::broken("S8.3", format!("a running server did not take {beat:?}")));
            }
            self.ledger.sent(vec![beat]);
        }
        Ok(())
    }

    async fn report_again(&mut self, api: &Api, name: &str) -> Result<(), Failure> {
        self.say(api, &[Role::Silent, Role::Overrun], name, SUCCESS).await
    }

    async fn begin_runs(&mut self, api: &Api, name: &str) -> Result<(), Failure> {
        self.say(api, &[Role::Overrun], name, START).await
    }

    /// Whoever is silent is found although the watcher was killed over and over (S8.1).
    async fn wait_for_silence(&mut self, api: &Api) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let standings = standings(api).await?;
            let quiet = self.world.of(&[Role::Silent, Role::Overrun]);
            let up: Vec<_> =
                quiet.filter(|(slug, _)| standings.get(*slug).is_none_or(|it| it.status != "down")).collect();
            if up.is_empty() {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let account = format!("silent since the start and not down: {up:?}; all: {standings:?}");
                return Err(Failure::broken("S8.1", account));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The end: a receiver that works, a server that is left alone, and every message must arrive.
    async fn settle(&mut self) -> Result<(), Failure> {
        self.receiver.heal(&self.name);
        let process = self.program.start(&self.folder)?.ready().await?;
        self.summary.started(process.took);
        self.ledger.check(&process.api, &self.world).await?;
        let name = format!("{}-end", self.name);
        self.begin_runs(&process.api, &name).await?;
        self.wait_for_silence(&process.api).await?;
        self.wait_for_deliveries(&process).await?;
        self.ledger.check(&process.api, &self.world).await?;
        let figures = self.ledger.check_deliveries(&process.api, &self.receiver, &self.name).await?;
        self.summary.take(&self.ledger, figures);
        process.stop().await
    }

    async fn wait_for_deliveries(&mut self, process: &Process) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let mut pending = process.api.list("/api/notifications?state=pending", |_| true).await?;
            pending.extend(process.api.list("/api/notifications?state=grouped", |_| true).await?);
            if pending.is_empty() {
                return Ok(());
            }
            // Each attempt that the receiver did not take doubles the wait for the next.
            if began.elapsed() > 5 * PATIENCE {
                return Err(Failure::broken("S7.3", format!("still pending: {:?}", pending.first())));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
