//! What follows a going down: who is told, reminded and told more, what is held back, and what is damped.

use crate::common::{Job, d, every, ping, t};
use heartbeat_engine::NotificationKind::{Closed, Down, Escalated, Flapping, Recovered, Reminder, Report, Settled};
use heartbeat_engine::step::{Draft, Edit, NewNote, Surroundings};
use heartbeat_engine::{
    Cause, Change, FlapLimit, Incident, IncidentId, MonitorSpec, Ping, Route, RouteSpec, Severity, Signal, State,
    Timestamp,
};

/// Goes down at 1:00 by a `fail` in most of these tests; silence is of no matter.
pub(super) fn job(change: impl FnOnce(&mut MonitorSpec)) -> Job {
    let mut spec = every("300d", "1h");
    change(&mut spec);
    Job::made("0:00", spec)
}

fn reminding(every: &str) -> Job {
    job(|spec| spec.remind_every = Some(d(every)))
}

pub(super) fn route(name: &str, after: &str, channels: &[&str]) -> Route {
    let spec = RouteSpec {
        severities: Vec::new(),
        tags: Vec::new(),
        causes: Vec::new(),
        channels: channels.iter().map(|channel| (*channel).to_owned()).collect(),
        after: d(after),
        declared_in: None,
    };
    Route { name: name.to_owned(), spec }
}

pub(super) fn flapping(incidents: u32, within: &str) -> Job {
    job(|spec| spec.flap_limit = Some(FlapLimit { incidents, within: d(within) }))
}

fn acknowledge(job: &mut Job, at: &str) -> bool {
    let incident = job.record.health.incident.as_ref().map_or(IncidentId::from_bytes([0; 16]), |open| open.id);
    job.edit(at, Edit::Acknowledge { incident, by: "ann".to_owned() })
}

fn open(job: &Job) -> &Incident {
    job.record.health.incident.as_ref().unwrap()
}

/// The messages by channel, kind and time.
#[track_caller]
pub(super) fn assert_messages(job: &Job, expected: &[(&str, heartbeat_engine::NotificationKind, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(channel, kind, at)| ((*channel).to_owned(), *kind, t(at))).collect();
    assert_eq!(job.messages(), expected);
}

#[test]
fn s7_7_a_reminder_of_silence_says_that_nothing_came() {
    let mut spec = every("1h", "10m");
    spec.remind_every = Some(d("1h"));
    let mut job = Job::made("0:00", spec);
    job.watch("3:00");
    let reminder = job.notifications.iter().find(|owed| owed.kind == Reminder).unwrap();
    let awaited = &open(&job).detail;
    assert_eq!(reminder.message, format!("job is still down after 1 h: no heartbeat came, {awaited}"));
}

#[test]
fn s7_7_reminders_repeat_from_the_going_down_until_the_recovery() {
    let mut job = reminding("1h");
    job.fail("1:00");
    job.watch("3:30");
    job.success("3:30");
    job.watch("30:00");
    let expected =
        [("ops", Down, "1:00"), ("ops", Reminder, "2:00"), ("ops", Reminder, "3:00"), ("ops", Recovered, "3:30")];
    assert_messages(&job, &expected);
    assert_eq!(job.notifications[1].message, "job is still down after 1 h: the job failed");
    assert_eq!(job.record.health.pursuit, heartbeat_engine::Pursuit::default());
}

#[test]
fn s7_7_those_due_before_the_detection_are_skipped_and_they_count_from_the_deadline() {
    let mut spec = every("1h", "10m");
    spec.remind_every = Some(d("1h"));
    let mut job = Job::made("0:00", spec);
    job.look("4:00");
    assert_messages(&job, &[("ops", Down, "4:00")]);
    job.watch("5:30");
    assert_messages(&job, &[("ops", Down, "4:00"), ("ops", Reminder, "4:10"), ("ops", Reminder, "5:10")]);
}

#[test]
fn s7_7_several_due_at_once_are_one_and_none_is_told_that_is_over() {
    let mut job = reminding("1h");
    job.fail("1:00");
    job.look("4:30");
    assert_messages(&job, &[("ops", Down, "1:00"), ("ops", Reminder, "4:30")]);
    assert_eq!(job.record.health.pursuit.remind_at, Some(t("5:00")));

    let mut recovered = reminding("1h");
    recovered.fail("1:00");
    recovered.success("4:30");
    assert_messages(&recovered, &[("ops", Down, "1:00"), ("ops", Recovered, "4:30")]);
}

#[test]
fn s7_7_an_acknowledgement_ends_reminders_and_escalations_and_not_the_recovery() {
    let mut job = reminding("1h");
    job.routes = vec![route("boss", "90m", &["boss"])];
    job.fail("1:00");
    job.watch("2:10");
    assert!(acknowledge(&mut job, "2:10"));
    assert!(!acknowledge(&mut job, "2:20"), "the first one stays");
    assert_eq!(open(&job).acknowledged.as_ref().map(|ack| ack.at), Some(t("2:10")));
    job.watch("20:00");
    job.success("20:00");
    assert_messages(&job, &[("ops", Down, "1:00"), ("ops", Reminder, "2:00"), ("ops", Recovered, "20:00")]);
    assert!(job.changes.iter().any(|change| change.reason == "acknowledged by ann"));
    assert!(!acknowledge(&mut job, "20:01"), "it is over");
}

#[test]
fn s7_7_an_edit_sets_the_next_reminder_anew() {
    let mut job = job(|_| {});
    job.fail("1:00");
    job.change("1:20", |spec| spec.remind_every = Some(d("30m")));
    job.watch("2:10");
    job.change("2:10", |spec| spec.remind_every = Some(d("2h")));
    job.watch("4:00");
    job.change("4:00", |spec| spec.remind_every = None);
    job.watch("30:00");
    let reminders = [("ops", Reminder, "1:30"), ("ops", Reminder, "2:00"), ("ops", Reminder, "3:00")];
    assert_messages(&job, &[&[("ops", Down, "1:00")][..], &reminders].concat());
}

#[test]
fn s6_7_a_clock_that_was_set_back_delays_no_reminder_and_no_escalation() {
    let mut job = reminding("1h");
    job.routes = vec![route("boss", "2h", &["boss"])];
    job.fail("101:00");
    job.look("1:00");
    assert_eq!(job.record.health.pursuit.remind_at, Some(t("2:00")));
    assert_eq!(job.record.health.pursuit.escalations[0].due_at, t("3:00"));
    job.watch("4:30");
    assert_messages(
        &job,
        &[
            ("ops", Down, "101:00"),
            ("ops", Reminder, "2:00"),
            ("boss", Escalated, "3:00"),
            ("ops", Reminder, "3:00"),
            ("ops", Reminder, "4:00"),
            ("boss", Reminder, "4:00"),
        ],
    );
}

#[test]
fn s7_8_matching_routes_are_told_at_once_or_later_and_all_of_them_of_the_recovery() {
    let mut job = job(|spec| {
        spec.remind_every = Some(d("3h"));
        (spec.severity, spec.tags) = (Severity::Critical, vec!["db".to_owned(), "eu".to_owned()]);
    });
    let mut others = vec![
        route("other-severity", "0s", &["x"]),
        route("other-tag", "0s", &["x"]),
        route("other-cause", "0s", &["x"]),
    ];
    others[0].spec.severities = vec![Severity::Info];
    others[1].spec.tags = vec!["db".to_owned(), "us".to_owned()];
    others[2].spec.causes = vec![Cause::Missed];
    let mut now = route("now", "0s", &["pager", "ops", "pager"]);
    (now.spec.severities, now.spec.tags) = (vec![Severity::Critical], vec!["db".to_owned()]);
    now.spec.causes = vec![Cause::Failed];
    job.routes = [others, vec![route("late", "2h", &["boss"]), now, route("soon", "1h", &["lead", "ops"])]].concat();
    job.fail("1:00");
    let waiting: Vec<_> = job.record.health.pursuit.escalations.iter().map(|e| (e.route.as_str(), e.due_at)).collect();
    assert_eq!(waiting, [("soon", t("2:00")), ("late", t("3:00"))]);
    job.routes.clear();
    job.watch("4:30");
    job.success("4:30");
    let told = ["ops", "pager", "lead", "boss"];
    let at = |kind, at| told.map(|channel| (channel, kind, at));
    let expected = [
        vec![("ops", Down, "1:00"), ("pager", Down, "1:00")],
        vec![("lead", Escalated, "2:00"), ("ops", Escalated, "2:00"), ("boss", Escalated, "3:00")],
        at(Reminder, "4:00").to_vec(),
        at(Recovered, "4:30").to_vec(),
    ];
    assert_messages(&job, &expected.concat());
    let message = &job.notifications[2].message;
    assert_eq!(message, "job is still down after 1 h and nobody has acknowledged it (route soon): the job failed");
}

#[test]
fn s7_8_what_is_over_before_anybody_looked_escalates_no_more() {
    let mut job = reminding("1h");
    job.routes = vec![route("a", "1h", &["lead"]), route("b", "2h", &["lead", "boss"])];
    job.fail("1:00");
    let mut late = job.clone();
    job.success("5:00");
    assert_messages(&job, &[("ops", Down, "1:00"), ("ops", Recovered, "5:00")]);
    late.look("5:00");
    let at_once = [("lead", Escalated, "5:00"), ("boss", Escalated, "5:00"), ("ops", Reminder, "5:00")];
    assert_messages(&late, &[&[("ops", Down, "1:00")][..], &at_once].concat());
}

#[test]
fn s4_5_a_report_goes_to_immediate_routes_for_any_cause() {
    let mut job = job(|_| {});
    let mut of_cause = route("missed", "0s", &["x"]);
    of_cause.spec.causes = vec![Cause::Missed];
    job.routes = vec![of_cause, route("later", "1m", &["x"]), route("all", "0s", &["ops", "log"])];
    job.take("1:00", ping(Signal::Report));
    assert_messages(&job, &[("ops", Report, "1:00"), ("log", Report, "1:00")]);
}

#[test]
fn s5_4_a_going_down_behind_a_parent_is_kept_and_told_to_nobody() {
    let mut job = reminding("1h");
    job.routes = vec![route("boss", "1h", &["boss"])];
    job.down_parents = vec!["router".to_owned()];
    job.fail("1:00");
    assert_eq!((open(&job).held_by.as_slice(), open(&job).told.len()), (&["router".to_owned()][..], 0));
    assert!(job.changes.iter().any(|change| change.reason == "failed: the job failed; held back while router is down"));
    job.watch("9:00");
    job.success("9:00");
    assert!(job.notifications.is_empty(), "a closed one is dropped, and nobody hears of its recovery (S7.6)");
    assert_eq!(job.incidents[0].closed_at, Some(t("9:00")));
    assert_eq!(job.incidents[0].held_by, ["router"], "it says why nobody was told");
}

#[test]
fn s5_4_what_is_held_back_goes_out_with_what_is_overdue_as_one() {
    let mut job = reminding("1h");
    job.routes = vec![route("boss", "1h", &["boss"]), route("ceo", "9h", &["ceo"]), route("now", "0s", &["pager"])];
    job.down_parents = vec!["router".to_owned(), "power".to_owned()];
    job.fail("1:00");
    job.routes.clear();
    job.look("2:30");
    job.down_parents.remove(0);
    job.look("3:00");
    assert_eq!(open(&job).held_by, ["power"]);
    job.down_parents.clear();
    job.look("4:30");
    let released = [("ops", Down, "4:30"), ("pager", Down, "4:30"), ("boss", Escalated, "4:30")];
    assert_messages(&job, &released);
    let at = t("1:00");
    let expected = format!("job is down since {at} (held back while power was down): the job failed");
    assert_eq!(job.notifications[0].message, expected);
    assert!(open(&job).held_by.is_empty());
    job.watch("5:30");
    job.success("5:30");
    assert_eq!(job.told()[3..], [Reminder, Reminder, Reminder, Recovered, Recovered, Recovered]);
}

#[test]
fn s5_4_a_parent_that_goes_down_later_holds_reminders_and_escalations_and_not_the_recovery() {
    let mut job = reminding("1h");
    job.routes = vec![route("boss", "90m", &["boss"])];
    job.fail("1:00");
    job.down_parents = vec!["router".to_owned()];
    job.watch("5:00");
    assert_messages(&job, &[("ops", Down, "1:00")]);
    assert_eq!(open(&job).held_by, ["router"]);
    let mut released = job.clone();
    job.success("5:00");
    assert_messages(&job, &[("ops", Down, "1:00"), ("ops", Recovered, "5:00")]);

    released.down_parents.clear();
    released.look("5:10");
    let now = [("boss", Escalated, "5:10"), ("ops", Reminder, "5:10")];
    assert_messages(&released, &[&[("ops", Down, "1:00")][..], &now].concat());
}

#[test]
fn s5_4_who_acknowledges_what_is_held_back_is_not_reminded_and_all_are_told_of_it_once() {
    let mut job = reminding("1h");
    job.routes = vec![route("boss", "1h", &["boss"])];
    job.down_parents = vec!["router".to_owned()];
    job.fail("1:00");
    acknowledge(&mut job, "1:30");
    job.down_parents.clear();
    job.look("3:30");
    job.watch("30:00");
    assert_messages(&job, &[("ops", Down, "3:30")]);
}

#[test]
fn s5_4_a_report_is_told_whatever_is_down() {
    let mut job = job(|_| {});
    job.down_parents = vec!["router".to_owned()];
    job.take("1:00", ping(Signal::Report));
    assert_messages(&job, &[("ops", Report, "1:00")]);
}

#[test]
fn s7_10_many_incidents_within_a_time_are_told_once_and_the_end_of_it() {
    let mut job = flapping(3, "1h");
    for minute in ["10", "20", "30", "40"] {
        job.fail(&format!("1:{minute}"));
        job.success(&format!("1:{minute}:30"));
    }
    let mut expected = vec![
        ("ops", Down, "1:10"),
        ("ops", Recovered, "1:10"),
        ("ops", Down, "1:20"),
        ("ops", Recovered, "1:20"),
        ("ops", Flapping, "1:30"),
    ];
    assert_messages(&job, &expected);
    let message = &job.notifications[4].message;
    assert!(message.contains("is flapping: it went down 3 times within 1 h"), "{message}");
    assert_eq!(job.incidents.len(), 4, "incidents are kept as usual");
    assert!(job.incidents[2..].iter().all(|incident| incident.told.is_empty() && !incident.is_open()));
    job.watch("2:40:30");
    assert_messages(&job, &expected);
    job.watch("9:00");
    expected.push(("ops", Settled, "2:40"));
    assert_messages(&job, &expected);
    assert_eq!(job.notifications[5].message, format!("job is not flapping any more: it is up since {}", t("1:40:30")));
    assert!(job.record.health.flaps.is_empty());
    job.fail("9:00");
    assert_eq!(job.told().last(), Some(&Down), "it starts anew");
}

#[test]
fn s7_10_one_that_settles_while_down_is_pursued_from_then_on() {
    let mut job = flapping(2, "1h");
    job.routes = vec![route("boss", "30m", &["boss"]), route("ceo", "3h", &["ceo"])];
    job.change("0:10", |spec| spec.remind_every = Some(d("30m")));
    job.fail("1:00");
    job.success("1:05");
    job.fail("1:10");
    job.watch("2:30");
    let begin =
        [("ops", Down, "1:00"), ("ops", Recovered, "1:05"), ("ops", Flapping, "1:10"), ("ops", Settled, "2:10")];
    let end = [("boss", Escalated, "2:10")];
    assert_messages(&job, &[&begin[..], &end].concat());
    assert!(job.notifications[3].message.contains("it is down since"), "{}", job.notifications[3].message);
    job.watch("2:50");
    job.success("2:50");
    assert_eq!(job.told()[5..], [Reminder, Reminder, Recovered, Recovered]);
}

#[test]
fn s7_10_the_limit_is_a_count_within_a_time() {
    let mut slow = flapping(3, "1h");
    for (down, up) in [("1:00", "1:01"), ("1:40", "1:41"), ("2:01", "2:02"), ("2:41", "2:42")] {
        slow.fail(down);
        slow.success(up);
    }
    assert!(!slow.told().contains(&Flapping), "{:?}", slow.told());
    slow.fail("3:01");
    assert_eq!(slow.told().last(), Some(&Flapping), "2:01 to 3:01 is within 1 h");
}

#[test]
fn s7_10_pausing_ends_it_and_tells_those_who_were_told() {
    for up in [false, true] {
        let mut job = flapping(2, "1h");
        job.fail("1:00");
        job.success("1:05");
        job.fail("1:10");
        if up {
            job.success("1:11");
        }
        job.pause("1:20");
        assert_eq!(job.told(), [Down, Recovered, Flapping, Closed], "{up}");
        assert_eq!(job.notifications[3].message, "job was paused while it was flapping");
        assert!(job.record.health.flaps.is_empty());
        job.resume("1:21");
        job.fail("1:22");
        assert_eq!(job.told().last(), Some(&Down));
    }
}

#[test]
fn s7_10_another_limit_moves_the_end_and_none_is_the_end() {
    let mut job = flapping(2, "1h");
    job.fail("1:00");
    job.success("1:05");
    job.fail("1:10");
    job.success("1:12");
    let mut without = job.clone();
    job.change("1:20", |spec| spec.flap_limit = Some(FlapLimit { incidents: 5, within: d("20m") }));
    job.watch("9:00");
    assert_eq!(job.messages().last().unwrap(), &("ops".to_owned(), Settled, t("1:32")));
    without.change("1:20", |spec| spec.flap_limit = None);
    assert_eq!(without.messages().last().unwrap(), &("ops".to_owned(), Settled, t("1:20")));
    assert!(without.notifications.last().unwrap().message.ends_with(&format!("it is up since {}", t("1:12"))));
}

#[test]
fn s7_10_what_is_held_back_is_not_counted_and_what_flaps_is_not_told_when_a_parent_is_up() {
    let mut job = flapping(2, "1h");
    job.down_parents = vec!["router".to_owned()];
    for (down, up) in [("1:00", "1:01"), ("1:02", "1:03"), ("1:04", "1:05")] {
        job.fail(down);
        job.success(up);
    }
    assert!(job.notifications.is_empty());
    job.down_parents.clear();
    job.fail("1:10");
    job.success("1:11");
    job.fail("1:12");
    job.success("1:13");
    assert_eq!(job.told(), [Down, Recovered, Flapping]);
    job.down_parents = vec!["router".to_owned()];
    job.fail("1:14");
    job.down_parents.clear();
    job.look("1:15");
    assert_eq!(job.told(), [Down, Recovered, Flapping]);
    assert_eq!(open(&job).held_by, Vec::<String>::new());
}

#[test]
fn s6_7_a_clock_that_was_set_back_does_not_keep_it_flapping() {
    let mut job = flapping(2, "1h");
    job.fail("101:00");
    job.success("101:05");
    job.fail("101:10");
    job.success("101:11");
    job.look("1:00");
    job.watch("3:00");
    assert_eq!(job.messages().last().unwrap(), &("ops".to_owned(), Settled, t("2:00")));
}

#[test]
fn notes_are_kept_with_an_incident_open_or_over_and_have_a_limit() {
    let mut job = job(|_| {});
    job.fail("1:00");
    let id = open(&job).id;
    let note = |text: &str, stored: Option<&Incident>, job: &Job| NewNote {
        incident: id,
        by: "ann".to_owned(),
        text: text.to_owned(),
        stored: stored.map(|incident| Box::new((incident.clone(), job.record.version))),
    };
    let first = note("looking", None, &job);
    assert!(job.edit("1:10", Edit::Note(first)));
    job.success("1:20");
    let unread = note("lost", None, &job);
    assert!(!job.edit("1:30", Edit::Note(unread)), "it is over, and its stored form is not given");
    let stored = job.incidents[0].clone();
    let second = note("the disk was full", Some(&stored), &job);
    assert!(job.edit("1:40", Edit::Note(second)));
    let notes: Vec<(Timestamp, &str)> = job.incidents[0].notes.iter().map(|n| (n.at, n.text.as_str())).collect();
    assert_eq!(notes, [(t("1:10"), "looking"), (t("1:40"), "the disk was full")]);
    assert_eq!(job.incidents[0].closed_at, Some(t("1:20")), "nothing else changed");

    // Two at once fold into one write.
    let record = job.record.clone();
    let mut draft = Draft::of(&record, Surroundings::default());
    let stored = job.incidents[0].clone();
    for n in 2..Incident::NOTES_MAX {
        assert_eq!(draft.annotate(&note(&n.to_string(), Some(&stored), &job), t("2:00")).unwrap().notes.len(), n + 1);
    }
    let full = draft.annotate(&note("more", Some(&stored), &job), t("2:00")).unwrap_err();
    assert_eq!(full.to_string(), "the incident has 100 notes, and no more are kept");
    let transition = draft.finish().unwrap();
    assert_eq!((transition.incidents.len(), transition.incidents[0].notes.len()), (1, Incident::NOTES_MAX));
    assert!(matches!(transition.change, Change::Put(record) if record.health == job.record.health));
}

#[test]
fn a_wish_says_what_is_wrong_with_its_reminders_limits_and_dependencies() {
    let fields = |change: &dyn Fn(&mut MonitorSpec)| {
        let mut spec = every("1h", "5m");
        change(&mut spec);
        spec.faults(t("0:00")).into_iter().map(|fault| fault.field).collect::<Vec<_>>()
    };
    let limit = |incidents, within| Some(FlapLimit { incidents, within: d(within) });
    assert!(fields(&|spec| spec.remind_every = Some(d("1m"))).is_empty());
    assert_eq!(fields(&|spec| spec.remind_every = Some(d("59s"))), ["remind_every"]);
    assert_eq!(fields(&|spec| spec.remind_every = Some(d("367d"))), ["remind_every"]);
    assert!(fields(&|spec| spec.flap_limit = limit(2, "7d")).is_empty());
    assert_eq!(fields(&|spec| spec.flap_limit = limit(1, "8d")), ["flap_limit.within", "flap_limit.incidents"]);
    assert_eq!(fields(&|spec| spec.flap_limit = limit(101, "1m")), ["flap_limit.incidents"]);
    let parent = |n: u8| heartbeat_engine::MonitorId::from_bytes([n; 16]);
    assert!(fields(&|spec| spec.depends_on = (0..50).map(parent).collect()).is_empty());
    assert_eq!(fields(&|spec| spec.depends_on = (0..51).map(parent).collect()), ["depends_on"]);
    assert_eq!(fields(&|spec| spec.depends_on = vec![parent(1), parent(2), parent(1)]), ["depends_on.2"]);
}

#[test]
fn s7_6_a_going_down_that_nobody_was_told_of_recovers_in_silence_and_runs_on_time() {
    let mut job = reminding("1h");
    job.change("0:10", |spec| spec.channels.clear());
    job.fail("1:00");
    assert_eq!(job.record.health.wake_at(), Timestamp::MAX, "there is nobody to be reminded");
    job.routes = vec![route("later", "2h", &["boss"])];
    job.success("1:10");
    job.fail("1:20");
    job.watch("4:30");
    job.take("4:40", Ping::new(Signal::Success));
    let expected = [("boss", Escalated, "3:20"), ("boss", Reminder, "4:20"), ("boss", Recovered, "4:40")];
    assert_messages(&job, &expected);
    assert_eq!(job.state(), State::Up);
}
