//! Small things of one monitor that only a mutation of the rules brought to light.

use crate::common::{Job, d, every, outage, run, t};
use heartbeat_engine::step::{Edit, Surroundings};
use heartbeat_engine::{Arm, Cause, Ping, Secret, Signal, Token};

#[test]
fn a_rotated_token_or_secret_is_accepted_for_the_overlap() {
    let mut job = Job::made("0:00", every("10m", "1m"));
    let before = job.record.monitor.token.current.clone();
    job.edit("1:00", Edit::RotateToken { token: Token::new("another-token").unwrap(), overlap: d("1h") });
    assert_eq!(job.record.monitor.token.retiring, Some((before, t("2:00"))));

    let secret = |n: u8| Secret::new(format!("a-secret-of-enough-length-{n}"));
    job.edit("1:00", Edit::RotateSecret { secret: secret(1), overlap: d("1h") });
    assert_eq!(job.record.monitor.signing_secret.as_ref().unwrap().retiring, None, "there was none before");
    job.edit("3:00", Edit::RotateSecret { secret: secret(2), overlap: d("1h") });
    let rotating = job.record.monitor.signing_secret.clone().unwrap();
    assert_eq!((rotating.current, rotating.retiring), (secret(2), Some((secret(1), t("4:00")))));
}

#[test]
fn s3_9_a_new_monitor_that_is_to_be_armed_when_made_is_armed_by_that_edit_and_by_no_other() {
    let mut spec = every("10m", "1m");
    spec.arm = Arm::FirstPing;
    let mut job = Job::made("0:00", spec);
    job.change("0:05", |spec| spec.description = "changed".to_owned());
    assert!(job.record.health.expectation.is_none());
    job.change("0:06", |spec| spec.arm = Arm::Created);
    assert_eq!(job.deadline(), t("0:17"));
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
