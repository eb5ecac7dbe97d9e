//! The serialised form of a health, which lies in memory in another way.

use serde::{Deserialize, Serialize};

use super::{Circumstances, EndedRun, Expectation, Flaps, Health, LastPing, OutageMoves, Pursuit, Run, State};
use crate::{Incident, Timestamp};

/// A health, with its circumstances among the rest.
#[derive(Serialize, Deserialize)]
pub(super) struct HealthForm {
    state: State,
    manual_resume: bool,
    armed: bool,
    failures: u32,
    successes: u32,
    based_at: Timestamp,
    heard: bool,
    latest_at: Timestamp,
    expectation: Option<Expectation>,
    moves: MovesForm,
    runs: Vec<Run>,
    ended_runs: Vec<EndedRun>,
    incident: Option<Box<Incident>>,
    #[serde(default, skip_serializing_if = "Pursuit::is_empty")]
    pursuit: Pursuit,
    #[serde(default, skip_serializing_if = "Flaps::is_empty")]
    flaps: Flaps,
    ping_count: u64,
    last_ping: Option<LastPing>,
}

#[derive(Serialize, Deserialize)]
struct MovesForm {
    first: Option<(Timestamp, Timestamp)>,
    extended: u8,
    seen: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Timestamp>,
}

impl From<HealthForm> for Health {
    fn from(form: HealthForm) -> Self {
        let MovesForm { first, extended, seen, held } = form.moves;
        let plain = Self {
            state: form.state,
            manual_resume: form.manual_resume,
            armed: form.armed,
            heard: form.heard,
            failures: form.failures,
            latest_at: form.latest_at,
            expectation: form.expectation,
            outages_seen: seen,
            ping_count: form.ping_count,
            last_ping: form.last_ping,
            ..Self::new(form.based_at)
        };
        plain.with(Circumstances {
            successes: form.successes,
            moves: OutageMoves { first, extended, held },
            runs: form.runs,
            ended_runs: form.ended_runs,
            incident: form.incident,
            pursuit: form.pursuit,
            flaps: form.flaps,
        })
    }
}

impl From<Health> for HealthForm {
    fn from(health: Health) -> Self {
        let Circumstances { successes, moves, runs, ended_runs, incident, pursuit, flaps } =
            Circumstances::clone(&health);
        let OutageMoves { first, extended, held } = moves;
        Self {
            state: health.state,
            manual_resume: health.manual_resume,
            armed: health.armed,
            failures: health.failures,
            successes,
            based_at: health.based_at,
            heard: health.heard,
            latest_at: health.latest_at,
            expectation: health.expectation,
            moves: MovesForm { first, extended, seen: health.outages_seen, held },
            runs,
            ended_runs,
            incident,
            pursuit,
            flaps,
            ping_count: health.ping_count,
            last_ping: health.last_ping,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Record;

    /// As it was stored and sent when both were fields like any others.
    const WRITTEN: &str = concat!(
        r#"{"monitor":{"id":"01010101-0101-0101-0000-000000000001","token":{"current":"token-00000001","#,
        r#""retiring":["00000000-0000-4000-8000-00000000000a",9]},"signing_secret":{"current":"s","retiring":null},"spec":{"#,
        r#""slug":"monitor-1","name":"A name of more than 22 bytes","description":"","schedule":{"every":3600000},"#,
        r#""grace":720000,"early":0,"max_runtime":null,"arm":"created","failure_threshold":1,"recovery_threshold":1,"#,
        r#""severity":"warning","tags":["a"],"channels":[],"value_min":null,"value_max":0.5,"remind_every":60000,"#,
        r#""depends_on":[],"flap_limit":null,"require_signature":true,"declared_in":null},"revision":1,"created_at":0,"#,
        r#""updated_at":0},"health":{"state":"up","manual_resume":false,"armed":true,"failures":1,"successes":2,"#,
        r#""based_at":5,"heard":true,"latest_at":6,"expectation":{"occurrence":9,"deadline":10,"excused":true},"#,
        r#""moves":{"first":[1,2],"extended":1,"seen":3,"held":4},"runs":[{"id":null,"began_at":7,"limit_at":null}],"#,
        r#""ended_runs":[],"incident":null,"pursuit":{"remind_at":8},"flaps":{"downs":[11]},"ping_count":7,"#,
        r#""last_ping":{"n":7,"arrived_at":5,"at":5,"signal":"success","degraded":false}},"version":3}"#,
    );

    #[test]
    fn what_is_serialised_does_not_show_how_it_lies_in_memory() {
        let record: Record = serde_json::from_str(WRITTEN).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), WRITTEN);
        assert!(!record.health.is_plain() && record.health.moves.held.is_some());
        let plain = r#","runs":[{"id":null,"began_at":7,"limit_at":null}],"#;
        let again: Record = serde_json::from_str(&WRITTEN.replace(plain, r#","runs":[],"#)).unwrap();
        assert!(again != record && again.health.runs.is_empty());
    }
}
