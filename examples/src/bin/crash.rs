//! Kills real servers with `kill -9` at random instants and checks that no promise is broken; see the module `heartbeat_examples::crash`.
//!
//! The exit status is 0 when everything was kept, 1 with an account when something was not. It uses the `heartbeat-server`
//! that was built beside it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use heartbeat_engine::{Clock, SystemClock};
use heartbeat_examples::crash::{Failure, Plan, Summary};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// How often a server is killed
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Decides what is sent and when a server is killed; the time unless given
    #[arg(long)]
    seed: Option<u64>,
    /// How many servers live side by side
    #[arg(long, default_value_t = 4)]
    lanes: u32,
    /// The server; the one beside this program unless given
    #[arg(long)]
    server: Option<PathBuf>,
    /// Keep databases and logs; they are kept anyway when a promise is broken
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| SystemClock::new().now().as_millis().cast_unsigned());
    match run(&arguments, seed).await {
        Ok(summary) => {
            println!("seed {seed}\n{summary}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("error: seed {seed}: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments, seed: u64) -> Result<Summary, Failure> {
    let server = match &arguments.server {
        Some(server) => server.clone(),
        None => beside()?,
    };
    let folder = std::env::temp_dir().join(format!("heartbeat-crash-{}-{seed}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| Failure::harness("a folder", &error))?;
    let plan = Plan { server, folder: folder.clone(), seed, kills: arguments.kills, lanes: arguments.lanes };
    let summary = plan.run().await?;
    if arguments.keep {
        println!("files in {}", folder.display());
    } else {
        std::fs::remove_dir_all(&folder).map_err(|error| Failure::harness("removing the files", &error))?;
    }
    Ok(summary)
}

fn beside() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure::harness("this program's file", &error))?;
    let server = own.with_file_name(format!("heartbeat-server{}", std::env::consts::EXE_SUFFIX));
    if server.is_file() {
        return Ok(server);
    }
    let account = format!("there is no {}; build it with `cargo build -p heartbeat-examples` first", server.display());
    Err(Failure::Harness(account))
}
