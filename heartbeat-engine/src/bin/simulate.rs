//! Runs simulated worlds, one for each seed, and tells the story of the first promise that one of them breaks.
//!
//! `cargo run --release -p heartbeat-engine --features testing --bin simulate -- --seeds 100000`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use heartbeat_engine::testing::sim::{self, Broken, Coverage, Deed, Mutant, Options};

const HELP: &str = "\
Runs simulated worlds and checks what is promised in each of them.

simulate [--seeds N] [--from N]   worlds of N seeds (1000 unless told), from a first one on (0 unless told)
         --keep-going             lists every broken promise instead of telling the story of the first
         --threads N              so many worlds at a time (1 unless told); what is found stays the same
simulate --seed N                 the world of one seed, with its story
         --lines N                so many lines of the story (150 unless told)
simulate … --days N               faults for N days instead of some hours or days
         --brief                  for some minutes full of faults only
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
    keeps_going: bool,
    threads: usize,
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
            "--brief" => arguments.options = arguments.options.briefly(),
            "--mutant" => match value()?.as_str() {
                "list" => return Ok(Ask::Show(names())),
                name => {
                    let mutant = Mutant::named(name)
                        .ok_or_else(|| format!("`{name}` is no known bug; `--mutant list` names them"))?;
                    arguments.options = arguments.options.with(mutant);
                }
            },
            "--lines" => match number(&word, &value()?)?.try_into() {
                Ok(lines) => arguments.options = arguments.options.telling(lines),
                Err(_) => return Err("`--lines` is out of range".to_owned()),
            },
            "--threads" => match number(&word, &value()?)? {
                threads @ 1..=1024 => arguments.threads = threads as usize,
                threads => return Err(format!("`--threads {threads}` is out of range; it must be 1 to 1024")),
            },
            "--keep-going" => arguments.keeps_going = true,
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
    let total = walk(arguments, count);
    let missing = if total.worlds >= ENOUGH_WORLDS { total.coverage.missing() } else { Vec::new() };
    let first = total.broken.first_key_value();
    if arguments.json {
        let first = first.map(|(seed, broken)| (*seed, broken));
        print(&json(total.worlds, first, &total.coverage));
    } else if let (Some((seed, _)), false) = (first, arguments.keeps_going) {
        print(&format!("{}\n", sim::tell(*seed, &arguments.options)));
    } else {
        for (seed, broken) in &total.broken {
            print(&format!("seed {seed}: {}: {}\n", broken.promise, broken.what));
        }
        let days = total.simulated.as_secs() / 86_400;
        let kept = match total.broken.len() {
            0 => "every promise kept".to_owned(),
            broken => format!("a promise broken in {broken} of them"),
        };
        print(&format!("{}{} worlds, {days} days, {kept}\n", table(&total.coverage), total.worlds));
    }
    for deed in &missing {
        eprintln!("in {} worlds this never happened: {}", total.worlds, deed.name());
    }
    if missing.is_empty() && total.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What came of all worlds.
#[derive(Debug, Default)]
struct Total {
    worlds: u64,
    coverage: Coverage,
    simulated: Duration,
    /// By seed.
    broken: BTreeMap<u64, Broken>,
}

/// Lets the worlds go on, each on one thread, up to the first broken one or to the end.
fn walk(arguments: &Arguments, count: u64) -> Total {
    let next = AtomicU64::new(0);
    // Behind a broken world there is nothing to look for, before it there may be.
    let limit = AtomicU64::new(count);
    let total = Mutex::new(Total::default());
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= limit.load(Ordering::Relaxed) {
                return;
            }
            let seed = arguments.from.saturating_add(place);
            let ending = sim::run(seed, &arguments.options);
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            total.worlds += 1;
            total.coverage.add(&ending.coverage);
            total.simulated += ending.simulated;
            if let Some(broken) = ending.broken {
                total.broken.insert(seed, broken);
                if !arguments.keeps_going {
                    limit.fetch_min(place, Ordering::Relaxed);
                }
            }
            if !arguments.json && total.worlds.is_multiple_of(10_000) {
                eprintln!("{} worlds, a promise broken in {}", total.worlds, total.broken.len());
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(work);
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
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
