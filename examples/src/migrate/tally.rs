//! What a storage holds, as counts and checksums that do not depend on any order.

use std::fmt::Write;

use futures_util::TryStreamExt;
use heartbeat_engine::{Counts, DeliveryState, Incident, MonitorId, OutboxEntry, PingEntry, Signal, StorageError};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::read::{self, Store, Whole};
use super::{DOCUMENT_KINDS, hours};

/// How many things there are, and the sum of their hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) sum: u128,
}

impl Tally {
    fn add(&mut self, thing: &impl Serialize) -> Result<(), StorageError> {
        self.add_with_body(thing, None)
    }

    /// The same for what has a body, which its own form leaves out.
    fn add_with_body(&mut self, thing: &impl Serialize, body: Option<&[u8]>) -> Result<(), StorageError> {
        let text = serde_json::to_vec(thing)
            .map_err(|error| StorageError::Corrupt(format!("something has no JSON form: {error}")))?;
        let mut hash = Sha256::new_with_prefix(&text);
        if let Some(body) = body {
            hash.update(b"\nbody ");
            hash.update(body);
        }
        let mut half = [0; 16];
        half.copy_from_slice(&hash.finalize()[..16]);
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(half));
        Ok(())
    }
}

/// The kinds of things, in the order of the table.
pub(super) const KINDS: [&str; 11] = [
    "monitors",
    "heartbeats",
    "counted hours",
    "changes of state",
    "open incidents",
    "closed incidents",
    "pending notifications",
    "settled notifications",
    "documents",
    "outages",
    "mark of life",
];

/// A tally of each kind.
pub(super) type Tallies = [Tally; KINDS.len()];

/// Reads a storage through; `seen` is told how many monitors were read.
pub(super) async fn read(store: Store, seen: impl Fn(u64)) -> Result<Tallies, StorageError> {
    let store = &store;
    let mut tallies = Tallies::default();
    let [monitors, pings, hours, changes, open, closed, pending, settled, documents, outages, mark] = &mut tallies;
    let mut pages = Box::pin(read::records(store));
    while let Some(records) = pages.try_next().await? {
        let mut whole = Box::pin(read::whole(store, records));
        while let Some(found) = whole.try_next().await? {
            of_monitor(&found, monitors, pings, hours)?;
        }
        seen(monitors.count);
    }
    let mut pages = Box::pin(read::events(store, 0));
    while let Some(events) = pages.try_next().await? {
        events.iter().try_for_each(|event| changes.add(event))?;
    }
    let mut pages = Box::pin(read::newest_first::<Incident>(store));
    while let Some(incidents) = pages.try_next().await? {
        incidents
            .iter()
            .try_for_each(|incident| if incident.is_open() { &mut *open } else { &mut *closed }.add(incident))?;
    }
    let mut pages = Box::pin(read::newest_first::<OutboxEntry>(store));
    while let Some(entries) = pages.try_next().await? {
        for OutboxEntry { notification, delivery, .. } in &entries {
            let tally = if delivery.state == DeliveryState::Pending { &mut *pending } else { &mut *settled };
            tally.add_with_body(
                &(notification, delivery),
                notification.ping.as_ref().and_then(|ping| ping.body.as_deref()),
            )?;
        }
    }
    for kind in DOCUMENT_KINDS {
        store.documents(kind).await?.iter().try_for_each(|document| documents.add(document))?;
    }
    let log = store.watch_log().await?;
    log.outages.iter().try_for_each(|outage| outages.add(outage))?;
    log.mark.iter().try_for_each(|at| mark.add(at))?;
    Ok(tallies)
}

fn of_monitor(found: &Whole, monitors: &mut Tally, pings: &mut Tally, hours: &mut Tally) -> Result<(), StorageError> {
    let id = found.record.id();
    monitors.add(&found.record)?;
    found.pings.iter().try_for_each(|ping: &PingEntry| pings.add_with_body(&(id, ping), ping.body.as_deref()))?;
    hours::whole(&found.hours, &found.pings).iter().try_for_each(|hour| hours.add(&form(id, hour)))
}

fn form(id: MonitorId, hour: &Counts) -> impl Serialize {
    let durations = hour.durations;
    let took = [durations.count, durations.sum_ms, durations.min_ms, durations.max_ms];
    (id, hour.begins_at, Signal::ALL.map(|signal| hour.of(signal)), took)
}

/// The table of both sides, and the first kind in which they differ.
pub(super) fn table(source: &Tallies, target: &Tallies) -> (String, Option<&'static str>) {
    let mut text =
        format!("{:<22} {:>12} {:>12}  {:<32}  same\n", "kind", "source", "target", "checksum of the source");
    let mut differs = None;
    for (kind, (source, target)) in KINDS.into_iter().zip(source.iter().zip(target)) {
        let same = source == target;
        differs = differs.or((!same).then_some(kind));
        let Tally { count, sum } = source;
        let same = if same { "yes" } else { "NO" };
        // A String takes everything.
        let _ = writeln!(text, "{kind:<22} {count:>12} {:>12}  {sum:032x}  {same}", target.count);
    }
    (text, differs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(things: &[&str]) -> Tally {
        let mut tally = Tally::default();
        things.iter().for_each(|thing| tally.add(thing).unwrap());
        tally
    }

    #[test]
    fn the_order_does_not_matter_and_everything_else_does() {
        assert_eq!(tally(&["a", "b", "b"]), tally(&["b", "a", "b"]));
        assert_ne!(tally(&["a", "b"]), tally(&["a", "a"]));
        let mut bodies = [None, Some(&b""[..]), Some(b"x")].map(|body| {
            let mut tally = Tally::default();
            tally.add_with_body(&"a", body).unwrap();
            tally.sum
        });
        bodies.sort_unstable();
        assert!(bodies[0] < bodies[1] && bodies[1] < bodies[2], "bodies count, also empty ones");
        assert_ne!(tally(&["a", "b", "b"]).sum, tally(&["a"]).sum, "two alike do not cancel out");
    }

    #[test]
    fn the_table_names_the_first_difference() {
        let (mut one, other) = (Tallies::default(), Tallies::default());
        assert_eq!(table(&one, &other).1, None);
        one[2] = tally(&["x"]);
        one[9] = tally(&["y"]);
        let (text, differs) = table(&one, &other);
        assert_eq!(differs, Some("counted hours"));
        assert_eq!(text.matches(" NO\n").count(), 2, "{text}");
    }
}
