//! What a process uses, as the system tells it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::failure::{Failure, Outcome};

/// How long a process has worked on the processors, in user and system mode together.
pub(crate) fn cpu_time(process: u32) -> Outcome<Duration> {
    let stat = read(process, "stat")?;
    let ticks = ticks(&stat).ok_or_else(|| Failure::new(format!("/proc/{process}/stat: {stat}")))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// How much of its memory is resident, in bytes.
pub(crate) fn resident(process: u32) -> Outcome<u64> {
    let status = read(process, "status")?;
    kibibytes(&status, "VmRSS:").map(|kib| kib * 1024).ok_or_else(|| Failure::new("no VmRSS"))
}

/// The length of a file, 0 where there is none.
pub(crate) fn file_length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

fn read(process: u32, what: &str) -> Outcome<String> {
    let path = format!("/proc/{process}/{what}");
    fs::read_to_string(&path).map_err(Failure::of(&path))
}

/// `utime` and `stime`; the name of the program before them may hold blanks and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_forms_of_proc() {
        let stat = "42 (a) (b c)) S 1 42 42 0 -1 4194304 100 0 0 0 70 30 0 0 20 0 5 0 1000 2 3";
        assert_eq!(ticks(stat), Some(100));
        assert_eq!(ticks("42 (a"), None);
        let status = "Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t  1234 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(1234));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_uses_something() {
        assert!(resident(std::process::id()).unwrap() > 100_000);
        assert!(cpu_time(std::process::id()).is_ok());
        assert!(cpu_time(u32::MAX).is_err());
    }
}
