//! One run from the database to the report.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::aim::monitors_of;
use crate::alerts::{Alerts, Lags};
use crate::api::Api;
use crate::arguments::Arguments;
use crate::check::check;
use crate::clock::Clock;
use crate::driver::Driver;
use crate::failure::{Failure, Outcome};
use crate::limit::heartbeats_per_second;
use crate::overdue::{Overdue, Seen};
use crate::phases::{Phases, Plan, whole_length};
use crate::population::Population;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::server::{KEY, Launch, Server};
use crate::store::{RedisUsage, Size, Store};
use crate::tally::Tally;
use crate::usage::resident;

/// Longer than any run with monitors that are overdue, which ends when they are told.
const NO_END: Duration = Duration::from_secs(86_400);

/// How long the log must not have become smaller: folding pauses for a second.
const SETTLING: Duration = Duration::from_secs(4);
/// How long servers may take to share the work.
const SHARING: Duration = Duration::from_secs(30);

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

/// What was measured while the server ran.
#[derive(Debug)]
struct Measured {
    phases: Phases,
    /// Resident memory of the server under load, bytes.
    rss: u64,
    size: Size,
    redis: Option<RedisUsage>,
    lags: Option<Lags>,
    overdue: Option<(Overdue, Seen)>,
}

/// Runs with these arguments.
pub(crate) fn run(stage: &Stage<'_>, arguments: &Arguments) -> Outcome<Report> {
    let folder = TempDir::with_prefix("heartbeat-load-").map_err(Failure::of("a temporary directory"))?;
    let store = Store::new(arguments, folder.path())?;
    let clock = Clock::start();
    let population = Population { monitors: arguments.monitors, mix: arguments.mix, seed: arguments.seed };
    population.provide(stage.runtime, &store, arguments.prepared.as_deref(), stage.interrupted)?;
    let population_seconds = clock.elapsed().as_secs_f64();

    let (log, interrupted) = (arguments.log.as_str(), stage.interrupted);
    let launch = Launch { program: stage.program, store: &store, folder: folder.path(), log, interrupted };
    let mut server = launch.start()?;
    let mut others = (1..arguments.servers).map(|_| launch.start()).collect::<Outcome<Vec<_>>>()?;
    let (ready, rss_ready_bytes) = (server.ready, resident(server.id())?);
    let connections = arguments.connections as usize;
    settle(&server, arguments, interrupted)?;
    share(&server, arguments, interrupted)?;
    let addresses = std::iter::once(&server).chain(&others).map(|server| server.address).collect();
    let mut driver = Driver::new(addresses, connections, arguments.monitors, arguments.seed, interrupted)?;
    if let Some(to) = arguments.to {
        driver.aims = monitors_of(to, std::iter::once(&server).chain(&others), arguments.monitors)?;
    }
    let measured = measure(stage, arguments, (&mut server, &others), &mut driver, &store).map_err(|failure| {
        // Where the server has ended by itself, that says more.
        if arguments.kill { failure } else { server.check().err().unwrap_or(failure) }
    })?;
    if !arguments.kill {
        server.stop()?;
        others.iter_mut().try_for_each(Server::stop)?;
    }
    drop((server, others));
    let restart_seconds = if arguments.restart { Some(restart(&launch)?) } else { None };
    let found = stage.runtime.block_on(check(&store, &driver.ledger, arguments.seed, interrupted))?;

    let mut report = Report {
        population_seconds,
        rss_ready_bytes,
        ready_seconds: ready.as_secs_f64(),
        restart_seconds,
        acknowledged: driver.ledger.total(),
        checked: found.heartbeats,
        ..Report::default()
    };
    let silent = u64::from(arguments.alerts + arguments.overdue);
    if found.down != silent {
        return Err(Failure::new(format!("{} monitors are down; {silent} were silent", found.down)));
    }
    if let Some((overdue, seen)) = &measured.overdue {
        let detected = found.last_detected_at.unwrap_or(overdue.deadline);
        report.overdue_decided_ms = Some((detected.as_millis() - overdue.deadline.as_millis()) as f64);
        report.overdue_counted_ms = Some(seen.counted_ms);
        report.overdue_first_message_ms = Some(seen.first_ms);
        report.overdue_digest_ms = seen.digest_ms;
        report.overdue_told_ms = Some(seen.told_ms);
        report.overdue_messages = Some(seen.messages);
    }
    fill_in(&mut report, arguments, &measured);
    if let (Some(url), Some(calls)) = (store.redis_url(), report.redis_calls_per_heartbeat.filter(|calls| *calls > 0.0))
    {
        let limit = heartbeats_per_second(url, arguments.monitors, 1.0 / calls);
        let limit = stage.runtime.block_on(limit)?;
        report.redis_limit_per_second = Some(limit);
        report.redis_limit_ratio = Some(report.heartbeats_per_second / limit);
    }
    Ok(report)
}

/// Drives the server, looks at it while the last heartbeats are under way, and waits for what it owes.
fn measure(
    stage: &Stage<'_>,
    arguments: &Arguments,
    (server, others): (&mut Server, &[Server]),
    driver: &mut Driver<'_>,
    store: &Store,
) -> Outcome<Measured> {
    let (mut api, receiver) = (Api::new(server.address, KEY), Receiver::start(stage.runtime)?);
    let (alerts, within) = (arguments.alerts, whole_length(arguments));
    let alerts = (alerts > 0).then(|| Alerts::plan(&mut api, &receiver, alerts, within)).transpose()?;
    let overdue = (arguments.overdue > 0).then(|| Overdue::plan(&mut api, &receiver, arguments)).transpose()?;

    let (enough, seconds) = (AtomicBool::new(false), Duration::from_secs_f64(arguments.seconds));
    let length = if overdue.is_some() { NO_END } else { seconds };
    let processes: Vec<u32> = std::iter::once(server.id()).chain(others.iter().map(Server::id)).collect();
    let plan = Plan { arguments, address: server.address, processes: &processes, length, enough: &enough };
    let (mut rss, mut size) = (0, Size::default());
    let redis_before = store.redis_usage()?;
    let at_end = || {
        rss = processes.iter().map(|process| resident(*process)).sum::<Outcome<u64>>()?;
        size = store.size()?;
        if arguments.kill { server.kill() } else { Ok(()) }
    };
    let (phases, seen) = std::thread::scope(|scope| {
        let watching = overdue.as_ref().map(|overdue| {
            scope.spawn(|| {
                let seen = overdue.watch(&mut api, seconds, stage.interrupted);
                enough.store(true, Ordering::Relaxed);
                seen
            })
        });
        let phases = plan.run(driver, at_end);
        if phases.is_err() {
            stage.interrupted.store(true, Ordering::Relaxed);
        }
        let seen = watching.map(|watching| watching.join().unwrap_or_else(|_| Err(Failure::new("the watch panicked"))));
        (phases, seen)
    });
    let (phases, seen) = (phases?, seen.transpose()?);
    let lags = alerts.map(|alerts| alerts.wait(stage.interrupted)).transpose()?;
    let redis = store.redis_usage()?.zip(redis_before).map(|(after, before)| after.since(before));
    Ok(Measured { phases, rss, size, redis, lags, overdue: overdue.zip(seen) })
}

/// Waits until the log within the store gets no smaller.
fn settle(server: &Server, arguments: &Arguments, interrupted: &AtomicBool) -> Outcome<()> {
    let (mut api, clock) = (Api::new(server.address, KEY), Clock::start());
    let mut before = None;
    while clock.elapsed().as_secs() < arguments.settle && !interrupted.load(Ordering::Relaxed) {
        let metrics = api.send("GET", "/metrics", None)?.text;
        let bytes = metrics.lines().find_map(|line| line.strip_prefix("heartbeat_store_log_bytes ")).map(str::to_owned);
        if bytes == before {
            break;
        }
        before = bytes;
        std::thread::sleep(SETTLING);
    }
    Ok(())
}

/// Waits until all servers have their shares of the work.
fn share(server: &Server, arguments: &Arguments, interrupted: &AtomicBool) -> Outcome<()> {
    if arguments.redis.is_none() {
        return Ok(());
    }
    let (mut api, clock) = (Api::new(server.address, KEY), Clock::start());
    while !interrupted.load(Ordering::Relaxed) {
        let answer = api.send("GET", "/api/cluster", None)?.text;
        let cluster: serde_json::Value = serde_json::from_str(&answer).map_err(Failure::of("/api/cluster"))?;
        let shares: Vec<u64> = (cluster["nodes"].as_array().into_iter().flatten())
            .filter_map(|node| node["partitions"].as_u64())
            .filter(|partitions| *partitions > 0)
            .collect();
        let partitions = cluster["partitions"].as_array().map_or(0, Vec::len) as u64;
        let spread = shares.iter().max().zip(shares.iter().min()).map_or(u64::MAX, |(most, least)| most - least);
        if shares.len() == arguments.servers as usize && shares.iter().sum::<u64>() == partitions && spread <= 1 {
            return Ok(());
        }
        if clock.elapsed() > SHARING {
            return Err(Failure::new(format!("the servers do not share the work: {answer}")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn restart(launch: &Launch<'_>) -> Outcome<f64> {
    let mut server = launch.start()?;
    let seconds = server.ready.as_secs_f64();
    server.stop()?;
    Ok(seconds)
}

fn fill_in(report: &mut Report, arguments: &Arguments, measured: &Measured) {
    let Measured { phases, rss, size, redis, lags, .. } = measured;
    let pings = &phases.pings;
    report.monitors = arguments.monitors;
    report.connections = arguments.connections;
    report.heartbeats_per_second = pings.per_second();
    report.noop_per_second = phases.noop.as_ref().map(Tally::per_second);
    report.ratio = phases.ratio();
    report.ratio_min = phases.ratios.iter().copied().reduce(f64::min);
    report.ratio_max = phases.ratios.iter().copied().reduce(f64::max);
    report.p50_ms = pings.latency_ms(0.5);
    report.p99_ms = pings.latency_ms(0.99);
    report.p999_ms = pings.latency_ms(0.999);
    report.max_ms = pings.latency_ms(1.0);
    let lag = |part| lags.as_ref().and_then(|lags| lags.part(part));
    (report.alert_lag_p50_ms, report.alert_lag_p99_ms, report.alert_lag_max_ms) = (lag(0.5), lag(0.99), lag(1.0));
    report.rss_bytes = *rss;
    report.rss_bytes_per_monitor = *rss as f64 / f64::from(arguments.monitors);
    report.file_bytes = size.all;
    report.log_bytes = size.log;
    // The account of a server that was killed is gone.
    report.cpu_us_per_heartbeat = phases.per_heartbeat_us(phases.server_cpu).filter(|_| !arguments.kill);
    report.generator_us_per_heartbeat = phases.per_heartbeat_us(phases.own_cpu);
    if let Some(redis) = redis {
        report.redis_cpu_us_per_heartbeat = phases.per_heartbeat_us(redis.cpu);
        let per_heartbeat = |count: u64| (pings.answered > 0).then(|| count as f64 / pings.answered as f64);
        report.redis_commands_per_heartbeat = per_heartbeat(redis.commands);
        report.redis_calls_per_heartbeat = per_heartbeat(redis.calls);
    }
    report.refused.clone_from(&pings.refused);
    report.lost = pings.lost;
    report.unsent = pings.unsent;
}
