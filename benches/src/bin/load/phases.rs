//! Heartbeats and requests that do nothing, in turn, so that the noise of the machine meets both.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::driver::{Driver, Slice};
use crate::failure::Outcome;
use crate::request::Request;
use crate::tally::Tally;
use crate::usage::cpu_time;

/// How long heartbeats are sent before a comparison; the other route takes half of it.
const SLICE: Duration = Duration::from_secs(2);
/// How long both are sent before anything is counted.
const WARM_UP: Duration = Duration::from_millis(500);

/// What came of all phases.
#[derive(Debug)]
pub(crate) struct Phases {
    /// Heartbeats.
    pub(crate) pings: Tally,
    /// Requests that do nothing; none where heartbeats come at a rate.
    pub(crate) noop: Option<Tally>,
    /// Heartbeats by requests that do nothing, for each pair of slices.
    pub(crate) ratios: Vec<f64>,
    /// How long the server worked while heartbeats were sent.
    pub(crate) server_cpu: Duration,
    /// How long the generator did.
    pub(crate) own_cpu: Duration,
}

/// What the phases need to know.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The command line.
    pub(crate) arguments: &'a Arguments,
    /// The server, or one of several.
    pub(crate) address: SocketAddr,
    /// Its process, and those of the servers beside it.
    pub(crate) processes: &'a [u32],
    /// For how long heartbeats are sent.
    pub(crate) length: Duration,
    /// Ends them early.
    pub(crate) enough: &'a AtomicBool,
}

impl Plan<'_> {
    /// Drives all phases. `at_end` is called while the last heartbeats are under way.
    pub(crate) fn run(&self, driver: &mut Driver<'_>, at_end: impl FnOnce() -> Outcome<()>) -> Outcome<Phases> {
        let host = self.address.to_string();
        let heartbeat = Request::heartbeat(&host, self.arguments.body as usize);
        let noop = Request::get(&host, &self.arguments.noop);
        let nothing = || Ok(());
        let slice = |request, length, rate| Slice { request, length, rate, enough: self.enough };
        let mut phases = Phases {
            pings: Tally::new()?,
            noop: None,
            ratios: Vec::new(),
            server_cpu: Duration::ZERO,
            own_cpu: Duration::ZERO,
        };
        let warm_up = WARM_UP.min(self.length);
        if let Some(rate) = self.arguments.rate {
            driver.run(&slice(&heartbeat, warm_up, Some(rate)), nothing)?;
            phases.take_pings(self.processes, || driver.run(&slice(&heartbeat, self.length, Some(rate)), at_end))?;
            return Ok(phases);
        }
        driver.run(&slice(&noop, warm_up, None), nothing)?;
        driver.run(&slice(&heartbeat, warm_up, None), nothing)?;
        let (mut at_end, mut sum, mut left) = (Some(at_end), Tally::new()?, self.length);
        while !left.is_zero() {
            let length = left.min(SLICE);
            left -= length;
            let noops = driver.run(&slice(&noop, length / 2, None), nothing)?;
            let last = if left.is_zero() { at_end.take() } else { None };
            let finish = || last.map_or(Ok(()), |at_end| at_end());
            let pings = phases.take_pings(self.processes, || driver.run(&slice(&heartbeat, length, None), finish))?;
            phases.ratios.push(if noops.answered == 0 { 0.0 } else { pings / noops.per_second() });
            sum.add(&noops)?;
        }
        phases.noop = Some(sum);
        Ok(phases)
    }
}

/// How long all phases take with these arguments, about.
pub(crate) fn whole_length(arguments: &Arguments) -> Duration {
    let seconds = Duration::from_secs_f64(arguments.seconds);
    let warm_up = WARM_UP.min(seconds);
    if arguments.rate.is_some() { warm_up + seconds } else { warm_up * 2 + seconds * 3 / 2 }
}

impl Phases {
    /// Adds heartbeats and what they cost; gives how many there were per second.
    fn take_pings(&mut self, processes: &[u32], send: impl FnOnce() -> Outcome<Tally>) -> Outcome<f64> {
        let own = std::process::id();
        let all = || processes.iter().map(|process| cpu_time(*process)).sum::<Outcome<Duration>>();
        let (server_before, own_before) = (all()?, cpu_time(own)?);
        let tally = send()?;
        // A server that was killed at the end has no account any more.
        self.server_cpu += all().unwrap_or(server_before).saturating_sub(server_before);
        self.own_cpu += cpu_time(own)?.saturating_sub(own_before);
        self.pings.add(&tally)?;
        Ok(tally.per_second())
    }

    /// All heartbeats by all requests that do nothing, per second.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let noop = self.noop.as_ref().map(Tally::per_second).filter(|noop| *noop > 0.0)?;
        Some(self.pings.per_second() / noop)
    }

    /// A processor time per heartbeat, in microseconds.
    pub(crate) fn per_heartbeat_us(&self, time: Duration) -> Option<f64> {
        (self.pings.answered > 0).then(|| time.as_secs_f64() * 1e6 / self.pings.answered as f64)
    }
}
