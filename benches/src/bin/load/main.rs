//! Drives a server over real sockets, checks that everything that it acknowledged is stored, and says how fast it was.

mod aim;
mod alerts;
mod api;
mod arguments;
mod check;
mod clock;
mod connection;
mod driver;
mod failure;
mod ledger;
mod limit;
mod overdue;
mod pace;
mod phases;
mod population;
mod prepared;
mod random;
mod receiver;
mod report;
mod request;
mod response;
mod run;
mod server;
mod soak;
mod store;
mod tally;
mod timer;
mod usage;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use crate::arguments::Arguments;
use crate::failure::{Failure, Outcome};
use crate::run::Stage;

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what the arguments ask for and prints each report as soon as it is there.
fn start(arguments: &Arguments) -> Outcome<()> {
    let program = server::program(arguments.server.as_deref())?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Failure::of("the async runtime"))?;
    let interrupted = catch_signals(&runtime)?;
    let stage = Stage { runtime: &runtime, program: &program, interrupted: &interrupted };
    if arguments.kills > 0 {
        let soak = soak::run(&stage, arguments)?;
        return print(&if arguments.json { format!("{}\n", soak.json()) } else { soak.table() });
    }
    let Some(growth) = &arguments.growth else {
        let report = run::run(&stage, arguments)?;
        return print(&if arguments.json { format!("{}\n", report.json()) } else { report.table() });
    };
    if !arguments.json {
        print(&report::growth_head())?;
    }
    for monitors in growth.iter().copied() {
        let report = run::run(&stage, &Arguments { monitors, ..arguments.clone() })?;
        print(&if arguments.json { format!("{}\n", report.json()) } else { report.growth_row() })?;
    }
    Ok(())
}

fn print(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::of("standard output"))
}

/// Set by SIGINT and SIGTERM, so that a run ends in good order and leaves no server behind.
fn catch_signals(runtime: &Runtime) -> Outcome<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};

    let flag = Arc::new(AtomicBool::new(false));
    let _inside = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind).map_err(Failure::of("signals cannot be caught"))?;
        let flag = flag.clone();
        runtime.spawn(async move {
            signals.recv().await;
            flag.store(true, Ordering::Relaxed);
        });
    }
    Ok(flag)
}
