//! Runs simulated worlds, one for each seed, and tells the story of the first promise that one of them breaks.
//!
//! `cargo run --release -p heartbeat-engine --features testing --bin simulate -- --seeds 100000`

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use heartbeat_engine::testing::sim::{self, Broken, Coverage, Deed, Mutant, Options};

const HELP: &str = "\
Runs simulated worlds and checks what is promised in each of them.

simulate [--seeds N] [--from N]   worlds of N seeds (1000 unless told), from a first one on (0 unless told)
simulate --seed N                 the world of one seed, with its story
         --days N                 faults for N days instead of some hours or days
         --mutant NAME            with a known bug; `--mutant list` names them
         --json                   the result as JSON
         --help                   this text

The exit code is 0 when every promise was kept, 1 when one was broken or when something that should happen in
1000 worlds never did, and 2 for an argument that is not understood.
";

/// From so many worlds on, everything must have happened in some of them.
const ENOUGH_WORLDS: u64 = 1000;

#[derive(Debug, Default)]
struct Arguments {
    seeds: Option<u64>,
    from: u64,
    seed: Option<u64>,
    options: Options,
    json: bool,
}

#[derive(Debug)]
enum Ask {
    Run(Arguments),
    Show(String),
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Ask::Show(text)) => print(&text),
        Ok(Ask::Run(arguments)) => match arguments.seed {
            Some(seed) => one(seed, &arguments),
            None => many(&arguments),
        },
        Err(error) => {
            eprintln!("simulate: {error}; see --help");
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Ask, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value behind it"));
        match word.as_str() {
            "--seeds" => arguments.seeds = Some(number(&word, &value()?)?),
            "--from" => arguments.from = number(&word, &value()?)?,
            "--seed" => arguments.seed = Some(number(&word, &value()?)?),
            "--days" => match number(&word, &value()?)? {
                days @ 1..=3650 => arguments.options = arguments.options.lasting(days),
                days => return Err(format!("`--days {days}` is out of range; it must be 1 to 3650")),
            },
            "--mutant" => match value()?.as_str() {
                "list" => return Ok(Ask::Show(names())),
                name => {
                    let mutant = Mutant::named(name)
                        .ok_or_else(|| format!("`{name}` is no known bug; `--mutant list` names them"))?;
                    arguments.options = arguments.options.with(mutant);
                }
            },
            "--json" => arguments.json = true,
            "--help" | "-h" => return Ok(Ask::Show(HELP.to_owned())),
            other => return Err(format!("`{other}` is not understood")),
        }
    }
    if arguments.seed.is_some() && (arguments.seeds.is_some() || arguments.from > 0) {
        return Err("`--seed` is for one world, and goes neither with `--seeds` nor with `--from`".to_owned());
    }
    Ok(Ask::Run(arguments))
}

fn number(option: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{option} {text}` is not a whole number"))
}

fn names() -> String {
    Mutant::ALL.iter().map(|mutant| format!("{}\n", mutant.name())).collect()
}

/// Writes to the output; that nobody reads it is no failure of ours.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn one(seed: u64, arguments: &Arguments) -> ExitCode {
    let ending = sim::run(seed, &arguments.options);
    if arguments.json {
        print(&json(1, ending.broken.as_ref().map(|broken| (seed, broken)), &ending.coverage));
    } else {
        print(&format!("{}\n", sim::tell(seed, &arguments.options)));
    }
    if ending.broken.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn many(arguments: &Arguments) -> ExitCode {
    let count = arguments.seeds.unwrap_or(1000);
    let mut coverage = Coverage::default();
    let mut simulated = std::time::Duration::ZERO;
    for (done, seed) in (1..=count).zip(arguments.from..) {
        let ending = sim::run(seed, &arguments.options);
        coverage.add(&ending.coverage);
        simulated += ending.simulated;
        if let Some(broken) = ending.broken {
            if arguments.json {
                print(&json(done, Some((seed, &broken)), &coverage));
            } else {
                print(&format!("{}\n", sim::tell(seed, &arguments.options)));
            }
            return ExitCode::FAILURE;
        }
        if !arguments.json && done % 10_000 == 0 {
            eprintln!("{done} worlds kept every promise");
        }
    }
    let missing = if count >= ENOUGH_WORLDS { coverage.missing() } else { Vec::new() };
    if arguments.json {
        print(&json(count, None, &coverage));
    } else {
        let days = simulated.as_secs() / 86_400;
        print(&format!("{}{count} worlds, {days} days, every promise kept\n", table(&coverage)));
    }
    for deed in &missing {
        eprintln!("in {count} worlds this never happened: {}", deed.name());
    }
    if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn table(coverage: &Coverage) -> String {
    Deed::ALL.iter().map(|deed| format!("{:>12}  {}\n", coverage.count(*deed), deed.name())).collect()
}

fn json(worlds: u64, broken: Option<(u64, &Broken)>, coverage: &Coverage) -> String {
    let mut counts = serde_json::Map::new();
    for deed in Deed::ALL {
        counts.insert(deed.name().to_owned(), coverage.count(*deed).into());
    }
    let broken = broken
        .map(|(seed, broken)| serde_json::json!({ "seed": seed, "promise": broken.promise, "what": broken.what }));
    let mut text = serde_json::json!({ "worlds": worlds, "broken": broken, "coverage": counts }).to_string();
    // A string takes everything.
    let _ = text.write_char('\n');
    text
}
