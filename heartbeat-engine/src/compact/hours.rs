//! Hours of counted heartbeats: the first number, then of each hour how many hours after the one before it is, how many
//! heartbeats of each signal it has unless they are as many as in the hour before, and how long they took.
//!
//! Steady jobs are the most frequent, so an hour like the one before takes a byte, and the length of one run two or three more.

use std::collections::BTreeMap;

use crate::{Counts, CountsPer, Durations, Signal, Timestamp};

use super::ping::read_counted;
use super::{CompactError, Frame, Reader, write_number, write_signed};

/// The lowest bit of an hour's head: as many of everything as in the hour before. The others are the distance.
const SAME: u64 = 1;
/// Above the signals in an hour's mask: some took a known time…
const TIMED: u8 = 1 << 5;
/// …and how many is said, because it is not one for each heartbeat that may end a run.
const COUNTED: u8 = 1 << 6;
const KNOWN: u8 = (1 << 7) - 1;

/// Writes hours, oldest first.
#[derive(Default, Debug)]
pub struct HourPacker {
    /// What is written so far.
    pub bytes: Vec<u8>,
    before: Option<(i64, Counts)>,
}

impl HourPacker {
    /// Writes the counts of an hour by its number, see [`hour_of`].
    pub fn push(&mut self, number: i64, counts: &Counts) {
        let distance = match &self.before {
            Some((before, _)) => number.wrapping_sub(*before).cast_unsigned(),
            None => {
                write_signed(&mut self.bytes, number);
                0
            }
        };
        let same = self.before.as_ref().is_some_and(|(_, before)| {
            before.durations.count == counts.durations.count
                && Signal::ALL.iter().all(|signal| before.of(*signal) == counts.of(*signal))
        });
        write_number(&mut self.bytes, distance << 1 | u64::from(same));
        if !same {
            write_numbers(&mut self.bytes, counts);
        }
        let Durations { count, sum_ms, min_ms, max_ms } = counts.durations;
        if count > 0 {
            write_number(&mut self.bytes, min_ms);
        }
        if count > 1 {
            write_number(&mut self.bytes, max_ms.wrapping_sub(min_ms));
            write_number(&mut self.bytes, sum_ms.wrapping_sub(min_ms.wrapping_mul(count)));
        }
        self.before = Some((number, *counts));
    }
}

/// How many heartbeats may have ended a run.
fn ends(counts: &Counts) -> u64 {
    let ends = [Signal::Success, Signal::Fail, Signal::Report];
    ends.iter().fold(0, |sum: u64, signal| sum.saturating_add(counts.of(*signal)))
}

fn write_numbers(out: &mut Vec<u8>, counts: &Counts) {
    let timed = counts.durations.count;
    let mut mask = Signal::ALL.iter().fold(0, |mask, signal| mask | u8::from(counts.of(*signal) > 0) << *signal as u8);
    mask |= if timed > 0 { TIMED } else { 0 } | if timed > 0 && timed != ends(counts) { COUNTED } else { 0 };
    out.push(mask);
    for signal in Signal::ALL.iter().filter(|signal| counts.of(**signal) > 0) {
        write_number(out, counts.of(*signal));
    }
    if mask & COUNTED != 0 {
        write_number(out, timed);
    }
}

/// Reads what was written, oldest first: the numbers of hours, and their counts.
///
/// # Errors
/// When the bytes are damaged.
pub fn read_hours(bytes: &[u8]) -> Result<Vec<(i64, Counts)>, CompactError> {
    let mut reader = Reader::new(bytes);
    let mut hours: Vec<(i64, Counts)> = Vec::new();
    if reader.is_empty() {
        return Ok(hours);
    }
    let mut number = reader.signed()?;
    while !reader.is_empty() {
        let head = reader.number()?;
        number = number.wrapping_add((head >> 1).cast_signed());
        let mut counts = Counts::new(hour_begin(number));
        let timed = match hours.last() {
            Some((_, before)) if head & SAME != 0 => {
                Signal::ALL.iter().for_each(|signal| counts.add_many(*signal, before.of(*signal)));
                before.durations.count
            }
            None if head & SAME != 0 => return Err(CompactError::new("an hour is like none before")),
            _ => read_numbers(&mut reader, &mut counts)?,
        };
        if timed > 0 {
            let min_ms = reader.number()?;
            let (over, more) = if timed > 1 { (reader.number()?, reader.number()?) } else { (0, 0) };
            let sum_ms = min_ms.wrapping_mul(timed).wrapping_add(more);
            counts.durations = Durations { count: timed, sum_ms, min_ms, max_ms: min_ms.wrapping_add(over) };
        }
        hours.push((number, counts));
    }
    Ok(hours)
}

/// Says how many took a known time.
fn read_numbers(reader: &mut Reader<'_>, counts: &mut Counts) -> Result<u64, CompactError> {
    let mask = reader.byte()?;
    if mask & !KNOWN != 0 {
        return Err(CompactError::new("an hour has unknown numbers"));
    }
    for signal in Signal::ALL.iter().filter(|signal| mask >> **signal as u8 & 1 != 0) {
        counts.add_many(*signal, reader.number()?);
    }
    if mask & COUNTED != 0 {
        return reader.number();
    }
    Ok(if mask & TIMED != 0 { ends(counts) } else { 0 })
}

/// Hours that are being counted, by their number: hours since 1970 in UTC.
pub type Hours = BTreeMap<i64, Counts>;

fn counts_of(hours: &mut Hours, number: i64) -> &mut Counts {
    hours.entry(number).or_insert_with(|| Counts::new(hour_begin(number)))
}

/// Counts a heartbeat in the hour in which it arrived.
///
/// # Errors
/// When its content is cut or not known; then it is not counted.
pub fn count_heartbeat(hours: &mut Hours, frame: &Frame<'_>) -> Result<(), CompactError> {
    let (signal, took) = read_counted(frame)?;
    counts_of(hours, hour_of(Timestamp::from_millis(frame.arrived_at))).add(signal, took);
    Ok(())
}

/// Adds hours as [`pack_hours`] and [`HourPacker`] write them.
///
/// # Errors
/// When the bytes are damaged; then nothing is added.
pub fn add_hours(hours: &mut Hours, packed: &[u8]) -> Result<(), CompactError> {
    for (number, counts) in read_hours(packed)? {
        counts_of(hours, number).merge(&counts);
    }
    Ok(())
}

/// The bytes of hours.
#[must_use]
pub fn pack_hours(hours: &Hours) -> Vec<u8> {
    let mut packer = HourPacker::default();
    hours.iter().for_each(|(number, counts)| packer.push(*number, counts));
    packer.bytes
}

/// The number of the hour of an instant: hours since 1970 in UTC.
#[must_use]
pub const fn hour_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(CountsPer::Hour.millis())
}

/// When the hour with a number begins.
#[must_use]
pub const fn hour_begin(number: i64) -> Timestamp {
    Timestamp::from_millis(number.saturating_mul(CountsPer::Hour.millis()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn packed(hours: &[(i64, Counts)]) -> Vec<u8> {
        let mut packer = HourPacker::default();
        hours.iter().for_each(|(number, counts)| packer.push(*number, counts));
        packer.bytes
    }

    fn hour_with(number: i64, heartbeats: &[(usize, Option<u64>)]) -> (i64, Counts) {
        let mut counts = Counts::new(hour_begin(number));
        for (signal, ms) in heartbeats {
            counts.add(Signal::ALL[*signal], ms.map(Duration::from_millis));
        }
        (number, counts)
    }

    proptest! {
        #[test]
        fn hours_are_read_as_they_were_written(
            found in prop::collection::btree_map(
                prop_oneof![0..60_i64, -3_000_000_000_000..3_000_000_000_000_i64],
                prop::collection::vec((0..5_usize, prop_oneof![Just(None), Just(Some(7)), any::<u64>().prop_map(Some)]), 1..6),
                0..12,
            )
        ) {
            let hours: Vec<_> = found.iter().map(|(number, heartbeats)| hour_with(*number, heartbeats)).collect();
            let bytes = packed(&hours);
            assert_eq!(read_hours(&bytes), Ok(hours.clone()));
            for end in 0..bytes.len() {
                // Whatever is cut off is missed, or the rest reads as what came before.
                if let Ok(read) = read_hours(&bytes[..end]) {
                    assert_eq!(read[..], hours[..read.len()]);
                }
            }
        }

        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read_hours(&bytes);
        }
    }

    #[test]
    fn a_steady_hour_takes_four_bytes_and_one_byte_without_a_length() {
        let hours = |ms: fn(i64) -> Option<u64>| -> Vec<_> {
            (0..100).map(|n| hour_with(490_000 + n, &[(0, ms(n))])).collect()
        };
        let head = 6;
        assert_eq!(packed(&hours(|_| None)).len(), head + 99);
        assert!(packed(&hours(|n| Some(600_000 + n.cast_unsigned() * 7919))).len() <= head + 100 * 4);
        let daily: Vec<_> = (0..100).map(|n| hour_with(490_000 + 24 * n, &[(0, Some(9000))])).collect();
        assert!(packed(&daily).len() <= head + 100 * 3);
        let minutely: Vec<_> = (0..100).map(|n| hour_with(490_000 + n, &[(0, Some(900)); 60])).collect();
        assert!(packed(&minutely).len() <= head + 100 * 5);
    }

    #[test]
    fn sums_that_saturated_are_kept() {
        let hours = [hour_with(1, &[(0, Some(u64::MAX)), (0, Some(u64::MAX)), (1, Some(3))])];
        assert_eq!(read_hours(&packed(&hours)).unwrap(), hours);
    }

    #[test]
    fn the_bytes_of_an_hour_stay_what_they_were() {
        let all = [(0, Some(5)), (1, None), (2, None), (3, None), (4, None)];
        let bytes = [0xa0, 0xe8, 0x3b, 0x00, 0x7f, 1, 1, 1, 1, 1, 1, 5];
        assert_eq!(packed(&[hour_with(490_000, &all)]), bytes);
    }

    #[test]
    fn what_nobody_wrote_is_refused() {
        for bytes in [&[0, 1][..], &[0, 0, 0x80], &[0, 0, 1], &[0xff; 11]] {
            assert!(read_hours(bytes).is_err(), "{bytes:?}");
        }
    }
}
