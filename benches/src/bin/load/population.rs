//! Fills a database with monitors before the server opens it, through the library: the rules make their records, and the
//! storage writes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heartbeat_benches::id;
use heartbeat_engine::step::{Draft, Surroundings};
use heartbeat_engine::{
    Batch, Grace, LocalTime, Monitor, MonitorId, MonitorSpec, Outcome as Written, PartitionId, Ping, Rotating,
    Schedule, Signal, Storage, Timestamp, Token, Transition, Version, Weekdays, Zone,
};
use tokio::task::JoinSet;

use crate::arguments::Mix;
use crate::failure::{Failure, Outcome};
use crate::random::Random;
use crate::request::token;
use crate::store::Store;

/// Heartbeats that each monitor has before the run.
pub(crate) const FIRST_PINGS: u64 = 1;
/// In large batches pages that many monitors share are written once.
const PER_BATCH: usize = 16_384;
const BATCHES_AT_ONCE: usize = 2;
/// How long after its expected heartbeat a monitor goes down: long after any run.
pub(crate) const GRACE: Duration = Duration::from_secs(12 * 3600);
const MINUTE_MS: u64 = 60_000;
const PERIODS_S: [u64; 4] = [3600, 2 * 3600, 6 * 3600, 86_400];

/// Which monitors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Population {
    /// How many.
    pub(crate) monitors: u32,
    /// Their schedules.
    pub(crate) mix: Mix,
    /// What their tokens and times come from.
    pub(crate) seed: u64,
}

impl Population {
    /// Writes all of them, each of which has reported once and is up, into a new store. `now` is the present time.
    pub(crate) async fn write(self, store: &Store, now: Timestamp, interrupted: &AtomicBool) -> Outcome<()> {
        // Nothing is promised of these to anybody; a file is synced when it is closed.
        let storage = store.open(true).await?;
        let mut under_way = JoinSet::new();
        let partition = |n: &u32| PartitionId::of(monitor_id(*n), storage.partitions());
        // A table is filled fastest in the order of its keys.
        let mut numbers: Vec<u32> = (0..self.monitors).collect();
        numbers.sort_unstable_by_key(|n| (partition(n), monitor_id(*n)));
        let of_partitions = numbers.chunk_by(|a, b| partition(a) == partition(b));
        for some in of_partitions.flat_map(|numbers| numbers.chunks(PER_BATCH)) {
            let (storage, some) = (storage.clone(), some.to_vec());
            under_way.spawn(async move { self.write_some(&*storage, &some, now).await });
            if under_way.len() >= BATCHES_AT_ONCE {
                finish_one(&mut under_way).await?;
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::new("interrupted"));
            }
        }
        while !under_way.is_empty() {
            finish_one(&mut under_way).await?;
        }
        Ok(())
    }

    async fn write_some(self, storage: &dyn Storage, numbers: &[u32], now: Timestamp) -> Outcome<()> {
        let transitions = numbers.iter().map(|n| self.transition(*n, now)).collect::<Outcome<Vec<_>>>()?;
        let first = numbers.first().copied().unwrap_or_default();
        let partition = PartitionId::of(monitor_id(first), storage.partitions());
        let batch = Batch { partition, transitions, ..Batch::default() };
        let applied = storage.commit(&batch).await.map_err(Failure::of("the store"))?;
        match applied.transitions.into_iter().find(|outcome| *outcome != Written::Committed) {
            Some(outcome) => Err(Failure::new(format!("a monitor was not written: {outcome:?}"))),
            None => Ok(()),
        }
    }

    /// How the `n`-th comes to be: made, and reported once.
    fn transition(self, n: u32, now: Timestamp) -> Outcome<Transition> {
        let mut random = Random::new(self.seed ^ (u64::from(n) << 20));
        let schedule = schedule(self.mix, n, &mut random)?;
        let mut spec = MonitorSpec::new(format!("job-{n}"), schedule);
        spec.grace = Grace::Fixed(GRACE);
        spec.tags = vec![format!("team-{}", n % 100)];
        // An interval began within the last period, so intervals end, and deadlines come, evenly spread.
        let period = spec.schedule.period().map_or(MINUTE_MS, |period| u64::try_from(period.as_millis()).unwrap_or(0));
        let heard_at = now - Duration::from_millis(random.below(period));
        let made_at = heard_at - Duration::from_millis(1 + random.below(1000));
        let token = Token::new(token(self.seed, n)).map_err(Failure::of("a token"))?;
        let monitor = Monitor {
            id: monitor_id(n),
            token: Rotating::new(token),
            signing_secret: None,
            spec,
            revision: Version::FIRST,
            created_at: made_at,
            updated_at: made_at,
        };
        let mut draft = Draft::create(Arc::new(monitor), made_at, Surroundings::default());
        draft.ping(&Ping::new(Signal::Success), heard_at).map_err(Failure::of("a heartbeat"))?;
        draft.finish().ok_or_else(|| Failure::new("a monitor came to nothing"))
    }
}

async fn finish_one(under_way: &mut JoinSet<Outcome<()>>) -> Outcome<()> {
    match under_way.join_next().await {
        Some(done) => done.map_err(Failure::of("the population"))?,
        None => Ok(()),
    }
}

/// The id of the `n`-th monitor.
pub(crate) fn monitor_id(n: u32) -> MonitorId {
    id(u64::from(n))
}

fn schedule(mix: Mix, n: u32, random: &mut Random) -> Outcome<Schedule> {
    let kind = match (mix, n % 3) {
        (Mix::Every, _) | (Mix::Mixed, 0) => Mix::Every,
        (Mix::At, _) | (Mix::Mixed, 1) => Mix::At,
        (Mix::Cron, _) | (Mix::Mixed, _) => Mix::Cron,
    };
    let (hour, minute) = (random.below(24), random.below(60));
    let made = match kind {
        Mix::Cron => Schedule::cron(&format!("{minute} */{} * * *", 1 + hour % 6), zone(n)?),
        Mix::At => {
            let time = format!("{hour:02}:{minute:02}").parse::<LocalTime>().map_err(Failure::of("a time"))?;
            Schedule::at(&[time], Weekdays::EVERY_DAY, zone(n)?)
        }
        Mix::Every | Mix::Mixed => {
            let period = PERIODS_S[random.below(PERIODS_S.len() as u64) as usize];
            Schedule::every(Duration::from_secs(period))
        }
    };
    made.map_err(Failure::of("a schedule"))
}

fn zone(n: u32) -> Outcome<Zone> {
    const NAMES: [&str; 4] = ["UTC", "Europe/Berlin", "Asia/Shanghai", "America/New_York"];
    Zone::named(NAMES[n as usize % NAMES.len()]).map_err(Failure::of("a time zone"))
}
