//! The figures of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::crash::failure::Failure;
use crate::crash::incidents::Deliveries;
use crate::crash::ledger::Ledger;

/// What happened in a run, over all lanes.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How often a server was killed.
    pub kills: u64,
    /// How often that was before it was ready.
    pub killed_starting: u64,
    /// The longest time that a lane took for its kills.
    pub killing: Duration,
    starts: Vec<Duration>,
    acknowledged: u64,
    found: u64,
    unanswered: u64,
    found_unanswered: u64,
    incidents: BTreeMap<String, u64>,
    recovered: u64,
    deliveries: Deliveries,
}

impl Summary {
    pub(crate) fn started(&mut self, took: Duration) {
        self.starts.push(took);
    }

    pub(crate) fn mean_start(&self) -> Duration {
        let count = u32::try_from(self.starts.len()).unwrap_or(u32::MAX).max(1);
        self.starts.iter().sum::<Duration>() / count
    }

    pub(crate) fn take(&mut self, ledger: &Ledger, deliveries: Deliveries) {
        self.acknowledged = ledger.acknowledged;
        self.found = ledger.found;
        self.unanswered = ledger.unanswered;
        self.found_unanswered = ledger.found_unanswered;
        for incident in ledger.incidents.values() {
            *self.incidents.entry(incident.cause.clone()).or_default() += 1;
            self.recovered += u64::from(incident.closing == "recovered");
        }
        self.deliveries = deliveries;
    }

    pub(crate) fn add(&mut self, lane: &Self) {
        self.kills += lane.kills;
        self.killed_starting += lane.killed_starting;
        self.killing = self.killing.max(lane.killing);
        self.starts.extend(&lane.starts);
        self.acknowledged += lane.acknowledged;
        self.found += lane.found;
        self.unanswered += lane.unanswered;
        self.found_unanswered += lane.found_unanswered;
        for (cause, count) in &lane.incidents {
            *self.incidents.entry(cause.clone()).or_default() += count;
        }
        self.recovered += lane.recovered;
        let (sum, more) = (&mut self.deliveries, &lane.deliveries);
        sum.owed += more.owed;
        sum.delivered += more.delivered;
        sum.grouped += more.grouped;
        sum.dead += more.dead;
        sum.duplicates += more.duplicates;
    }

    /// A run in which nothing happened proves nothing.
    pub(crate) fn require_events(&self) -> Result<(), Failure> {
        let causes = ["missed", "failed", "overrun", "value"];
        let absent = causes.iter().find(|cause| !self.incidents.contains_key(**cause));
        let nothing = match absent {
            Some(cause) => format!("incidents of the cause `{cause}`"),
            None if self.acknowledged != self.found => "agreement of acknowledged and found heartbeats".to_owned(),
            None if self.acknowledged < 10 * self.kills => "ten acknowledged heartbeats for each kill".to_owned(),
            None if self.unanswered == 0 => "heartbeats that were cut off by a kill".to_owned(),
            None if self.recovered == 0 => "recoveries".to_owned(),
            None if self.deliveries.delivered == 0 || self.deliveries.grouped == 0 => "deliveries".to_owned(),
            None => return Ok(()),
        };
        Err(Failure::Harness(format!("the run proves nothing, there were no {nothing}:\n{self}")))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut starts = self.starts.clone();
        starts.sort_unstable();
        let at = |percent: usize| starts.get(starts.len() * percent / 100).map_or(0, Duration::as_millis);
        let causes: Vec<_> = self.incidents.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        let Deliveries { owed, delivered, grouped, dead, duplicates } = self.deliveries;
        let rows = [
            (
                "kills",
                format!(
                    "{} in {:.1} s, {} of them before it was ready",
                    self.kills,
                    self.killing.as_secs_f64(),
                    self.killed_starting
                ),
            ),
            ("heartbeats acknowledged", self.acknowledged.to_string()),
            ("  of these found after the kill", self.found.to_string()),
            (
                "heartbeats cut off by a kill",
                format!("{}, of which {} are stored, once", self.unanswered, self.found_unanswered),
            ),
            (
                "incidents",
                format!(
                    "{} ({}), {} recovered",
                    self.incidents.values().sum::<u64>(),
                    causes.join(", "),
                    self.recovered
                ),
            ),
            ("notifications owed", owed.to_string()),
            ("  delivered", format!("{delivered}, and {grouped} in digests")),
            ("  refused by the receiver, dead", dead.to_string()),
            ("  taken more than once, same id", duplicates.to_string()),
            (
                "start to ready",
                format!(
                    "median {} ms, 95 % {} ms, most {} ms",
                    at(50),
                    at(95),
                    starts.last().map_or(0, Duration::as_millis)
                ),
            ),
        ];
        for (name, value) in rows {
            writeln!(f, "{name:<34}{value}")?;
        }
        Ok(())
    }
}
