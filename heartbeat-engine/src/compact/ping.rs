//! A heartbeat: flags, then what it has of the rest. Its number and arrival are in its frame.

use std::time::Duration;

use crate::{Effect, PingEntry, RunId, Signal, Timestamp};

use super::{CompactError, Frame, Reader, write_bytes, write_number, write_signed};

/// In the order of their stored numbers.
pub(super) const SIGNALS: [Signal; 5] = [Signal::Success, Signal::Start, Signal::Fail, Signal::Log, Signal::Report];
const EFFECTS: [Effect; 4] = [Effect::Counted, Effect::Noted, Effect::Older, Effect::Ignored];

// The three low bits are the signal, the next two the effect. What is frequent fits into the first seven.
const AT: u64 = 1 << 5;
const MESSAGE: u64 = 1 << 6;
const RUN: u64 = 1 << 7;
const RUN_DURATION: u64 = 1 << 8;
const BODY: u64 = 1 << 9;
const BODY_CUT: u64 = 1 << 10;
const VALUE: u64 = 1 << 11;
const DURATION: u64 = 1 << 12;
const EXIT_STATUS: u64 = 1 << 13;
const CLAIMED_AT: u64 = 1 << 14;
const SOURCE: u64 = 1 << 15;
const USER_AGENT: u64 = 1 << 16;
const DEGRADED: u64 = 1 << 17;
const KNOWN: u64 = (1 << 18) - 1;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn flags(ping: &PingEntry) -> u64 {
    let place = |found: Option<usize>| found.unwrap_or(0) as u64;
    let signal = place(SIGNALS.iter().position(|signal| *signal == ping.signal));
    let effect = place(EFFECTS.iter().position(|effect| *effect == ping.effect));
    let set = [
        (AT, ping.at != ping.arrived_at),
        (MESSAGE, ping.message.is_some()),
        (RUN, ping.run.is_some()),
        (RUN_DURATION, ping.run_duration.is_some()),
        (BODY, ping.body.is_some()),
        (BODY_CUT, ping.body_cut),
        (VALUE, ping.value.is_some()),
        (DURATION, ping.duration.is_some()),
        (EXIT_STATUS, ping.exit_status.is_some()),
        (CLAIMED_AT, ping.claimed_at.is_some()),
        (SOURCE, ping.source.is_some()),
        (USER_AGENT, ping.user_agent.is_some()),
        (DEGRADED, ping.degraded),
    ];
    set.iter().filter(|(_, is)| *is).fold(signal | effect << 3, |flags, (flag, _)| flags | flag)
}

/// Appends the content of a heartbeat's frame.
pub fn write_ping(out: &mut Vec<u8>, ping: &PingEntry) {
    write_number(out, flags(ping));
    // A new field must get its flag.
    let PingEntry {
        n: _,
        arrived_at,
        at,
        signal: _,
        effect: _,
        run,
        run_duration,
        message,
        body,
        body_cut: _,
        value,
        duration,
        exit_status,
        claimed_at,
        source,
        user_agent,
        degraded: _,
    } = ping;
    let since_arrival = |time: &Timestamp| time.as_millis().wrapping_sub(arrived_at.as_millis());
    if at != arrived_at {
        write_signed(out, since_arrival(at));
    }
    if let Some(run) = run {
        out.extend_from_slice(run.as_bytes());
    }
    for duration in [run_duration, duration].into_iter().flatten() {
        write_number(out, millis(*duration));
    }
    if let Some(value) = value {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend(exit_status);
    if let Some(claimed_at) = claimed_at {
        write_signed(out, since_arrival(claimed_at));
    }
    for text in [message, source, user_agent].into_iter().flatten() {
        write_bytes(out, text.as_bytes());
    }
    if let Some(body) = body {
        write_bytes(out, body);
    }
}

/// Reads what is counted of a heartbeat: its signal, and [`PingEntry::took`].
///
/// # Errors
/// When the content is cut or not known.
pub fn read_counted(frame: &Frame<'_>) -> Result<(Signal, Option<Duration>), CompactError> {
    let mut reader = Reader::new(frame.content);
    let flags = reader.number()?;
    let signal = signal(flags)?;
    if flags & AT != 0 {
        reader.signed()?;
    }
    if flags & RUN != 0 {
        reader.array::<16>()?;
    }
    let took = if flags & (RUN_DURATION | DURATION) != 0 { Some(reader.number()?) } else { None };
    Ok((signal, took.map(Duration::from_millis)))
}

fn signal(flags: u64) -> Result<Signal, CompactError> {
    if flags & !KNOWN != 0 {
        return Err(CompactError::new("a heartbeat has unknown flags"));
    }
    SIGNALS.get((flags & 7) as usize).copied().ok_or_else(|| CompactError::new("a heartbeat has no signal"))
}

/// Reads a heartbeat from its frame.
///
/// # Errors
/// When the content is not exactly that of one heartbeat.
pub fn read_ping(frame: &Frame<'_>) -> Result<PingEntry, CompactError> {
    let mut reader = Reader::new(frame.content);
    let flags = reader.number()?;
    let signal = signal(flags)?;
    let has = |flag: u64| flags & flag != 0;
    let arrived_at = Timestamp::from_millis(frame.arrived_at);
    let since_arrival = |offset: i64| Timestamp::from_millis(frame.arrived_at.wrapping_add(offset));
    let effect = EFFECTS[(flags >> 3 & 3) as usize];
    // In the order in which they were written.
    let at = if has(AT) { since_arrival(reader.signed()?) } else { arrived_at };
    let run = if has(RUN) { Some(RunId::from_bytes(reader.array()?)) } else { None };
    let mut length =
        |flag| if has(flag) { reader.number().map(|ms| Some(Duration::from_millis(ms))) } else { Ok(None) };
    let (run_duration, duration) = (length(RUN_DURATION)?, length(DURATION)?);
    let value = if has(VALUE) { Some(f64::from_le_bytes(reader.array()?)) } else { None };
    let exit_status = if has(EXIT_STATUS) { Some(reader.byte()?) } else { None };
    let claimed_at = if has(CLAIMED_AT) { Some(since_arrival(reader.signed()?)) } else { None };
    let mut text = |flag| if has(flag) { reader.text().map(Some) } else { Ok(None) };
    let (message, source, user_agent) = (text(MESSAGE)?, text(SOURCE)?, text(USER_AGENT)?);
    let body = if has(BODY) { Some(reader.bytes()?.to_vec()) } else { None };
    if !reader.is_empty() {
        return Err(CompactError::new("a heartbeat is longer than it says"));
    }
    Ok(PingEntry {
        n: frame.n,
        arrived_at,
        at,
        signal,
        effect,
        run,
        run_duration,
        message,
        body,
        body_cut: has(BODY_CUT),
        value,
        duration,
        exit_status,
        claimed_at,
        source,
        user_agent,
        degraded: has(DEGRADED),
    })
}

#[cfg(all(test, feature = "testing"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::testing::fixtures::{full_ping, ping};

    use super::*;

    fn again(ping: &PingEntry) -> PingEntry {
        let mut content = Vec::new();
        write_ping(&mut content, ping);
        let frame = Frame { n: ping.n, arrived_at: ping.arrived_at.as_millis(), content: &content };
        assert_eq!(read_counted(&frame), Ok((ping.signal, ping.took())));
        read_ping(&frame).unwrap()
    }

    #[test]
    fn heartbeats_are_read_as_they_were_written() {
        for ping in
            [ping(1), full_ping(2), PingEntry { at: Timestamp::MIN, arrived_at: Timestamp::MAX, ..full_ping(3) }]
        {
            assert_eq!(again(&ping), ping);
        }
        for signal in SIGNALS {
            for effect in EFFECTS {
                let ping = PingEntry { signal, effect, ..ping(4) };
                assert_eq!(again(&ping), ping);
            }
        }
    }

    #[test]
    fn every_field_alone_is_read_as_it_was_written() {
        let full = full_ping(1);
        let single = [
            PingEntry { at: full.at, ..ping(1) },
            PingEntry { run: full.run, ..ping(1) },
            PingEntry { run_duration: full.run_duration, ..ping(1) },
            PingEntry { message: full.message.clone(), ..ping(1) },
            PingEntry { body: full.body.clone(), ..ping(1) },
            PingEntry { body_cut: true, ..ping(1) },
            PingEntry { value: full.value, ..ping(1) },
            PingEntry { duration: full.duration, ..ping(1) },
            PingEntry { exit_status: Some(0), ..ping(1) },
            PingEntry { claimed_at: full.claimed_at, ..ping(1) },
            PingEntry { source: full.source.clone(), ..ping(1) },
            PingEntry { user_agent: full.user_agent.clone(), ..ping(1) },
            PingEntry { degraded: true, ..ping(1) },
        ];
        for ping in single {
            assert_eq!(again(&ping), ping);
        }
    }

    #[test]
    fn a_plain_heartbeat_takes_one_byte_beside_its_number_and_arrival() {
        let mut content = Vec::new();
        write_ping(&mut content, &ping(1));
        assert_eq!(content.len(), 1);
    }

    #[test]
    fn what_is_cut_or_unknown_is_refused() {
        let mut content = Vec::new();
        write_ping(&mut content, &PingEntry { body: None, ..full_ping(1) });
        for end in 0..content.len() {
            assert!(read_ping(&Frame { n: 1, arrived_at: 0, content: &content[..end] }).is_err(), "cut at {end}");
        }
        let mut unknown = Vec::new();
        write_number(&mut unknown, KNOWN + 1);
        for content in [&unknown[..], &[5], &[0, 0]] {
            assert!(read_ping(&Frame { n: 1, arrived_at: 0, content }).is_err(), "{content:?}");
        }
    }
}
