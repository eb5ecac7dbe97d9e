//! A monitor's state. One that flaps, is escalated or was acknowledged has more to say, and says it in JSON; the first byte
//! tells which form it is.

use crate::{
    Circumstances, EndedRun, Expectation, Health, LastPing, OutageMoves, Pursuit, Run, RunId, State, Timestamp,
};

use super::ping::SIGNALS;
use super::{CompactError, Reader, incident, write_number, write_signed};

/// The first byte of the binary form. JSON begins with a brace.
const BINARY: u8 = 1;

const STATES: [State; 4] = [State::New, State::Up, State::Down, State::Paused];

// The two low bits are the state.
const ARMED: u64 = 1 << 2;
const HEARD: u64 = 1 << 3;
const EXPECTATION: u64 = 1 << 4;
const LAST_PING: u64 = 1 << 5;
const LATEST: u64 = 1 << 6;
const COUNTS: u64 = 1 << 7;
const MANUAL_RESUME: u64 = 1 << 8;
const EXCUSED: u64 = 1 << 9;
const MOVES: u64 = 1 << 10;
const RUNS: u64 = 1 << 11;
const DEGRADED: u64 = 1 << 12;
const DOWN: u64 = 1 << 13;
const KNOWN: u64 = (1 << 14) - 1;

/// Appends a state.
///
/// # Errors
/// When it cannot be written as JSON; that does not happen to a state that the engine made.
pub fn write_health(out: &mut Vec<u8>, health: &Health) -> Result<(), CompactError> {
    // A new circumstance must be written, or make the state one that is written as JSON.
    let Circumstances { successes, moves, runs, ended_runs, incident: _, pursuit: _, flaps: _ } = &**health;
    if !incident::fits(health) {
        return serde_json::to_writer(out, health).map_err(|error| CompactError::new(&error.to_string()));
    }
    let flags = flags(health);
    out.push(BINARY);
    write_number(out, flags);
    let base = health.based_at.as_millis();
    write_signed(out, base);
    write_number(out, health.ping_count);
    if flags & LATEST != 0 {
        write_time(out, health.latest_at, base);
    }
    if flags & COUNTS != 0 {
        write_number(out, health.failures.into());
        write_number(out, (*successes).into());
    }
    if let Some(expectation) = health.expectation {
        write_time(out, expectation.occurrence, base);
        write_time(out, expectation.deadline, expectation.occurrence.as_millis());
    }
    if let Some(last) = &health.last_ping {
        write_number(out, health.ping_count.wrapping_sub(last.n));
        write_time(out, last.arrived_at, base);
        write_time(out, last.at, last.arrived_at.as_millis());
        out.push(SIGNALS.iter().position(|signal| *signal == last.signal).unwrap_or(0) as u8);
    }
    if flags & MOVES != 0 {
        write_moves(out, moves, health.outages_seen, base);
    }
    if flags & RUNS != 0 {
        write_runs(out, runs, ended_runs, base);
    }
    if flags & DOWN != 0 {
        incident::write(out, health, base);
    }
    Ok(())
}

fn flags(health: &Health) -> u64 {
    let set = [
        (ARMED, health.armed),
        (HEARD, health.heard),
        (EXPECTATION, health.expectation.is_some()),
        (LAST_PING, health.last_ping.is_some()),
        (LATEST, health.latest_at != health.based_at),
        (COUNTS, (health.failures, health.successes) != (0, 0)),
        (MANUAL_RESUME, health.manual_resume),
        (EXCUSED, health.expectation.is_some_and(|expectation| expectation.excused)),
        (MOVES, health.moves != OutageMoves::default() || health.outages_seen != Timestamp::default()),
        (RUNS, !health.runs.is_empty() || !health.ended_runs.is_empty()),
        (DOWN, incident::has_any(health)),
        (DEGRADED, health.last_ping.as_ref().is_some_and(|last| last.degraded)),
    ];
    let state = STATES.iter().position(|state| *state == health.state).unwrap_or(0) as u64;
    set.iter().filter(|(_, is)| *is).fold(state, |flags, (flag, _)| flags | flag)
}

pub(super) fn write_time(out: &mut Vec<u8>, time: Timestamp, base: i64) {
    write_signed(out, time.as_millis().wrapping_sub(base));
}

pub(super) fn read_time(reader: &mut Reader<'_>, base: i64) -> Result<Timestamp, CompactError> {
    Ok(Timestamp::from_millis(base.wrapping_add(reader.signed()?)))
}

fn write_moves(out: &mut Vec<u8>, moves: &OutageMoves, seen: Timestamp, base: i64) {
    let OutageMoves { first, extended, held } = moves;
    out.push(*extended);
    out.push(u8::from(first.is_some()) | u8::from(held.is_some()) << 1);
    write_time(out, seen, base);
    for time in first.iter().flat_map(|(from, to)| [from, to]).chain(held) {
        write_time(out, *time, base);
    }
}

fn read_moves(reader: &mut Reader<'_>, base: i64) -> Result<(OutageMoves, Timestamp), CompactError> {
    let (extended, which) = (reader.byte()?, reader.byte()?);
    let seen = read_time(reader, base)?;
    let first = if which & 1 != 0 { Some((read_time(reader, base)?, read_time(reader, base)?)) } else { None };
    let held = if which & 2 != 0 { Some(read_time(reader, base)?) } else { None };
    Ok((OutageMoves { first, extended, held }, seen))
}

fn write_runs(out: &mut Vec<u8>, runs: &[Run], ended: &[EndedRun], base: i64) {
    write_number(out, runs.len() as u64);
    for Run { id, began_at, limit_at } in runs {
        out.push(u8::from(id.is_some()) | u8::from(limit_at.is_some()) << 1);
        out.extend(id.iter().flat_map(RunId::as_bytes));
        write_time(out, *began_at, base);
        if let Some(limit_at) = limit_at {
            write_time(out, *limit_at, base);
        }
    }
    write_number(out, ended.len() as u64);
    for EndedRun { id, overran } in ended {
        out.push(u8::from(id.is_some()) | u8::from(*overran) << 1);
        out.extend(id.iter().flat_map(RunId::as_bytes));
    }
}

fn read_runs(reader: &mut Reader<'_>, base: i64) -> Result<(Vec<Run>, Vec<EndedRun>), CompactError> {
    let count = reader.number()?;
    let run = |reader: &mut Reader<'_>| {
        let which = reader.byte()?;
        let id = if which & 1 != 0 { Some(RunId::from_bytes(reader.array()?)) } else { None };
        let began_at = read_time(reader, base)?;
        let limit_at = if which & 2 != 0 { Some(read_time(reader, base)?) } else { None };
        Ok(Run { id, began_at, limit_at })
    };
    let runs = (0..count).map(|_| run(reader)).collect::<Result<_, CompactError>>()?;
    let count = reader.number()?;
    let ended = |reader: &mut Reader<'_>| {
        let which = reader.byte()?;
        let id = if which & 1 != 0 { Some(RunId::from_bytes(reader.array()?)) } else { None };
        Ok(EndedRun { id, overran: which & 2 != 0 })
    };
    let ended = (0..count).map(|_| ended(reader)).collect::<Result<_, CompactError>>()?;
    Ok((runs, ended))
}

/// Reads a state.
///
/// # Errors
/// When the bytes are not exactly one state.
pub fn read_health(bytes: &[u8]) -> Result<Health, CompactError> {
    let mut reader = Reader::new(bytes);
    if bytes.first() != Some(&BINARY) {
        return serde_json::from_slice(bytes).map_err(|error| CompactError::new(&error.to_string()));
    }
    reader.byte()?;
    let flags = reader.number()?;
    if flags & !KNOWN != 0 {
        return Err(CompactError::new("it has unknown flags"));
    }
    let has = |flag: u64| flags & flag != 0;
    let base = reader.signed()?;
    let ping_count = reader.number()?;
    let latest_at = if has(LATEST) { read_time(&mut reader, base)? } else { Timestamp::from_millis(base) };
    let (failures, successes) = if has(COUNTS) { (reader.small()?, reader.small()?) } else { (0, 0) };
    let expectation = if has(EXPECTATION) {
        let occurrence = read_time(&mut reader, base)?;
        let deadline = read_time(&mut reader, occurrence.as_millis())?;
        Some(Expectation { occurrence, deadline, excused: has(EXCUSED) })
    } else {
        None
    };
    let last_ping = if has(LAST_PING) { Some(read_last(&mut reader, ping_count, base, has(DEGRADED))?) } else { None };
    let (moves, outages_seen) = if has(MOVES) { read_moves(&mut reader, base)? } else { Default::default() };
    let (runs, ended_runs) = if has(RUNS) { read_runs(&mut reader, base)? } else { Default::default() };
    let (incident, remind_at) = if has(DOWN) { incident::read(&mut reader, base)? } else { Default::default() };
    if !reader.is_empty() {
        return Err(CompactError::new("it is longer than it says"));
    }
    let plain = Health {
        state: STATES[(flags & 3) as usize],
        manual_resume: has(MANUAL_RESUME),
        armed: has(ARMED),
        heard: has(HEARD),
        failures,
        latest_at,
        expectation,
        outages_seen,
        ping_count,
        last_ping,
        ..Health::new(Timestamp::from_millis(base))
    };
    let pursuit = Pursuit { remind_at, ..Pursuit::default() };
    let circumstances = Circumstances { successes, moves, runs, ended_runs, incident, pursuit, ..Circumstances::NONE };
    // Most have none, and then need no memory for them.
    Ok(if circumstances == Circumstances::NONE { plain } else { plain.with(circumstances) })
}

fn read_last(reader: &mut Reader<'_>, count: u64, base: i64, degraded: bool) -> Result<LastPing, CompactError> {
    let n = count.wrapping_sub(reader.number()?);
    let arrived_at = read_time(reader, base)?;
    let at = read_time(reader, arrived_at.as_millis())?;
    let signal = SIGNALS.get(usize::from(reader.byte()?)).ok_or_else(|| CompactError::new("it has no signal"))?;
    Ok(LastPing { n, arrived_at, at, signal: *signal, degraded })
}

#[cfg(all(test, feature = "testing"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::testing::fixtures::{at, full_record, health, incident, monitor_id, run_id};
    use crate::{Acknowledgement, Cause, Closing, Escalation, Incident, Signal};

    use super::*;

    fn again(health: &Health) -> (Health, usize) {
        let mut out = Vec::new();
        write_health(&mut out, health).unwrap();
        (read_health(&out).unwrap(), out.len())
    }

    /// With a value in every field that the binary form has.
    fn laden() -> Health {
        let full = full_record(1).health;
        let mut circumstances = Circumstances::clone(&full);
        let mut incident = open_incident();
        incident.held_by = vec!["a".to_owned(), String::new()];
        circumstances.incident = Some(Box::new(incident));
        circumstances.pursuit.remind_at = Some(at(77));
        Health { state: State::Down, ..full }.with(circumstances)
    }

    fn open_incident() -> Incident {
        let cause = Cause::Overrun;
        Incident {
            closed_at: None,
            closing: None,
            acknowledged: None,
            notes: vec![],
            cause,
            ..incident(1, monitor_id(1))
        }
    }

    #[test]
    fn states_are_read_as_they_were_written() {
        const NONE: Circumstances = Circumstances::NONE;
        let plain = health(at(3600));
        let with = |circumstances| plain.clone().with(circumstances);
        let alone = [
            Health { state: State::New, armed: false, expectation: None, heard: false, ..plain.clone() },
            Health { manual_resume: true, latest_at: at(5), ..plain.clone() },
            Health {
                expectation: Some(Expectation { occurrence: at(9), deadline: Timestamp::MAX, excused: true }),
                ..plain.clone()
            },
            Health { outages_seen: at(4), ..plain.clone() },
            Health { failures: 3, ..plain.clone() },
            with(Circumstances { moves: OutageMoves { held: Some(at(3)), ..OutageMoves::default() }, ..NONE }),
            with(Circumstances { runs: vec![Run { id: Some(run_id(1)), began_at: at(1), limit_at: None }], ..NONE }),
            with(Circumstances { ended_runs: vec![EndedRun { id: None, overran: true }], ..NONE }),
            Health { based_at: Timestamp::MIN, latest_at: Timestamp::MAX, ping_count: u64::MAX, ..laden() },
            with(Circumstances { incident: Some(Box::new(open_incident())), ..NONE }),
            with(Circumstances { pursuit: Pursuit { remind_at: Some(at(6)), ..Pursuit::default() }, ..NONE }),
            laden(),
            full_record(1).health,
            plain,
        ];
        for health in alone {
            assert_eq!(again(&health).0, health);
        }
    }

    #[test]
    fn what_the_binary_form_does_not_have_is_written_as_json() {
        let is_json = |change: fn(&mut Circumstances)| {
            let mut circumstances = Circumstances::clone(&laden());
            change(&mut circumstances);
            let (health, mut out) = (laden().with(circumstances), Vec::new());
            write_health(&mut out, &health).unwrap();
            assert_eq!(read_health(&out).unwrap(), health);
            out[0] == b'{'
        };
        let changes: [fn(&mut Circumstances); 6] = [
            |all| all.incident.as_mut().unwrap().closed_at = Some(at(9)),
            |all| all.incident.as_mut().unwrap().closing = Some(Closing::Paused),
            |all| all.flaps.downs = vec![at(1)],
            |all| all.pursuit.held = vec!["mail".to_owned()],
            |all| {
                let (route, channels, after) = (String::new(), Vec::new(), std::time::Duration::ZERO);
                all.pursuit.escalations = vec![Escalation { route, channels, due_at: at(1), after }];
            },
            |all| {
                let by = "somebody".to_owned();
                all.incident.as_mut().unwrap().acknowledged = Some(Acknowledgement { at: at(1), by });
            },
        ];
        assert!(!is_json(|_| ()));
        assert!(changes.into_iter().all(is_json));
    }

    #[test]
    fn a_plain_state_is_small() {
        let last = LastPing { n: 1000, arrived_at: at(10), at: at(10), signal: Signal::Success, degraded: false };
        let health =
            Health { based_at: at(10), latest_at: at(10), ping_count: 1000, last_ping: Some(last), ..health(at(3610)) };
        assert!(again(&health).1 <= 24, "{} bytes", again(&health).1);
    }

    #[test]
    fn a_monitor_that_is_down_takes_little_more() {
        let down =
            health(at(3610)).with(Circumstances { incident: Some(Box::new(open_incident())), ..Circumstances::NONE });
        let (json, bytes) = (serde_json::to_string(&down).unwrap().len(), again(&down).1);
        assert!(bytes * 4 < json, "{bytes} bytes and {json} as JSON");
    }

    #[test]
    fn what_is_cut_or_unknown_is_refused() {
        let mut out = Vec::new();
        write_health(&mut out, &laden()).unwrap();
        for end in 0..out.len() {
            assert!(read_health(&out[..end]).is_err(), "cut at {end}");
        }
        assert!(read_health(b"{").is_err() && read_health(&[BINARY, 0xff, 0xff, 3]).is_err());
        out.push(0);
        assert!(read_health(&out).is_err());
    }
}
