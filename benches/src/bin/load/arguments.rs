//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Drives a Heartbeat server over real sockets and says how fast it was.
///
/// Starts the server on a fresh database with N monitors, sends heartbeats to monitors picked at random over keep-alive
/// connections, in turn with requests to a route of the same process that does nothing, stops it, opens the database and
/// checks that every acknowledged heartbeat is in it. Only then it prints. Exit status: 0, or 1 when something failed or a
/// heartbeat is missing.
#[derive(Debug, Clone, Parser)]
#[command(name = "load", version)]
pub(crate) struct Arguments {
    /// How many monitors there are
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) monitors: u32,
    /// For how many seconds heartbeats are sent; the route that does nothing takes half as many more
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub(crate) seconds: f64,
    /// How many connections are open at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) connections: u32,
    /// Sends so many heartbeats a second whatever the server does, and counts latency from when each was to be sent;
    /// without it, each connection sends as soon as it is answered
    #[arg(long, value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// What the monitors' schedules are
    #[arg(long, value_enum, default_value_t)]
    pub(crate) mix: Mix,
    /// Bytes of body of a heartbeat; 0 sends GET, else POST
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub(crate) body: u32,
    /// The route that heartbeats are compared with
    #[arg(long, default_value = "/noop", value_name = "PATH")]
    pub(crate) noop: String,
    /// Kills the server with SIGKILL while heartbeats are under way, instead of stopping it
    #[arg(long)]
    pub(crate) kill: bool,
    /// Kills the server with SIGKILL so many times during the run, at random, and starts it again on the same database; says
    /// for each stretch between how fast it was and what it used
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1000), requires = "rate",
          conflicts_with_all = ["kill", "restart", "alerts", "overdue", "growth"])]
    pub(crate) kills: u32,
    /// Starts the server once more at the end and says how long that takes
    #[arg(long)]
    pub(crate) restart: bool,
    /// So many further monitors fall silent one after the other during the run; says how late their webhooks came
    #[arg(long, default_value_t = 0, conflicts_with = "kill")]
    pub(crate) alerts: u32,
    /// So many further monitors are overdue at one instant, from which --seconds count; says when all were decided, stored
    /// and told
    #[arg(long, default_value_t = 0, requires = "rate", conflicts_with_all = ["kill", "alerts"])]
    pub(crate) overdue: u32,
    /// How many seconds ahead that instant is, in which those monitors are made [default: 5 and one for each 2,000]
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub(crate) overdue_after: Option<f64>,
    /// How long the channel of those monitors gathers messages into a digest
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) group_wait: String,
    /// Waits first until what making the monitors left in the log is folded into its tables, so many seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) settle: u64,
    /// Runs once for each of these numbers of monitors and prints a row for each
    #[arg(long, value_name = "NUMBERS", num_args = 0..=1, value_delimiter = ',', require_equals = true,
          default_missing_value = "1000,10000,100000,1000000", conflicts_with_all = ["monitors", "file"],
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) growth: Option<Vec<u32>>,
    /// What the picks of monitors, their tokens and schedules come from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The database, which must not exist yet and is kept [default: one in a temporary directory]
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// Keeps everything in this Redis, which must be empty, instead of a file; one is started where none is named
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, default_missing_value = "",
          conflicts_with_all = ["file", "prepared", "kills"])]
    pub(crate) redis: Option<String>,
    /// So many servers share the Redis; each connection leads to one of them
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16),
          requires = "redis", conflicts_with_all = ["alerts", "overdue"])]
    pub(crate) servers: u32,
    /// Sends each heartbeat to the server that looks after its monitor, or to one that does not
    #[arg(long, value_enum, requires = "redis", conflicts_with = "rate")]
    pub(crate) to: Option<To>,
    /// Keeps the database as it is before the run in this folder, and copies it from there the next time
    #[arg(long, value_name = "FOLDER")]
    pub(crate) prepared: Option<PathBuf>,
    /// The server [default: the one beside this program, built first with cargo]
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,
    /// What the server logs, to a file
    #[arg(long, default_value = "info", value_name = "FILTER")]
    pub(crate) log: String,
    /// Prints a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// To which of several servers heartbeats go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// To the one that looks after the monitor
    Owners,
    /// To one that does not
    Strangers,
}

/// Kinds of schedules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mix {
    /// Intervals of one hour to a day
    #[default]
    Every,
    /// Times of the day in four time zones
    At,
    /// Cron in four time zones
    Cron,
    /// A third of each
    Mixed,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1e9 => Ok(number),
        _ => Err("must be a number above 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn growth_has_numbers_of_its_own() {
        let growth = |line: &str| {
            let arguments = Arguments::try_parse_from(line.split(' '));
            arguments.ok().map(|arguments| arguments.growth.unwrap_or_default())
        };
        assert_eq!(growth("load --growth --json"), Some(vec![1000, 10_000, 100_000, 1_000_000]));
        assert_eq!(growth("load --growth=10,20"), Some(vec![10, 20]));
        assert_eq!(growth("load --json"), Some(Vec::new()));
        assert_eq!(growth("load --growth=0"), None);
        assert_eq!(growth("load --growth --monitors 5"), None);
    }
}
