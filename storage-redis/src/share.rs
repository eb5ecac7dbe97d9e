//! A batch as `lua/commit.lua` takes it, where its form is told.

use heartbeat_engine::{Batch, Change, PingEntry, Record, StorageError, Transition, Version};

use crate::codec;
use crate::error::unencodable;
use crate::rounds::Share;
use crate::store::Store;

/// Fewer heartbeats than these lie beside a state: one whose number is a multiple takes them with it into the list.
const TOGETHER: u64 = 8;
/// One that is longer goes into the list at once, since what lies beside a state is written anew with each heartbeat.
const BESIDE_BYTES_MAX: usize = 96;
/// A longer one is sent by itself.
const PLAIN_BYTES_MAX: usize = 1024;

/// The record that a transition writes; `None` where it removes the monitor.
pub(crate) fn put(transition: &Transition) -> Option<&Record> {
    match &transition.change {
        Change::Put(record) => Some(record),
        Change::Remove => None,
    }
}

/// Plain heartbeats, packed one behind the other.
#[derive(Default)]
struct Plain {
    places: Vec<usize>,
    bytes: Vec<u8>,
}

/// Makes the share of a batch.
#[derive(Default)]
pub(crate) struct ShareMaker {
    beside: Plain,
    listed: Plain,
    others: Vec<usize>,
    arguments: Vec<Vec<u8>>,
    scratch: Vec<u8>,
}

impl ShareMaker {
    /// Adds the transition at this place of the batch, with its wish or without.
    pub(crate) fn add(&mut self, place: usize, transition: &Transition, with_wish: bool) -> Result<(), StorageError> {
        if let Some((record, ping)) = plain(transition).filter(|_| !with_wish) {
            self.scratch.clear();
            codec::ping(&mut self.scratch, ping);
            if self.scratch.len() <= PLAIN_BYTES_MAX {
                let is_listed = ping.n.is_multiple_of(TOGETHER) || self.scratch.len() > BESIDE_BYTES_MAX;
                return self.add_plain(place, transition.expected.unwrap_or_default(), record, is_listed);
            }
        }
        self.others.push(place);
        self.add_other(transition, with_wish)
    }

    /// Adds a heartbeat without content that leaves the record as it is.
    #[cfg(feature = "bench")]
    pub(crate) fn add_repeatable(&mut self, record: &Record, is_listed: bool) -> Result<(), StorageError> {
        self.scratch.clear();
        self.add_plain(0, record.version, record, is_listed)
    }

    /// Adds one whose heartbeat is packed already.
    fn add_plain(
        &mut self,
        place: usize,
        expected: Version,
        record: &Record,
        is_listed: bool,
    ) -> Result<(), StorageError> {
        let plain = if is_listed { &mut self.listed } else { &mut self.beside };
        plain.places.push(place);
        let out = &mut plain.bytes;
        out.extend_from_slice(record.id().as_bytes());
        out.extend_from_slice(&expected.0.to_be_bytes());
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        codec::state(out, record)?;
        out.extend_from_slice(&self.scratch);
        let length = u32::try_from(out.len() - length_at - 4).map_err(unencodable)?;
        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn add_other(&mut self, transition: &Transition, with_wish: bool) -> Result<(), StorageError> {
        let Transition { monitor, expected, change: _, pings, changes, incidents, notifications } = transition;
        let record = put(transition);
        let mut head = vec![match (record, expected) {
            (Some(_), None) => b'C',
            (Some(_), Some(_)) => b'P',
            (None, _) => b'R',
        }];
        head.extend_from_slice(monitor.as_bytes());
        head.extend_from_slice(&expected.unwrap_or_default().0.to_be_bytes());
        let mut state = Vec::new();
        if let Some(record) = record {
            codec::state(&mut state, record)?;
        }
        head.extend_from_slice(&u32::try_from(state.len()).map_err(unencodable)?.to_be_bytes());
        let mut parts = Vec::new();
        if let Some(record) = record {
            if with_wish {
                parts.push([b"w", &codec::json(&*record.monitor)?[..]].concat());
            }
            // What is told of a monitor that is removed goes with it.
            for ping in pings {
                let mut part = vec![b'p'];
                codec::ping(&mut part, ping);
                parts.push(part);
            }
            for change in changes {
                parts.push([b"c", &codec::json(change)?[..]].concat());
            }
        }
        for incident in incidents {
            let mut part = vec![b'i'];
            codec::incident(&mut part, incident)?;
            parts.push(part);
        }
        for owed in notifications {
            let mut part = vec![b'n'];
            codec::notification(&mut part, owed)?;
            parts.push(part);
        }
        self.arguments.extend([head, state, number(parts.len())]);
        self.arguments.append(&mut parts);
        Ok(())
    }

    /// The share, with the rest of the batch or without, and the places of its transitions in the order of the answer.
    pub(crate) fn finish(
        self,
        store: &Store,
        batch: &Batch,
        wishes_until_ms: u64,
        with_rest: bool,
    ) -> Result<(Share, Vec<usize>), StorageError> {
        let Self { beside, listed, others, arguments: mut transitions, .. } = self;
        let plain = beside.places.len() + listed.places.len();
        let counts = [plain, listed.places.len(), others.len()].map(number);
        let mut arguments = [vec![number(wishes_until_ms)], counts.to_vec()].concat();
        arguments.append(&mut transitions);
        let (notifications, settlements) =
            if with_rest { (&batch.notifications[..], &batch.settlements[..]) } else { Default::default() };
        arguments.push(number(notifications.len()));
        for owed in notifications {
            let mut bytes = Vec::new();
            codec::notification(&mut bytes, owed)?;
            arguments.push(bytes);
        }
        arguments.push(number(settlements.len()));
        for settlement in settlements {
            arguments.push(codec::settlement(settlement)?);
        }
        arguments.push([beside.bytes, listed.bytes].concat());
        let share = Share { lease: store.keys.lease(batch.partition), epoch: batch.epoch.0, arguments };
        Ok((share, [beside.places, listed.places, others].concat()))
    }
}

/// The record and the heartbeat of a transition that has nothing else.
fn plain(transition: &Transition) -> Option<(&Record, &PingEntry)> {
    let Transition { monitor: _, expected, change: _, pings, changes, incidents, notifications } = transition;
    let [ping] = &pings[..] else { return None };
    let alone = changes.is_empty() && incidents.is_empty() && notifications.is_empty();
    put(transition).filter(|_| alone && expected.is_some()).map(|record| (record, ping))
}

fn number(value: impl std::fmt::Display) -> Vec<u8> {
    value.to_string().into_bytes()
}
