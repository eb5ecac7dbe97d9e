//! A long run in which the server is killed again and again while heartbeats are under way: nothing that it acknowledged
//! may be missing at the end, and neither its memory nor its database may grow without end.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::arguments::Arguments;
use crate::check::check;
use crate::clock::Clock;
use crate::driver::{Driver, Slice};
use crate::failure::{Failure, Outcome};
use crate::population::Population;
use crate::random::Random;
use crate::request::Request;
use crate::run::Stage;
use crate::server::{Launch, Server};
use crate::store::Store;
use crate::tally::Tally;
use crate::usage::resident;

/// From one start of the server until it is killed, or stopped at the end.
#[derive(Debug, Serialize)]
pub(crate) struct Stretch {
    /// For how long heartbeats were sent.
    seconds: f64,
    /// From the start of the server until `/readyz` answered 200.
    ready_seconds: f64,
    /// Acknowledged heartbeats.
    acknowledged: u64,
    /// Heartbeats without an answer, because the server was killed.
    lost: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    /// Resident memory of the server at the end.
    rss_bytes: u64,
    /// The database and its log at the end.
    file_bytes: u64,
}

/// What came of all stretches.
#[derive(Debug)]
pub(crate) struct Soak {
    monitors: u32,
    stretches: Vec<Stretch>,
    pings: Tally,
    acknowledged: u64,
    checked: u64,
}

/// Runs with these arguments.
pub(crate) fn run(stage: &Stage<'_>, arguments: &Arguments) -> Outcome<Soak> {
    let folder = TempDir::with_prefix("heartbeat-load-").map_err(Failure::of("a temporary directory"))?;
    let store = Store::new(arguments, folder.path())?;
    let (log, interrupted) = (arguments.log.as_str(), stage.interrupted);
    let population = Population { monitors: arguments.monitors, mix: arguments.mix, seed: arguments.seed };
    population.provide(stage.runtime, &store, arguments.prepared.as_deref(), interrupted)?;
    let launch = Launch { program: stage.program, store: &store, folder: folder.path(), log, interrupted };

    let mut server = launch.start()?;
    let connections = arguments.connections as usize;
    let mut driver = Driver::new(vec![server.address], connections, arguments.monitors, arguments.seed, interrupted)?;
    let (mut stretches, mut pings) = (Vec::new(), Tally::new()?);
    let lengths = lengths(arguments);
    for (index, length) in lengths.iter().enumerate() {
        let last = index + 1 == lengths.len();
        let stretch = drive(&mut driver, (&mut server, &store), (arguments, *length, last), &mut pings)?;
        stretches.push(stretch);
        if last {
            server.stop()?;
        } else {
            server = launch.start()?;
            driver.turn_to(server.address);
        }
    }
    drop(server);
    let found = stage.runtime.block_on(check(&store, &driver.ledger, arguments.seed, interrupted))?;
    let (acknowledged, checked) = (driver.ledger.total(), found.heartbeats);
    Ok(Soak { monitors: arguments.monitors, stretches, pings, acknowledged, checked })
}

/// The whole time, cut at random into one piece more than there are kills; none is shorter than half a mean one.
fn lengths(arguments: &Arguments) -> Vec<Duration> {
    let mut random = Random::new(arguments.seed ^ 0x50AC);
    let weights: Vec<f64> = (0..=arguments.kills).map(|_| 0.5 + random.below(1000) as f64 / 1000.0).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| Duration::from_secs_f64(arguments.seconds * weight / sum)).collect()
}

fn drive(
    driver: &mut Driver<'_>,
    (server, store): (&mut Server, &Store),
    (arguments, length, last): (&Arguments, Duration, bool),
    pings: &mut Tally,
) -> Outcome<Stretch> {
    let request = Request::heartbeat(&server.address.to_string(), arguments.body as usize);
    let enough = AtomicBool::new(false);
    let slice = Slice { request: &request, length, rate: arguments.rate, enough: &enough };
    let (ready, clock) = (server.ready, Clock::start());
    let (mut rss_bytes, mut file_bytes) = (0, 0);
    let at_end = || {
        rss_bytes = resident(server.id())?;
        file_bytes = store.size()?.all;
        if last { Ok(()) } else { server.kill() }
    };
    let tally = driver.run(&slice, at_end)?;
    pings.add(&tally)?;
    Ok(Stretch {
        seconds: clock.elapsed().as_secs_f64(),
        ready_seconds: ready.as_secs_f64(),
        acknowledged: tally.answered,
        lost: tally.lost,
        p50_ms: tally.latency_ms(0.5),
        p99_ms: tally.latency_ms(0.99),
        max_ms: tally.latency_ms(1.0),
        rss_bytes,
        file_bytes,
    })
}

impl Soak {
    /// One JSON object.
    pub(crate) fn json(&self) -> Value {
        json!({
            "monitors": self.monitors,
            "kills": self.stretches.len() - 1,
            "heartbeats_per_second": self.pings.per_second(),
            "p50_ms": self.pings.latency_ms(0.5),
            "p99_ms": self.pings.latency_ms(0.99),
            "acknowledged": self.acknowledged,
            "lost": self.pings.lost,
            "unsent": self.pings.unsent,
            "refused": self.pings.refused,
            "checked": self.checked,
            "stretches": self.stretches,
        })
    }

    /// A line for each stretch, and what came of all.
    pub(crate) fn table(&self) -> String {
        let ms = |latency: Option<f64>| latency.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        let names = ["seconds", "ready s", "heartbeats", "lost", "p50 ms", "p99 ms", "max ms", "rss MB", "file MB"];
        let mut text = line(names.map(str::to_owned));
        for stretch in &self.stretches {
            text += &line([
                format!("{:.1}", stretch.seconds),
                format!("{:.2}", stretch.ready_seconds),
                stretch.acknowledged.to_string(),
                stretch.lost.to_string(),
                ms(stretch.p50_ms),
                ms(stretch.p99_ms),
                ms(stretch.max_ms),
                format!("{:.1}", stretch.rss_bytes as f64 / 1e6),
                format!("{:.1}", stretch.file_bytes as f64 / 1e6),
            ]);
        }
        let Self { monitors, stretches, pings, acknowledged, checked } = self;
        text += &format!(
            "\n{monitors} monitors, {} kills, {:.0} heartbeats/s, p50 {} ms, p99 {} ms\n\
             {acknowledged} heartbeats were acknowledged and {} not answered; {checked} are in the database, all acknowledged ones among them\n",
            stretches.len() - 1,
            pings.per_second(),
            ms(pings.latency_ms(0.5)),
            ms(pings.latency_ms(0.99)),
            pings.lost,
        );
        if pings.unsent > 0 || !pings.refused.is_empty() {
            text += &format!("{} could not be sent in time; refused: {:?}\n", pings.unsent, pings.refused);
        }
        text
    }
}

fn line(cells: [String; 9]) -> String {
    cells.map(|cell| format!("{cell:>11}")).join(" ") + "\n"
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_pieces_make_up_the_whole_and_none_is_short() {
        let arguments = Arguments::parse_from(["load", "--rate", "10", "--seconds", "60", "--kills", "9"]);
        let lengths = lengths(&arguments);
        let seconds: Vec<f64> = lengths.iter().map(Duration::as_secs_f64).collect();
        assert_eq!(lengths.len(), 10);
        assert!((seconds.iter().sum::<f64>() - 60.0).abs() < 1e-3, "{seconds:?}");
        assert!(seconds.iter().all(|length| *length > 2.0), "{seconds:?}");
        assert_ne!(lengths[0], lengths[1]);
    }
}
