//! Drives a server over real sockets, checks that everything that it acknowledged is stored, and says how fast it was.

mod api;
mod arguments;
mod check;
mod clock;
mod connection;
mod driver;
mod failure;
mod ledger;
mod pace;
mod phases;
mod population;
mod random;
mod report;
mod request;
mod response;
mod run;
mod server;
mod tally;
mod timer;
mod usage;

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
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what the arguments ask for and gives what is to be printed.
fn start(arguments: &Arguments) -> Outcome<String> {
    let program = server::program(arguments.server.as_deref())?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Failure::of("the async runtime"))?;
    let interrupted = catch_signals(&runtime)?;
    let stage = Stage { runtime: &runtime, program: &program, interrupted: &interrupted };
    let report = run::run(&stage, arguments)?;
    Ok(if arguments.json { format!("{}\n", report.json()) } else { report.table() })
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
