//! Whom flapping or a parent hid a going down from, and who is told in the end (S8.1).

use crate::common::{ping, t};
use crate::incidents::{assert_messages, flapping, job, route};
use heartbeat_engine::NotificationKind::{Down, Flapping, Recovered, Settled};
use heartbeat_engine::{Cause, Ping, Signal};

#[test]
fn s7_10_who_was_not_told_that_it_flaps_is_told_with_the_going_down_that_concerns_them() {
    let mut job = flapping(2, "1h");
    job.change("0:10", |spec| {
        spec.channels.clear();
        spec.value_max = Some(1.0);
    });
    let mut routes = vec![route("failures", "0s", &["dev"]), route("values", "0s", &["dba"])];
    routes[0].spec.causes = vec![Cause::Failed];
    routes[1].spec.causes = vec![Cause::Value];
    job.routes = routes;
    job.fail("1:00");
    job.success("1:05");
    job.fail("1:10");
    job.success("1:15");
    job.take("1:20", Ping { value: Some(2.0), ..ping(Signal::Success) });
    job.watch("9:00");
    job.success("9:00");
    let expected = [
        ("dev", Down, "1:00"),
        ("dev", Recovered, "1:05"),
        ("dev", Flapping, "1:10"),
        ("dba", Flapping, "1:20"),
        ("dev", Settled, "2:20"),
        ("dba", Settled, "2:20"),
        ("dev", Recovered, "9:00"),
        ("dba", Recovered, "9:00"),
    ];
    assert_messages(&job, &expected);
}

#[test]
fn s8_1_channels_that_were_changed_meanwhile_are_told_of_what_was_held_back_or_flapped() {
    let mut held = job(|_| {});
    held.down_parents = vec!["router".to_owned()];
    held.fail("1:00");
    held.change("1:10", |spec| spec.channels = vec!["pager".to_owned()]);
    held.down_parents.clear();
    held.look("1:20");
    held.success("1:30");
    let told =
        [("ops", Down, "1:20"), ("pager", Down, "1:20"), ("ops", Recovered, "1:30"), ("pager", Recovered, "1:30")];
    assert_messages(&held, &told);

    let mut flapping = flapping(2, "1h");
    flapping.fail("1:00");
    flapping.success("1:05");
    flapping.fail("1:10");
    flapping.change("1:20", |spec| spec.channels = vec!["pager".to_owned()]);
    flapping.watch("9:00");
    flapping.success("9:00");
    let messages = flapping.messages();
    let told = [
        ("ops", Settled, "2:10"),
        ("pager", Settled, "2:10"),
        ("ops", Recovered, "9:00"),
        ("pager", Recovered, "9:00"),
    ];
    let told: Vec<_> = told.iter().map(|(channel, kind, at)| ((*channel).to_owned(), *kind, t(at))).collect();
    assert_eq!(messages[3..], told);
}

#[test]
fn s7_10_while_it_flaps_nobody_is_told_more_though_somebody_looks() {
    let mut job = flapping(2, "1h");
    job.routes = vec![route("boss", "30m", &["boss"])];
    job.fail("1:00");
    job.success("1:05");
    job.fail("1:10");
    assert!(!job.look("1:45"));
}
