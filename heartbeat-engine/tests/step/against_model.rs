//! `step` against a plain model that replays the whole history, and what must hold whatever happens.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Job, midnight, monitor, recurring, window_at};
use crate::model::{Happening, Plan, Said, Slack, Told, Wish, Word, replay};
use heartbeat_engine::step::Edit;
use heartbeat_engine::step::{Draft, Event, Surroundings};
use heartbeat_engine::{
    Arm, Change, Expectation, Grace, LocalTime, Maintenance, MonitorSpec, NotificationKind, Outage, Ping, Record,
    RunId, Schedule, Signal, State, StateChange, Timestamp, Transition, Weekdays, Zone,
};
use proptest::prelude::*;

const CREATED: i64 = 600;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_secs(midnight().as_secs() + minute * 60)
}

fn minutes(count: i64) -> Duration {
    Duration::from_secs(60 * u64::try_from(count).unwrap())
}

fn spec(wish: &Wish) -> MonitorSpec {
    let schedule = match &wish.plan {
        Plan::Every(period) => Schedule::every(minutes(*period)).unwrap(),
        Plan::Daily(times) if times.iter().all(|time| time % 60 == times[0] % 60) && times.len() > 2 => {
            let hours: Vec<String> = times.iter().map(|time| (time / 60).to_string()).collect();
            Schedule::cron(&format!("{} {} * * *", times[0] % 60, hours.join(",")), Zone::utc()).unwrap()
        }
        Plan::Daily(times) => {
            let times: Vec<LocalTime> =
                times.iter().map(|time| format!("{:02}:{:02}", time / 60, time % 60).parse().unwrap()).collect();
            Schedule::at(&times, Weekdays::EVERY_DAY, Zone::utc()).unwrap()
        }
    };
    let mut spec = MonitorSpec::new("job", schedule);
    spec.grace = match wish.slack {
        Slack::Minutes(count) => Grace::Fixed(minutes(count)),
        Slack::EndOfDay => Grace::EndOfDay,
    };
    spec.early = minutes(wish.early);
    spec.failure_threshold = wish.failure_threshold;
    spec.recovery_threshold = wish.recovery_threshold;
    spec.max_runtime = wish.max_runtime.map(minutes);
    spec.arm = if wish.first_ping { Arm::FirstPing } else { Arm::Created };
    spec.value_max = Some(10.0);
    spec.channels = vec!["ops".to_owned()];
    spec
}

fn event(happening: &Happening) -> Event {
    match happening {
        Happening::Look | Happening::Outage(_) => Event::Wake,
        Happening::Pause { manual } => Event::Edit(Edit::Pause { manual_resume: *manual }),
        Happening::Resume => Event::Edit(Edit::Resume),
        Happening::Wish(wish) => Event::Edit(Edit::Spec { spec: Box::new(spec(wish)), expected: None, secret: None }),
        Happening::Ping { said, run, claim } => {
            let mut ping = Ping::new(match said {
                Said::Success | Said::BadValue => Signal::Success,
                Said::Start => Signal::Start,
                Said::Fail => Signal::Fail,
                Said::Log => Signal::Log,
                Said::Report => Signal::Report,
            });
            ping.value = Some(if *said == Said::BadValue { 11.0 } else { 10.0 });
            ping.run = run.map(|n| RunId::from_bytes([n; 16]));
            ping.claimed_at = claim.map(at);
            Event::Ping(Box::new(ping))
        }
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let daily = |times: Vec<i64>| Plan::Daily(times);
    prop_oneof![
        3 => (2_i64..200).prop_map(Plan::Every),
        1 => prop::sample::select(vec![vec![605], vec![630, 960], vec![0, 720], vec![10, 60, 65]]).prop_map(daily),
        2 => (1_i64..5, 0_i64..60).prop_map(move |(step, minute)| {
            daily((0..24).step_by(usize::try_from(step).unwrap()).map(|hour| hour * 60 + minute).collect())
        }),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    let thresholds = (1_u32..4, 1_u32..3);
    let slack = prop_oneof![4 => (1_i64..150).prop_map(Slack::Minutes), 1 => Just(Slack::EndOfDay)];
    let max_runtime = prop::option::of(1_i64..120);
    (plan(), slack, 0_i64..12, thresholds, max_runtime, prop::bool::weighted(0.2)).prop_map(
        |(plan, slack, early, thresholds, max_runtime, first_ping)| {
            let every = matches!(plan, Plan::Every(_));
            let tight = plan == Plan::Daily(vec![10, 60, 65]);
            Wish {
                slack: if every && slack == Slack::EndOfDay { Slack::Minutes(7) } else { slack },
                early: if every || early < 4 {
                    0
                } else if tight {
                    4
                } else {
                    early
                },
                plan,
                failure_threshold: thresholds.0,
                recovery_threshold: thresholds.1,
                max_runtime,
                first_ping,
            }
        },
    )
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        6 => Just(Said::Success),
        3 => Just(Said::Start),
        2 => Just(Said::Fail),
        1 => Just(Said::Log),
        1 => Just(Said::Report),
        1 => Just(Said::BadValue),
    ]
}

/// A happening before its time is known: ages of claimed times and lengths of outages are relative.
fn happening() -> impl Strategy<Value = Happening> {
    let run = prop::option::weighted(0.4, 1_u8..6);
    let claim = prop::option::weighted(0.3, prop_oneof![-1_i64..4, 0_i64..300]);
    prop_oneof![
        10 => (said(), run, claim).prop_map(|(said, run, claim)| Happening::Ping { said, run, claim }),
        3 => Just(Happening::Look),
        5 => prop_oneof![1_i64..5, 1_i64..60, 1_i64..900].prop_map(Happening::Outage),
        1 => any::<bool>().prop_map(|manual| Happening::Pause { manual }),
        1 => Just(Happening::Resume),
        1 => wish().prop_map(Happening::Wish),
    ]
}

fn history(of: impl Strategy<Value = Happening>) -> impl Strategy<Value = Vec<(i64, Happening)>> {
    let gap = prop_oneof![0_i64..3, 1_i64..60, 1_i64..400];
    prop::collection::vec((gap, of), 1..25).prop_map(|rows| {
        let mut now = CREATED;
        rows.into_iter()
            .map(|(gap, happening)| {
                now += gap;
                let happening = match happening {
                    Happening::Outage(length) => {
                        now += length;
                        Happening::Outage(now - length)
                    }
                    Happening::Ping { said, run, claim } => {
                        Happening::Ping { said, run, claim: claim.map(|age| now - age) }
                    }
                    other => other,
                };
                (now, happening)
            })
            .collect()
    })
}

/// A maintenance window: once from a minute on, or at a minute of each hour or day.
#[derive(Clone, Copy, Debug)]
enum Planned {
    Once(i64, i64),
    Hourly(i64, i64),
    Daily(i64, i64),
}

impl Planned {
    fn window(self) -> Arc<Maintenance> {
        match self {
            Self::Once(from, length) => window_at(at(from), at(from + length)),
            Self::Hourly(minute, length) => recurring(&format!("{minute} * * * *"), &format!("{length}m")),
            Self::Daily(minute, length) => {
                recurring(&format!("{} {} * * *", minute % 60, minute / 60), &format!("{length}m"))
            }
        }
    }

    /// Every window from the day before to three days after `until`.
    fn spans(self, until: i64) -> Vec<(i64, i64)> {
        let (first, step, length) = match self {
            Self::Once(from, length) => return vec![(from, from + length)],
            Self::Hourly(minute, length) => (minute, 60, length),
            Self::Daily(minute, length) => (minute, 1440, length),
        };
        (first - 1440..until + 3 * 1440).step_by(step).map(|from| (from, from + length)).collect()
    }
}

fn windows() -> impl Strategy<Value = Vec<Planned>> {
    let once = (CREATED - 100..CREATED + 3000, prop_oneof![1_i64..30, 1_i64..2000]);
    let one = prop_oneof![
        4 => once.prop_map(|(from, length)| Planned::Once(from, length)),
        1 => (0_i64..60, 1_i64..60).prop_map(|(minute, length)| Planned::Hourly(minute, length)),
        2 => (0_i64..1440, prop_oneof![1_i64..90, 1_i64..1440]).prop_map(|(minute, length)| Planned::Daily(minute, length)),
    ];
    let several =
        prop::collection::vec(one, 1..5).prop_filter("time remains between them", |planned| leave_time(planned));
    prop_oneof![1 => Just(Vec::new()), 3 => several]
}

/// Whether time remains between the windows: the step joins a limited number of them.
fn leave_time(windows: &[Planned]) -> bool {
    let mut spans: Vec<_> = windows.iter().flat_map(|planned| planned.spans(6 * 1440)).collect();
    spans.sort_unstable();
    let mut begun = (i64::MIN, i64::MIN);
    spans.into_iter().all(|(from, to)| {
        begun = if from <= begun.1 { (begun.0, begun.1.max(to)) } else { (from, to) };
        begun.1 - begun.0 < 4000
    })
}

/// An edit that keeps the plan and changes the rest.
fn same_plan(wish: &Wish, mut history: Vec<(i64, Happening)>) -> Vec<(i64, Happening)> {
    for (_, happening) in &mut history {
        if let Happening::Wish(other) = happening
            && other.failure_threshold != 1
            && (matches!(wish.plan, Plan::Daily(_)) || other.slack != Slack::EndOfDay)
        {
            (other.plan, other.early) = (wish.plan.clone(), wish.early);
        }
    }
    history
}

/// Everything that the model speaks of.
#[derive(Debug, PartialEq)]
struct Seen {
    word: Word,
    counts: (u32, u32),
    awaited: Option<Expectation>,
    runs: Vec<Option<RunId>>,
    incidents: Vec<(Timestamp, Option<Timestamp>)>,
    told: Vec<Told>,
}

fn by_model(wish: &Wish, windows: &[(i64, i64)], history: &[(i64, Happening)]) -> Seen {
    let model = replay(wish, CREATED, windows, history);
    Seen {
        word: model.word,
        counts: (model.failures, model.successes),
        awaited: model.shown().map(|awaited| Expectation {
            occurrence: at(awaited.occurrence),
            deadline: at(awaited.deadline),
            excused: awaited.excused,
        }),
        runs: model.runs().into_iter().map(|id| id.map(|n| RunId::from_bytes([n; 16]))).collect(),
        incidents: model.incidents.iter().map(|(opened, closed)| (at(*opened), closed.map(at))).collect(),
        told: model.told,
    }
}

fn by_step(job: &Job) -> Seen {
    let health = &job.record.health;
    Seen {
        word: match health.state {
            State::New => Word::New,
            State::Up => Word::Up,
            State::Down => Word::Down,
            State::Paused => Word::Paused,
        },
        counts: (health.failures, health.successes),
        awaited: health.expectation,
        runs: health.runs.iter().map(|run| run.id).collect(),
        incidents: job.spans(),
        told: job.told().into_iter().map(told).collect(),
    }
}

fn told(kind: NotificationKind) -> Told {
    match kind {
        NotificationKind::Down => Told::Down,
        NotificationKind::Recovered => Told::Recovered,
        NotificationKind::Closed => Told::Closed,
        NotificationKind::Report => Told::Report,
        other => panic!("{other} is told by nobody here"),
    }
}

/// What must hold after every step.
fn check(job: &Job, before: &Record, happening: &Happening, now: Timestamp) -> Result<(), TestCaseError> {
    let health = &job.record.health;
    prop_assert_eq!(health.incident.is_some(), health.state == State::Down, "open exactly while down");
    prop_assert_eq!(
        job.incidents.iter().filter(|incident| incident.is_open()).count(),
        usize::from(health.incident.is_some())
    );
    for pair in job.incidents.windows(2) {
        prop_assert!(pair[0].closed_at.is_some_and(|closed| closed <= pair[1].opened_at), "S8.4: {:?}", job.spans());
    }
    for incident in &job.incidents {
        prop_assert!(incident.closed_at.is_none_or(|closed| incident.opened_at <= closed));
        prop_assert!(incident.opened_at <= incident.detected_at);
    }
    for (index, entry) in job.pings.iter().enumerate() {
        prop_assert_eq!(entry.n, index as u64 + 1, "pings are numbered without a gap");
    }
    prop_assert_eq!(health.ping_count, job.pings.len() as u64);
    if health.state != State::Down {
        prop_assert!(health.failures < job.record.spec().failure_threshold.max(before.spec().failure_threshold) + 3);
        prop_assert_eq!(health.successes, 0);
        prop_assert!(health.wake_at() >= now, "nothing stays due: {} at {now}", health.wake_at());
    }
    prop_assert!(health.state != State::Paused || (health.expectation.is_none() && health.runs.is_empty()));
    if let (Happening::Ping { .. }, Some(old), Some(new)) = (happening, before.health.expectation, health.expectation) {
        // S2.8, apart from what a deadline that passed meanwhile did.
        if job.record.spec().schedule.is_every() {
            let real = |record: &Record, awaited: Expectation| record.health.moves.held.unwrap_or(awaited.deadline);
            prop_assert!(real(&job.record, new) >= real(before, old));
        } else {
            prop_assert!(new.occurrence >= old.occurrence);
        }
    }
    Ok(())
}

/// The transition without what derives from versions.
fn same_result(one: &Job, folded: &Transition) -> Result<(), TestCaseError> {
    let Change::Put(record) = &folded.change else { panic!("nothing was removed") };
    let (mut left, mut right) = (one.record.health.clone(), record.health.clone());
    (left.incident, right.incident) = (None, None);
    left.outages_seen = right.outages_seen;
    prop_assert_eq!(left, right);
    prop_assert_eq!(&one.pings, &folded.pings);
    let spans: Vec<_> = folded.incidents.iter().map(|incident| (incident.opened_at, incident.closed_at)).collect();
    prop_assert_eq!(one.spans(), spans);
    let kinds: Vec<_> = folded.notifications.iter().map(|notification| notification.kind).collect();
    prop_assert_eq!(one.told(), kinds);
    let mut ids: Vec<_> = folded.notifications.iter().map(|notification| notification.id).collect();
    ids.sort_unstable();
    ids.dedup();
    prop_assert_eq!(ids.len(), folded.notifications.len(), "every message has an id of its own");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 4, failure_persistence: None, max_shrink_iters: ProptestConfig::default().max_shrink_iters.min(20_000), ..ProptestConfig::default() })]

    #[test]
    fn step_agrees_with_a_replay_of_the_whole_history(
        wish in wish(),
        windows in windows(),
        history in history(happening()),
    ) {
        let history = same_plan(&wish, history);
        let mut job = Job::made_at(at(CREATED), spec(&wish));
        job.windows = windows.iter().map(|planned| planned.window()).collect();
        let end = history.last().map_or(CREATED, |last| last.0);
        let spans: Vec<_> = windows.iter().flat_map(|planned| planned.spans(end)).collect();
        for (index, (now, happening)) in history.iter().enumerate() {
            if let Happening::Outage(from) = happening {
                job.outages.push(Outage { from: at(*from), to: at(*now) });
            }
            let before = job.record.clone();
            job.event(at(*now), &event(happening));
            prop_assert_eq!(by_step(&job), by_model(&wish, &spans, &history[..=index]), "after {:?} at {}", happening, now);
            check(&job, &before, happening, at(*now))?;
            prop_assert!(!job.event(at(*now), &Event::Wake), "a spurious look changes nothing");
        }
    }

    #[test]
    fn events_folded_in_one_draft_come_to_the_same_as_one_after_another(
        wish in wish(),
        windows in windows(),
        history in history(happening()),
    ) {
        let mut job = Job::made_at(at(CREATED), spec(&wish));
        job.windows = windows.iter().map(|planned| planned.window()).collect();
        let maintenance = job.windows.clone();
        let outages: Vec<Outage> = history
            .iter()
            .filter_map(|(now, happening)| match happening {
                Happening::Outage(from) => Some(Outage { from: at(*from), to: at(*now) }),
                _ => None,
            })
            .collect();
        let around = Surroundings { outages: &outages, maintenance: &maintenance, ..Surroundings::default() };
        let mut draft = Draft::create(Arc::new(monitor(1, spec(&wish), at(CREATED))), at(CREATED), around);
        for (now, happening) in &history {
            job.outages.extend(outages.iter().filter(|outage| outage.to == at(*now) && matches!(happening, Happening::Outage(_))));
            let event = event(happening);
            job.event(at(*now), &event);
            match &event {
                Event::Wake => draft.advance(at(*now)),
                Event::Ping(ping) => drop(draft.ping(ping, at(*now)).unwrap()),
                Event::Edit(edit) => draft.edit(edit, at(*now)),
                _ => {}
            }
        }
        same_result(&job, &draft.finish().unwrap())?;
    }

    /// How often somebody looks must not matter, in a window as elsewhere.
    #[test]
    fn looks_in_between_change_nothing(
        wish in wish(),
        windows in windows(),
        history in history(happening()),
        every in prop_oneof![1_i64..5, 5_i64..200],
    ) {
        let mut seldom = Job::made_at(at(CREATED), spec(&wish));
        seldom.windows = windows.iter().map(|planned| planned.window()).collect();
        let mut often = seldom.clone();
        let mut before = CREATED;
        for (now, happening) in &history {
            let until = if let Happening::Outage(from) = happening { *from } else { *now };
            for minute in (before..until).step_by(usize::try_from(every).unwrap()) {
                often.event(at(minute), &Event::Wake);
            }
            before = *now;
            for job in [&mut seldom, &mut often] {
                if let Happening::Outage(from) = happening {
                    job.outages.push(Outage { from: at(*from), to: at(*now) });
                }
                job.event(at(*now), &event(happening));
            }
            let health = |job: &Job| {
                let mut health = job.record.health.clone();
                (health.outages_seen, health.incident) = (at(0), None);
                health
            };
            prop_assert_eq!(health(&seldom), health(&often), "after {:?} at {}", happening, now);
        }
        let lines = |job: &Job| {
            let line = |change: &StateChange| (change.at, change.from, change.to, change.reason.clone());
            job.changes.iter().map(line).collect::<Vec<_>>()
        };
        prop_assert_eq!(lines(&seldom), lines(&often));
        prop_assert_eq!(seldom.spans(), often.spans());
        prop_assert_eq!(seldom.told(), often.told());
    }
}
