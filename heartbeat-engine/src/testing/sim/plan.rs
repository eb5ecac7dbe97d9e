//! What a seed makes of a world: its nodes, monitors, jobs and channels. Faults are in [`super::faults`].

use std::sync::Arc;
use std::time::Duration;

use super::rng::Rng;
use crate::{
    Arm, Grace, LocalTime, Monitor, MonitorId, MonitorSpec, PartitionId, Rotating, Route, Schedule, Timestamp, Token,
    Version, Weekdays, Zone,
};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// What kind of time a world has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Climate {
    /// Hours full of every fault.
    Stormy,
    /// Days, with a restart at the same time of each of them.
    Daily,
    /// A node whose wall clock is set by hours and days.
    Steps,
    /// Hours with few faults.
    Quiet,
}

/// How a job behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Behaviour {
    /// It reports in every window, and tries until it is acknowledged.
    Healthy,
    /// It is healthy until then, and silent from then on.
    Dies(Duration),
    /// It is silent between these.
    Returns(Duration, Duration),
    /// It leaves reports out.
    Flaky,
    /// It often says that it failed.
    Failing,
    /// Its runs often hang.
    Hanging,
    /// It is offline now and then, and sends later what it could not, with its own times.
    Buffering,
}

#[derive(Clone, Debug)]
pub(super) struct MonitorPlan {
    pub(super) partition: u16,
    pub(super) spec: MonitorSpec,
    pub(super) behaviour: Behaviour,
    /// Whether its runs have names.
    pub(super) run_ids: bool,
    /// How far the sender's clock is off, where it sends its time.
    pub(super) claim_error: Option<i64>,
    /// Whether somebody edits, pauses and removes it.
    pub(super) tampered: bool,
    pub(super) made_after: Duration,
    /// How long it tries a report, if not for as long as the grace lets it.
    pub(super) patience: Option<Duration>,
    /// Whether it leaves its reports out in maintenance windows.
    pub(super) rests: bool,
    /// The monitors that this one depends on.
    pub(super) parents: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) climate: Climate,
    pub(super) nodes: usize,
    pub(super) partitions: u16,
    /// How far a node's wall clock is off at most, in milliseconds.
    pub(super) skew: i64,
    pub(super) start: Timestamp,
    /// Whether it lasts for some minutes only.
    pub(super) brief: bool,
    /// How long faults happen.
    pub(super) faulty: Duration,
    /// How long none does, afterwards.
    pub(super) calm: Duration,
    /// Whether a batch may arrive a second time when others were written after it.
    pub(super) late_repeats: bool,
    pub(super) ttl: Duration,
    pub(super) batch_max: usize,
    pub(super) outages_max: usize,
    pub(super) monitors: Vec<MonitorPlan>,
    pub(super) channels: Vec<String>,
    pub(super) watcher_channels: Vec<String>,
    pub(super) routes: Vec<Route>,
}

impl Plan {
    pub(super) fn new(seed: u64, options: &super::Options, rng: &mut Rng) -> Self {
        let super::Options { days, brief, .. } = *options;
        let climate = match rng.below(100) {
            0..66 => Climate::Stormy,
            66..73 => Climate::Daily,
            73..81 => Climate::Steps,
            _ => Climate::Quiet,
        };
        // Several nodes cost more to simulate: their worlds are fewer and shorter, and have schedules that are found sooner.
        let nodes = match climate {
            Climate::Steps => 1,
            Climate::Daily => *rng.pick(&[1, 1, 1, 2]),
            Climate::Stormy | Climate::Quiet => *rng.pick(&[1, 1, 1, 2, 3]),
        };
        let partitions = if climate == Climate::Daily { 1 } else { *rng.pick(&[1, 1, 2, 3]) };
        let skew = match climate {
            Climate::Steps => 0,
            Climate::Daily => 1_000,
            Climate::Stormy | Climate::Quiet => *rng.pick(&[1_000, 2_000, 20_000, 28_000]),
        };
        let channels: Vec<String> = (0..rng.between(2, 3)).map(|n| format!("channel-{n}")).collect();
        let faulty = match (days, climate) {
            _ if brief => rng.secs(960, 1500),
            (Some(days), _) => Duration::from_secs(days.saturating_mul(24 * HOUR)),
            (None, Climate::Daily) => Duration::from_secs(rng.below(2) * 24 * HOUR + 50 * HOUR),
            (None, Climate::Steps) => rng.secs(3 * HOUR, 8 * HOUR),
            (None, Climate::Stormy | Climate::Quiet) if nodes > 1 => rng.secs(HOUR, 3 * HOUR),
            (None, Climate::Stormy | Climate::Quiet) => rng.secs(2 * HOUR, 6 * HOUR),
        };
        let mut plan = Self {
            seed,
            climate,
            nodes,
            partitions,
            skew,
            start: start(rng),
            brief,
            faulty,
            calm: Duration::ZERO,
            late_repeats: rng.percent(30),
            ttl: Duration::from_secs(10),
            batch_max: *rng.pick(&[1, 2, 4, 100]),
            outages_max: *rng.pick(&[4, 16, 1000, 1000]),
            monitors: Vec::new(),
            watcher_channels: if rng.percent(50) { vec![channels[0].clone()] } else { Vec::new() },
            routes: super::policies::routes(&channels, climate == Climate::Daily, rng),
            channels,
        };
        let count = rng.between(3, 7);
        plan.monitors = (0..count).map(|n| plan.monitor(n, rng)).collect();
        for monitor in 0..plan.monitors.len() {
            let parents = super::policies::possible_parents(&plan, monitor).filter(|_| rng.percent(20)).collect();
            plan.monitors[monitor].parents = parents;
        }
        plan.calm = plan.monitors.iter().map(|monitor| found_within(&monitor.spec)).max().unwrap_or_default();
        plan.calm += Duration::from_secs(20 * MINUTE);
        if brief {
            plan.calm = Duration::from_secs(2 * MINUTE);
        }
        plan
    }

    fn monitor(&self, n: i64, rng: &mut Rng) -> MonitorPlan {
        let mut spec = self.schedule(&format!("m{n}"), rng);
        let short = spec.schedule.period().is_some_and(|period| period <= Duration::from_secs(15 * MINUTE));
        spec.failure_threshold = if short { *rng.pick(&[1, 1, 1, 2, 3]) } else { 1 };
        spec.recovery_threshold = *rng.pick(&[1, 1, 1, 1, 2]);
        spec.arm = if rng.percent(12) { Arm::FirstPing } else { Arm::Created };
        spec.channels = self.channels.iter().filter(|_| rng.percent(60)).cloned().collect();
        if spec.channels.is_empty() {
            spec.channels.push(rng.pick(&self.channels).clone());
        }
        super::policies::adorn(&mut spec, self.climate == Climate::Daily, rng);
        let behaviour = self.behaviour(rng);
        if behaviour == Behaviour::Hanging || rng.percent(25) {
            spec.max_runtime = Some(rng.secs(2 * MINUTE, 8 * MINUTE));
        }
        let error = 59_000 - self.skew;
        MonitorPlan {
            partition: u16::try_from(n).unwrap_or(0) % self.partitions,
            spec,
            behaviour,
            run_ids: rng.percent(60),
            claim_error: (self.climate != Climate::Steps && rng.percent(25)).then(|| rng.between(-error, error)),
            tampered: rng.percent(25),
            made_after: rng.secs(5, if self.brief { MINUTE } else { 5 * MINUTE }),
            patience: rng.percent(50).then(|| rng.secs(5, 40)),
            rests: rng.percent(50),
            parents: Vec::new(),
        }
    }

    fn behaviour(&self, rng: &mut Rng) -> Behaviour {
        let seconds = self.faulty.as_secs();
        let some_time = |rng: &mut Rng| rng.secs(seconds / 10, seconds);
        match rng.below(100) {
            0..42 => Behaviour::Healthy,
            42..66 => Behaviour::Dies(if rng.percent(20) { Duration::ZERO } else { some_time(rng) }),
            66..76 => {
                let (a, b) = (some_time(rng), some_time(rng));
                Behaviour::Returns(a.min(b), a.max(b))
            }
            76..84 => Behaviour::Flaky,
            84..91 => Behaviour::Failing,
            91..96 => Behaviour::Hanging,
            _ => Behaviour::Buffering,
        }
    }

    fn schedule(&self, slug: &str, rng: &mut Rng) -> MonitorSpec {
        // What clocks may differ by must fit in the grace (S8.2).
        let least = MINUTE + 4 * self.skew.unsigned_abs().div_ceil(1000);
        let daily = self.climate == Climate::Daily;
        let brief = self.is_shared() && !daily;
        let kind = if self.climate == Climate::Steps { 0 } else { rng.below(3) };
        if kind == 0 {
            let periods: &[u64] = if daily { &[30, 60, 360, 720, 1440] } else { &[3, 5, 10, 15, 30, 60] };
            let periods = if brief { &periods[..5] } else { periods };
            let period = rng.pick(periods) * MINUTE;
            let graces = [period / 5, period / 2, 2 * MINUTE, period].map(|grace| grace.clamp(least, 2 * HOUR));
            return with_grace(slug, Schedule::every(Duration::from_secs(period)), *rng.pick(&graces));
        }
        let zone = zone(rng);
        if kind == 1 {
            let steps: &[usize] = if brief { &[1] } else { &[1, 2] };
            let times = if daily { times(rng.between(0, 23), 24, rng) } else { times(0, *rng.pick(steps), rng) };
            let graces: &[u64] = if brief { &[5, 20] } else { &[5, 20, 60] };
            let grace = rng.pick(graces) * MINUTE;
            let mut spec = with_grace(slug, Schedule::at(&times, Weekdays::EVERY_DAY, zone), grace.max(least));
            if daily && rng.percent(30) {
                spec.grace = Grace::EndOfDay;
            }
            return with_early(spec, rng);
        }
        let expressions: &[&str] = if daily {
            &["30 2 * * *", "5 */6 * * *", "0 1,13 * * *", "15 * * * *"]
        } else {
            &["*/5 * * * *", "*/15 * * * *", "7,37 * * * *", "0 * * * *", "20 */2 * * *"]
        };
        let expressions = if brief { &expressions[..4] } else { expressions };
        let expression = expressions[rng.index(expressions.len())];
        let grace = rng.pick(&[2, 10, 30]) * MINUTE;
        with_early(with_grace(slug, Schedule::cron(expression, zone), grace.max(least)), rng)
    }

    /// The `generation`-th monitor that is made after this plan.
    pub(super) fn made(&self, monitor: usize, generation: u64, spec: &MonitorSpec, now: Timestamp) -> Monitor {
        let number = u64::try_from(monitor).unwrap_or(0) + 100 * generation;
        Monitor {
            id: super::super::fixtures::monitor_id_in(PartitionId(self.monitors[monitor].partition), number),
            token: Rotating::new(Token::new(format!("token-{number:08}")).unwrap()),
            signing_secret: None,
            spec: spec.clone(),
            revision: Version::FIRST,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether several nodes share the store.
    pub(super) const fn is_shared(&self) -> bool {
        self.nodes > 1
    }

    /// The partition whose holder has a channel's messages delivered.
    pub(super) fn home_of_channel(&self, channel: &str) -> PartitionId {
        PartitionId::of_channel(channel, self.partitions)
    }

    /// Which of the plan's monitors has the id.
    pub(super) fn index_of(id: MonitorId) -> usize {
        usize::try_from(super::super::fixtures::monitor_number(id) % 100).unwrap_or(0)
    }

    pub(super) fn calm_from(&self) -> Timestamp {
        self.start + self.faulty
    }

    pub(super) fn end(&self) -> Timestamp {
        self.calm_from() + self.calm
    }
}

/// How long after the last outage a silent job is found at the latest (S6.4).
fn found_within(spec: &MonitorSpec) -> Duration {
    let grace = spec.grace.length();
    let gap = spec.schedule.period().unwrap_or_else(|| gap(&spec.schedule));
    let whole = if spec.grace == Grace::EndOfDay { Duration::from_secs(24 * HOUR) } else { grace };
    2 * (gap + whole) + grace + (spec.failure_threshold - 1) * gap
}

/// The usual time between two occurrences of a fixed schedule.
fn gap(schedule: &Schedule) -> Duration {
    let mut at = Timestamp::from_secs(1_790_000_000);
    let mut longest = Duration::ZERO;
    for _ in 0..30 {
        let next = schedule.next_after(at);
        longest = longest.max(next.since(at));
        at = next;
    }
    longest
}

fn with_grace(slug: &str, schedule: Result<Schedule, crate::ScheduleError>, grace_s: u64) -> MonitorSpec {
    let mut spec = MonitorSpec::new(slug, schedule.expect("the plan knows schedules"));
    spec.grace = Grace::Fixed(Duration::from_secs(grace_s));
    spec
}

fn with_early(mut spec: MonitorSpec, rng: &mut Rng) -> MonitorSpec {
    if rng.percent(30) {
        spec.early = rng.secs(MINUTE, 4 * MINUTE);
    }
    spec
}

fn times(first: i64, step: usize, rng: &mut Rng) -> Vec<LocalTime> {
    let minute = u32::try_from(rng.below(60)).unwrap_or(0);
    let hours = (0..24).skip(usize::try_from(first).unwrap_or(0)).step_by(step);
    hours.filter_map(|hour| LocalTime::new(u32::try_from(hour).ok()?, minute, 0)).collect()
}

fn zone(rng: &mut Rng) -> Zone {
    match rng.below(5) {
        0 => Zone::named("Europe/Berlin"),
        1 => Zone::named("America/New_York"),
        2 => Zone::named("Asia/Shanghai"),
        _ => Ok(Zone::utc()),
    }
    .expect("a known zone")
}

/// Often just before the clocks change somewhere.
fn start(rng: &mut Rng) -> Timestamp {
    let day = match rng.below(6) {
        0 => 1_774_656_000,
        1 => 1_792_886_400,
        2 => 1_772_928_000,
        _ => 1_780_272_000 + 86_400 * rng.between(0, 100),
    };
    Timestamp::from_secs(day) + rng.secs(0, 24 * HOUR)
}

/// A spec that differs from this one.
pub(super) fn edited(plan: &Plan, spec: &MonitorSpec, rng: &mut Rng) -> Arc<MonitorSpec> {
    let mut next = spec.clone();
    match rng.below(9) {
        0 => {
            let other = plan.schedule(&spec.slug, rng);
            if found_within(&other) <= plan.calm {
                next.schedule = other.schedule.clone();
                next.grace = other.grace;
                next.early = other.early;
            }
        }
        1 => {
            let least = MINUTE + 4 * plan.skew.unsigned_abs().div_ceil(1000);
            if next.grace != Grace::EndOfDay {
                next.grace = Grace::Fixed(rng.secs(least, (least * 3).max(next.grace.length().as_secs())));
            }
        }
        2 => next.failure_threshold = *rng.pick(&[1, 2]),
        3 => next.recovery_threshold = *rng.pick(&[1, 2]),
        4..6 => super::policies::adorn(&mut next, plan.climate == Climate::Daily, rng),
        6 => {
            next.slug = match rng.below(4) {
                // Somebody else has it, unless that one has another by now.
                0 => plan.monitors.first().map_or_else(Default::default, |first| first.spec.slug.clone()),
                n => format!("m{n}-renamed").into(),
            }
        }
        _ => next.channels = vec![rng.pick(&plan.channels).clone()],
    }
    if found_within(&next) > plan.calm { Arc::new(spec.clone()) } else { Arc::new(next) }
}
