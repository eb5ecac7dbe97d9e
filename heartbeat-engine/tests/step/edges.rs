//! Small things of one monitor that only a mutation of the rules brought to light.

use crate::common::{Job, at, claimed, d, every, outage, run, t};
use heartbeat_engine::step::{Edit, Surroundings};
use heartbeat_engine::{Arm, Cause, Grace, Ping, Secret, Signal, Token};

#[test]
fn a_rotated_token_or_secret_is_accepted_for_the_overlap() {
    let mut job = Job::made("0:00", every("10m", "1m"));
    let before = job.record.monitor.token.current.clone();
    job.edit("1:00", Edit::RotateToken { token: Token::new("another-token").unwrap(), overlap: d("1h") });
    assert_eq!(job.record.monitor.token.retiring, Some(Box::new((before, t("2:00")))));

    let secret = |n: u8| Secret::new(format!("a-secret-of-enough-length-{n}"));
    job.edit("1:00", Edit::RotateSecret { secret: secret(1), overlap: d("1h") });
    assert_eq!(job.record.monitor.signing_secret.as_ref().unwrap().retiring, None, "there was none before");
    job.edit("3:00", Edit::RotateSecret { secret: secret(2), overlap: d("1h") });
    let rotating = job.record.monitor.signing_secret.clone().unwrap();
    assert_eq!((rotating.current, rotating.retiring), (secret(2), Some(Box::new((secret(1), t("4:00"))))));
}

#[test]
fn s3_9_a_new_monitor_that_is_to_be_armed_when_made_is_armed_by_that_edit_and_by_no_other() {
    let mut spec = every("10m", "1m");
    spec.arm = Arm::FirstPing;
    let mut job = Job::made("0:00", spec);
    job.change("0:05", |spec| spec.description = "changed".into());
    assert!(job.record.health.expectation.is_none());
    job.change("0:06", |spec| spec.arm = Arm::Created);
    assert_eq!(job.deadline(), t("0:17"));
}

#[test]
fn s3_5_an_incident_does_not_open_before_the_latest_heartbeat() {
    let mut spec = at(&["10:00", "11:00", "12:05"], "UTC", "1m");
    spec.grace = Grace::EndOfDay;
    let mut job = Job::made("9:00", spec);
    // The deadline of the late occurrence waits; the one of the next, by the new grace, has passed by then.
    job.change("10:30", |spec| (spec.grace, spec.failure_threshold) = (Grace::Fixed(d("1m")), 3));
    job.take("12:30", claimed(Signal::Fail, "12:00"));
    job.look("24:01");
    assert_eq!(job.spans(), [(t("12:00"), None)]);
}

#[test]
fn s4_2_an_overrun_says_when_the_run_began_and_when_it_should_have_ended() {
    let mut spec = every("2h", "1h");
    spec.max_runtime = Some(d("10m"));
    let mut job = Job::made("0:00", spec);
    job.take("0:01", Ping { run: Some(run(1)), ..Ping::new(Signal::Start) });
    job.look("0:12");
    let incident = job.record.health.incident.clone().unwrap();
    let expected = format!("a run that began at {} was still open at {}", t("0:01"), t("0:11"));
    assert_eq!((incident.cause, incident.detail), (Cause::Overrun, expected));
}

#[test]
fn outages_alone_are_all_that_lies_around() {
    let outages = vec![outage("1:00", "2:00")];
    let expected = Surroundings { outages: &outages, ..Surroundings::default() };
    assert_eq!(Surroundings::from(&outages), expected);
    assert_eq!(Surroundings::from(&outages[..]), expected);
}
