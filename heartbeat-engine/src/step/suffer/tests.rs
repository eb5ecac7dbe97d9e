use std::time::Duration;

use super::*;
use crate::schedule::{Grace, Schedule};
use crate::step::{Event, step};
use crate::{Change, Escalation, Flapping, LastPing, Monitor, MonitorId, Rotating, Run, Signal, Token, Version};

const MINUTE: Duration = Duration::from_secs(60);
const INSTANT: Duration = Duration::from_millis(1);

fn minute(count: u32) -> Timestamp {
    Timestamp::from_secs(1_800_000_000) + MINUTE * count
}

fn outage(from: u32, to: u32) -> Outage {
    Outage { from: minute(from), to: minute(to) }
}

/// Every hour with 10 min of grace, and runs of at most 1 min; its last heartbeat came at minute 0.
fn record() -> Record {
    let mut spec = MonitorSpec::new("job", Schedule::every(60 * MINUTE).unwrap());
    spec.grace = Grace::Fixed(10 * MINUTE);
    spec.max_runtime = Some(MINUTE);
    let monitor = Monitor {
        id: MonitorId::from_bytes([7; 16]),
        token: Rotating::new(Token::new("token-00000001").unwrap()),
        signing_secret: None,
        spec,
        revision: Version::FIRST,
        created_at: minute(0),
        updated_at: minute(0),
    };
    let mut draft = Draft::create(monitor.into(), minute(0), Surroundings::default());
    draft.arm(minute(0), true);
    let Change::Put(record) = draft.finish().unwrap().change else { panic!("made") };
    Record::clone(&record)
}

fn run(began_at: Timestamp, limit_at: Timestamp) -> Run {
    Run { id: None, began_at, limit_at: Some(limit_at) }
}

/// What a look at `now` makes of it.
fn looked_at(record: &Record, around: Surroundings<'_>, now: Timestamp) -> Record {
    match step(record, &Event::Wake, now, around).unwrap().unwrap().change {
        Change::Put(record) => Record::clone(&record),
        Change::Remove => panic!("nobody removes it"),
    }
}

#[test]
fn s6_7_each_stored_time_over_60_s_ahead_is_found_and_none_before() {
    let now = minute(30);
    type Set = fn(&mut Health, Timestamp);
    let table: [(&str, Set); 10] = [
        ("last heartbeat", |health, at| health.based_at = at),
        ("latest report", |health, at| health.latest_at = at),
        ("outages looked at", |health, at| health.outages_seen = at),
        ("arrival of the latest, with a run whose limit may be too late", |health, at| {
            health.last_ping = Some(LastPing { n: 1, arrived_at: at, at, signal: Signal::Start, degraded: false });
            health.runs = vec![run(minute(29), minute(90))];
        }),
        ("start of a run", |health, at| health.runs = vec![run(at, minute(90))]),
        ("reminder", |health, at| health.pursuit.remind_at = Some(at)),
        ("escalation", |health, at| health.pursuit.escalations = vec![escalation(at)]),
        ("escalation behind one that is not", |health, at| {
            health.pursuit.escalations = vec![escalation(minute(31)), escalation(at)];
        }),
        ("going down", |health, at| health.flaps.downs = vec![at]),
        ("end of flapping", |health, at| {
            let flapping = Flapping { since: minute(1), told: Vec::new(), settles_at: at };
            health.flaps.flapping = Some(Box::new(flapping));
        }),
    ];
    assert!(!is_ahead(&record(), now));
    for (what, set) in table {
        let ahead = |at: Timestamp| {
            let mut record = record();
            set(&mut record.health, at);
            is_ahead(&record, now)
        };
        assert!(ahead(minute(31) + INSTANT), "{what}");
        assert!(!ahead(minute(31)) && !ahead(minute(29)), "{what}");
        let mut record = record();
        set(&mut record.health, minute(31));
        let mut draft = Draft::of(&record, Surroundings::default());
        draft.come_back_to(now);
        assert_eq!(draft.health, record.health, "{what}: 60 s are nothing");
    }
}

fn escalation(due_at: Timestamp) -> Escalation {
    Escalation { route: "boss".to_owned(), channels: Vec::new(), due_at, after: Duration::ZERO }
}

#[test]
fn s6_2_what_is_foreseen_of_an_outage_is_what_the_next_look_makes_of_it() {
    let record = record();
    let touching = [outage(55, 65)];
    let around = Surroundings::from(&touching[..]);
    let found = foreseen(&record, around, minute(65)).unwrap();
    assert_eq!(found.health, looked_at(&record, around, minute(65)).health);
    assert_eq!(found.health.expectation.unwrap().deadline, minute(65 + 70));

    let mut running = record.clone();
    running.health.runs = vec![run(minute(9), minute(11))];
    let short = [outage(10, 12)];
    assert_eq!(foreseen(&record, (&short[..]).into(), minute(12)), None, "it moves no deadline");
    let found = foreseen(&running, (&short[..]).into(), minute(12)).unwrap();
    assert_eq!((found.health.expectation, found.health.runs.len()), (record.health.expectation, 0));
}

#[cfg(feature = "runtime")]
#[test]
fn s5_3_a_window_explains_what_it_moves_and_nothing_else() {
    let window = |from: u32, to: u32| {
        let time = crate::MaintenanceTime::Once { from: minute(from), to: minute(to) };
        let spec = crate::MaintenanceSpec { all: true, ..crate::MaintenanceSpec::new("by plan", time) };
        Arc::new(Maintenance { id: "w".to_owned(), spec })
    };
    assert!(explains(&record(), &window(55, 65), minute(80)));
    assert!(!explains(&record(), &window(10, 20), minute(80)), "no heartbeat was awaited in it");
    assert!(!explains(&record(), &window(75, 80), minute(80)), "the deadline was before it");
}
