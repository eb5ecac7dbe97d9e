//! Is everything in the database that was acknowledged?

use std::sync::atomic::{AtomicBool, Ordering};

use heartbeat_engine::{HistoryItem, HistoryQuery, MonitorId, Storage, Timestamp};

use crate::failure::{Failure, Outcome};
use crate::ledger::Ledger;
use crate::population::{FIRST_PINGS, monitor_id};
use crate::random::Random;
use crate::store::Store;

const PAGE: usize = 4096;
/// Monitors whose histories are read.
const SAMPLE: u32 = 100;
/// The heartbeats of a monitor that are kept at least.
const KEPT: u64 = 100;

/// What was found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    /// Heartbeats, beyond those that the monitors began with.
    pub(crate) heartbeats: u64,
    /// Monitors that are down.
    pub(crate) down: u64,
    /// When the last of these was found to be down.
    pub(crate) last_detected_at: Option<Timestamp>,
}

/// Opens the store of a server that has ended and compares it with what was acknowledged.
pub(crate) async fn check(store: &Store, ledger: &Ledger, seed: u64, interrupted: &AtomicBool) -> Outcome<Found> {
    let storage = store.open(false).await?;
    let (mut after, mut monitors, mut found) = (None, 0, Found::default());
    loop {
        let page = storage.monitors(after, PAGE).await.map_err(Failure::of("the monitors"))?;
        after = page.items.last().map(heartbeat_engine::Record::id);
        for record in &page.items {
            if let Some(incident) = &record.health.incident {
                found.down += 1;
                found.last_detected_at = found.last_detected_at.max(Some(incident.detected_at));
            }
            let Some(n) = number(record.id()).filter(|n| *n < ledger.monitors()) else { continue };
            monitors += 1;
            found.heartbeats += count_is_right(ledger, n, record.health.ping_count)?;
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new("interrupted"));
        }
        if !page.more {
            break;
        }
    }
    if monitors != ledger.monitors() {
        return Err(Failure::new(format!("{monitors} monitors are stored; there were {}", ledger.monitors())));
    }
    let mut random = Random::new(seed);
    for _ in 0..SAMPLE.min(monitors) {
        let n = u32::try_from(random.below(monitors.into())).unwrap_or_default();
        history_is_right(&*storage, n).await?;
    }
    Ok(found)
}

/// The monitor that an id was made for; `None` for another one.
fn number(id: MonitorId) -> Option<u32> {
    let n = id.as_bytes().last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))?;
    (monitor_id(n) == id).then_some(n)
}

fn count_is_right(ledger: &Ledger, n: u32, stored: u64) -> Outcome<u64> {
    let (must, may) = ledger.bounds(n);
    let came = stored.checked_sub(FIRST_PINGS);
    match came {
        Some(came) if (must..=may).contains(&came) => Ok(came),
        _ => Err(Failure::new(format!(
            "job-{n} has {stored} heartbeats; it began with {FIRST_PINGS}, {must} were acknowledged, and at most {may} were sent"
        ))),
    }
}

/// Its newest heartbeats are there, without a gap.
async fn history_is_right(storage: &dyn Storage, n: u32) -> Outcome<()> {
    let wrong = |what: String| Failure::new(format!("the history of job-{n}: {what}"));
    let monitor = monitor_id(n);
    let loaded = storage.load(&[monitor]).await.map_err(|error| wrong(error.to_string()))?;
    let count = loaded.into_iter().flatten().next().map_or(0, |record| record.health.ping_count);
    let query = HistoryQuery::Pings { monitor, before: None };
    let page = storage.history(&query, KEPT as usize).await.map_err(|error| wrong(error.to_string()))?;
    let numbers = page.items.iter().filter_map(|item| match item {
        HistoryItem::Ping(entry) => Some(entry.n),
        _ => None,
    });
    let numbers: Vec<u64> = numbers.collect();
    let wanted: Vec<u64> = (count.saturating_sub(KEPT) + 1..=count).rev().collect();
    if numbers == wanted {
        return Ok(());
    }
    Err(wrong(format!("it has {count} heartbeats, and of the newest {} are kept: {numbers:?}", numbers.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Mix;
    use crate::population::Population;

    #[test]
    fn a_count_must_lie_between_what_was_acknowledged_and_what_was_sent() {
        let mut ledger = Ledger::new(1);
        ledger.acknowledge(0);
        ledger.acknowledge(0);
        ledger.doubt(0);
        let came = |stored| count_is_right(&ledger, 0, stored).ok();
        assert_eq!((came(0), came(1), came(2)), (None, None, None));
        assert_eq!((came(3), came(4), came(5)), (Some(2), Some(3), None));
    }

    #[test]
    fn a_database_is_compared_with_what_was_acknowledged() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::File(folder.path().join("heartbeat.db"));
        let go_on = AtomicBool::new(false);
        let population = Population { monitors: 10, mix: Mix::Mixed, seed: 1 };
        runtime.block_on(population.write(&store, Timestamp::from_secs(1_795_000_000), &go_on)).unwrap();
        let mut ledger = Ledger::new(10);
        let look =
            |ledger: &Ledger| runtime.block_on(check(&store, ledger, 1, &go_on)).map_err(|error| error.to_string());
        let found = look(&ledger).unwrap();
        assert_eq!((found.heartbeats, found.down), (0, 0));
        assert!(look(&Ledger::new(11)).unwrap_err().contains("10 monitors are stored; there were 11"));
        ledger.acknowledge(3);
        let missing = look(&ledger).unwrap_err();
        assert!(missing.contains("job-3 has 1 heartbeats") && missing.contains("1 were acknowledged"), "{missing}");
    }

    #[test]
    fn ids_lead_back_to_their_numbers() {
        for n in [0, 1, 999_999, u32::MAX] {
            assert_eq!(number(monitor_id(n)), Some(n));
        }
        assert_eq!(number(MonitorId::from_bytes([1; 16])), None);
    }
}
