//! Fuzzes a target on any stable compiler: mutations of its corpus that follow from a seed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use heartbeat_engine::{Clock, SystemClock};
use heartbeat_fuzz::campaign::{self, Extent, Outcome};
use heartbeat_fuzz::{Crash, TARGETS, Target, corpus, minimise, watched};

/// Runs targets on mutations of their corpora; the same seed gives the same inputs
///
/// Exit status: 0 when every promise held, 1 when one was broken (the input is stored and printed), 2 when it could not run.
#[derive(Debug, Parser)]
#[command(name = "fuzz", version)]
struct Arguments {
    /// Only this target; may be given several times [default: all]
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Runs of each target
    #[arg(long, default_value_t = 100_000)]
    runs: u64,
    /// Ends each target after this many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Decides the mutations
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where an input that broke a promise is stored
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    crashes: PathBuf,
    /// Runs these inputs instead of mutations; needs one --target
    #[arg(value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// Lists the targets
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for target in &TARGETS {
            println!("{:14} {}", target.name, target.about);
        }
        return ExitCode::SUCCESS;
    }
    match fuzz(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// Whether every promise held.
fn fuzz(arguments: &Arguments) -> Result<bool, String> {
    let targets = chosen(&arguments.target)?;
    if !arguments.inputs.is_empty() {
        let [target] = targets[..] else { return Err("files need exactly one --target".to_owned()) };
        return replay(target, &arguments.inputs);
    }
    let mut held = true;
    for target in targets {
        held &= mutate(target, arguments)?;
    }
    Ok(held)
}

fn chosen(names: &[String]) -> Result<Vec<&'static Target>, String> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let find = |name: &String| {
        let known = TARGETS.map(|target| target.name).join(", ");
        TARGETS
            .iter()
            .find(|target| target.name == *name)
            .ok_or(format!("there is no target `{name}`; there are {known}"))
    };
    names.iter().map(find).collect()
}

fn replay(target: &Target, files: &[PathBuf]) -> Result<bool, String> {
    let mut held = true;
    for file in files {
        let input = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        match watched(target, &input) {
            Ok(()) => println!("{}: every promise held", file.display()),
            Err(crash) => {
                println!("{}: broken at {}: {}", file.display(), crash.place, crash.message);
                held = false;
            }
        }
    }
    Ok(held)
}

fn mutate(target: &Target, arguments: &Arguments) -> Result<bool, String> {
    let kept = corpus::read(target).map_err(|error| format!("the corpus of {}: {error}", target.name))?;
    let kept: Vec<Vec<u8>> = kept.into_iter().map(|(_, input)| input).collect();
    let clock = SystemClock::new();
    let started = clock.monotonic();
    let elapsed = || clock.monotonic().saturating_sub(started);
    let extent = Extent { runs: arguments.runs, time: arguments.seconds.map(Duration::from_secs) };
    let Outcome { runs, crash } = campaign::run(target, &kept, arguments.seed, extent, elapsed);
    let seconds = elapsed().as_secs_f64();
    println!("{}: {runs} runs in {seconds:.1} s, seed {}", target.name, arguments.seed);
    match crash {
        None => Ok(true),
        Some((input, crash)) => report(target, &input, &crash, arguments).map(|()| false),
    }
}

fn report(target: &Target, input: &[u8], crash: &Crash, arguments: &Arguments) -> Result<(), String> {
    println!("a promise is broken at {}:\n{}\n", crash.place, crash.message);
    let small = minimise(target, input, crash);
    let file = arguments.crashes.join(format!("crash-{}-{}.txt", target.name, arguments.seed));
    std::fs::write(&file, &small).map_err(|error| format!("{}: {error}", file.display()))?;
    println!("the input, made small ({} of {} bytes), is in {}:", small.len(), input.len(), file.display());
    println!("{}", small.escape_ascii().to_string().replace("\\n", "\n"));
    println!("\nit is run again by: cargo run -p heartbeat-fuzz -- --target {} {}", target.name, file.display());
    Ok(())
}
