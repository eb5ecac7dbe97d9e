//! One run from the database to the report.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use heartbeat_engine::{Clock as _, SystemClock};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::arguments::Arguments;
use crate::check::check;
use crate::clock::Clock;
use crate::driver::Driver;
use crate::failure::{Failure, Outcome};
use crate::phases::{Phases, Plan};
use crate::population::Population;
use crate::report::Report;
use crate::server::{Launch, Server};
use crate::usage::{file_length, resident};

/// What all runs share.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// Where the population, the check and the receiver run.
    pub(crate) runtime: &'a Runtime,
    /// The server's program.
    pub(crate) program: &'a Path,
    /// Somebody wants the run to end.
    pub(crate) interrupted: &'a AtomicBool,
}

/// What the server uses under load.
struct Size {
    rss: u64,
    file: u64,
    log: u64,
}

/// Runs with these arguments.
pub(crate) fn run(stage: &Stage<'_>, arguments: &Arguments) -> Outcome<Report> {
    let folder = TempDir::with_prefix("heartbeat-load-").map_err(Failure::of("a temporary directory"))?;
    let file = arguments.file.clone().unwrap_or_else(|| folder.path().join("heartbeat.db"));
    if file.exists() {
        return Err(Failure::new(format!("{} exists already; name a new file with --file", file.display())));
    }
    let clock = Clock::start();
    let population = Population { monitors: arguments.monitors, mix: arguments.mix, seed: arguments.seed };
    let now = SystemClock::new().now();
    stage.runtime.block_on(population.write(&file, now, stage.interrupted))?;
    let population_seconds = clock.elapsed().as_secs_f64();

    let (log, interrupted) = (arguments.log.as_str(), stage.interrupted);
    let launch = Launch { program: stage.program, file: &file, folder: folder.path(), log, interrupted };
    let mut server = launch.start()?;
    let (ready, rss_ready_bytes) = (server.ready, resident(server.id())?);
    let connections = arguments.connections as usize;
    let mut driver = Driver::new(server.address, connections, arguments.monitors, arguments.seed, interrupted)?;
    let (phases, size) = load(arguments, &mut server, &mut driver, &file).map_err(|failure| {
        // Where the server has ended, that says more.
        server.check().err().unwrap_or(failure)
    })?;
    if !arguments.kill {
        server.stop()?;
    }
    drop(server);
    let restart = if arguments.restart { Some(restart(&launch)?) } else { None };
    let checked = stage.runtime.block_on(check(&file, &driver.ledger, arguments.seed, interrupted))?;

    let mut report = Report {
        population_seconds,
        rss_ready_bytes,
        ready_seconds: ready.as_secs_f64(),
        restart_seconds: restart,
        acknowledged: driver.ledger.total(),
        checked,
        ..Report::default()
    };
    fill_in(&mut report, arguments, &phases, &size);
    Ok(report)
}

/// Drives the server and looks at it while the last heartbeats are under way.
fn load(
    arguments: &Arguments,
    server: &mut Server,
    driver: &mut Driver<'_>,
    file: &Path,
) -> Outcome<(Phases, Size)> {
    let enough = AtomicBool::new(false);
    let plan = Plan { arguments, address: server.address, process: server.id(), enough: &enough };
    let mut size = Size { rss: 0, file: 0, log: 0 };
    let phases = plan.run(driver, || {
        size.rss = resident(server.id())?;
        size.log = file_length(&log_of(file));
        size.file = file_length(file) + size.log;
        if arguments.kill { server.kill() } else { Ok(()) }
    })?;
    Ok((phases, size))
}

fn restart(launch: &Launch<'_>) -> Outcome<f64> {
    let mut server = launch.start()?;
    let seconds = server.ready.as_secs_f64();
    server.stop()?;
    Ok(seconds)
}

fn log_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn fill_in(report: &mut Report, arguments: &Arguments, phases: &Phases, size: &Size) {
    let pings = &phases.pings;
    report.monitors = arguments.monitors;
    report.connections = arguments.connections;
    report.heartbeats_per_second = pings.per_second();
    report.noop_per_second = phases.noop.as_ref().map(crate::tally::Tally::per_second);
    report.ratio = phases.ratio();
    report.ratio_min = phases.ratios.iter().copied().reduce(f64::min);
    report.ratio_max = phases.ratios.iter().copied().reduce(f64::max);
    report.p50_ms = pings.latency_ms(0.5);
    report.p99_ms = pings.latency_ms(0.99);
    report.p999_ms = pings.latency_ms(0.999);
    report.max_ms = pings.latency_ms(1.0);
    report.rss_bytes = size.rss;
    report.rss_bytes_per_monitor = size.rss as f64 / f64::from(arguments.monitors);
    report.file_bytes = size.file;
    report.log_bytes = size.log;
    report.cpu_us_per_heartbeat = phases.per_heartbeat_us(phases.server_cpu);
    report.generator_us_per_heartbeat = phases.per_heartbeat_us(phases.own_cpu);
    report.refused.clone_from(&pings.refused);
    report.lost = pings.lost;
    report.unsent = pings.unsent;
}
