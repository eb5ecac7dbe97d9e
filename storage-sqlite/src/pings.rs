//! The history of heartbeats: for each monitor a row with its newest ones, and chunks of older ones.
//!
//! Folding rewrites the row of the newest, so it is short and lies close to those of other monitors. What has outgrown it
//! becomes a chunk. Chunks are appended in the order in which they are made and never changed, so they fill their pages;
//! the row of the newest knows their keys. Chunks that were made together are dropped about together, so whole pages come
//! free. A row for each heartbeat, as before version 3, took twice the room and a page write per heartbeat.

use heartbeat_engine::{HistoryItem, MonitorId, Page};
use rusqlite::{Connection, OptionalExtension};

use crate::error;
use crate::log::{self, Position};
use crate::readers::{Read, ReadError};
use heartbeat_engine::compact::{CompactError, Frame, FramePacker, Frames, Reader, read_ping, write_number};

/// How many bytes of heartbeats and of the list of chunks stay in the row of the newest. With its key and the hours it must
/// stay below a quarter of a page.
const RECENT_BYTES: usize = 735;
/// How large a chunk may be, unless it is one heartbeat: five of these fill a page. Little of it is left free, because what
/// outgrew the row of the newest is nearly as large.
const CHUNK_BYTES: usize = 808;
/// About how many bytes a frame has beside its content…
const FRAME_BYTES: usize = 8;
/// …and the list for a chunk.
const CHUNK_ENTRY_BYTES: usize = 4;

pub(crate) const FOLDED: &str = "SELECT folded FROM monitors WHERE id = ?1";
pub(crate) const RECENT: &str = "SELECT chunks, pings, counts FROM recent WHERE monitor = ?1";
pub(crate) const CHUNK: &str = "SELECT pings FROM chunks WHERE key = ?1";

/// A chunk as the row of the newest knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Chunk {
    key: i64,
    /// The number of its first heartbeat.
    first: u64,
    count: u64,
}

/// What is stored of a monitor's heartbeats.
#[derive(Default)]
pub(crate) struct Stored {
    chunks: Vec<Chunk>,
    /// Frames.
    recent: Vec<u8>,
    /// The newest hours, see [`crate::counts`].
    pub(crate) hours: Vec<u8>,
}

/// What folding makes of it.
pub(crate) struct Folded {
    /// How many heartbeats are kept.
    pub(crate) kept: u64,
    pub(crate) chunks: Vec<u8>,
    pub(crate) recent: Vec<u8>,
    pub(crate) added: Vec<(i64, Vec<u8>)>,
    pub(crate) dropped: Vec<i64>,
}

impl Stored {
    pub(crate) fn read(connection: &Connection, id: &[u8; 16]) -> Read<Self> {
        let (chunks, recent, hours) = Self::columns(connection, id)?;
        Ok(Self { chunks: read_chunks(&chunks).map_err(|error| damaged(id, &error))?, recent, hours })
    }

    /// What of it can be read, and why the rest cannot: the list of chunks and the newest are damaged each for itself.
    pub(crate) fn readable(connection: &Connection, id: &[u8; 16]) -> Read<(Self, Option<CompactError>)> {
        let (chunks, recent, hours) = Self::columns(connection, id)?;
        let (chunks, lost) = read_chunks(&chunks).map_or_else(|error| (Vec::new(), Some(error)), |found| (found, None));
        Ok(match range(&recent) {
            Ok(_) => (Self { chunks, recent, hours }, lost),
            Err(error) => (Self { chunks, recent: Vec::new(), hours }, Some(error)),
        })
    }

    /// The newest hours alone.
    pub(crate) fn hours(connection: &Connection, id: &[u8; 16]) -> rusqlite::Result<Vec<u8>> {
        Ok(Self::columns(connection, id)?.2)
    }

    /// The list of chunks, the newest, and the newest hours.
    fn columns(connection: &Connection, id: &[u8; 16]) -> rusqlite::Result<(Vec<u8>, Vec<u8>, Vec<u8>)> {
        let mut statement = connection.prepare_cached(RECENT)?;
        let found = statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
        Ok(found.unwrap_or_default())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = i64> {
        self.chunks.iter().map(|chunk| chunk.key)
    }

    /// Adds the heartbeats of entries, oldest first, and forgets what is beyond the newest `keep`. New chunks get the keys
    /// behind `last_key`, which counts on.
    pub(crate) fn fold(mut self, entries: &[&[u8]], keep: u64, last_key: &mut i64) -> Result<Folded, CompactError> {
        let all = std::iter::once(&self.recent[..]).chain(entries.iter().copied()).flat_map(Frames::new);
        let mut frames = all.collect::<Result<Vec<_>, _>>()?;
        let last = frames.last().map_or(0, |last| last.n);
        frames.retain(|frame| is_kept(frame.n, last, keep));
        let mut made = pack_chunks(&frames);
        let room = RECENT_BYTES.saturating_sub(write_chunks(&self.chunks).len() + made.len() * CHUNK_ENTRY_BYTES);
        let stays = made.pop_if(|(_, _, bytes)| bytes.len() <= room);
        let oldest = stays.as_ref().map_or(u64::MAX, |(first, _, _)| *first);
        let (recent_count, recent) = stays.map_or_else(Default::default, |(_, count, bytes)| (count, bytes));
        let mut added = Vec::new();
        for (first, count, bytes) in made {
            *last_key += 1;
            self.chunks.push(Chunk { key: *last_key, first, count });
            added.push((*last_key, bytes));
        }
        let behind = self.chunks.iter().skip(1).map(|chunk| chunk.first).chain([oldest]);
        // A chunk ends before the next one begins.
        let gone =
            self.chunks.iter().zip(behind).take_while(|(_, next)| *next > 0 && !is_kept(*next - 1, last, keep)).count();
        let dropped = self.chunks.drain(..gone).map(|chunk| chunk.key).collect();
        let kept = self.chunks.iter().map(|chunk| chunk.count).sum::<u64>() + recent_count;
        Ok(Folded { kept, chunks: write_chunks(&self.chunks), recent, added, dropped })
    }
}

/// Whether a heartbeat is among the newest `keep` when the newest is `last`.
pub(crate) const fn is_kept(n: u64, last: u64, keep: u64) -> bool {
    n.saturating_add(keep) > last
}

/// The numbers of the first and the last of some heartbeats.
pub(crate) fn range(frames: &[u8]) -> Result<(u64, u64), CompactError> {
    let mut range: Option<(u64, u64)> = None;
    for frame in Frames::new(frames) {
        let n = frame?.n;
        range = Some((range.map_or(n, |(first, _)| first), n));
    }
    Ok(range.unwrap_or_default())
}

/// First number, count and frames of each chunk.
fn pack_chunks(frames: &[Frame<'_>]) -> Vec<(u64, u64, Vec<u8>)> {
    let mut chunks = Vec::new();
    let mut rest = frames;
    while let Some(first) = rest.first() {
        let mut packer = FramePacker::default();
        let mut count = 0;
        for frame in rest {
            if count > 0 && packer.bytes.len() + frame.content.len() + FRAME_BYTES > CHUNK_BYTES {
                break;
            }
            packer.push(*frame);
            count += 1;
        }
        rest = &rest[count..];
        chunks.push((first.n, count as u64, packer.bytes));
    }
    chunks
}

/// Keys and numbers as differences: they only grow.
fn write_chunks(chunks: &[Chunk]) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut key, mut first) = (0, 0);
    for chunk in chunks {
        write_number(&mut out, chunk.key.wrapping_sub(key).cast_unsigned());
        write_number(&mut out, chunk.first.wrapping_sub(first));
        write_number(&mut out, chunk.count);
        (key, first) = (chunk.key, chunk.first);
    }
    out
}

fn read_chunks(bytes: &[u8]) -> Result<Vec<Chunk>, CompactError> {
    let mut reader = Reader::new(bytes);
    let mut chunks = Vec::new();
    let (mut key, mut first): (i64, u64) = (0, 0);
    while !reader.is_empty() {
        key = key.wrapping_add(reader.number()?.cast_signed());
        first = first.wrapping_add(reader.number()?);
        chunks.push(Chunk { key, first, count: reader.number()? });
    }
    Ok(chunks)
}

fn damaged(id: &[u8; 16], error: &dyn std::fmt::Display) -> ReadError {
    let id = MonitorId::from_bytes(*id);
    ReadError::Undecodable(error::undecodable(&format_args!("history of monitor {id}"), error))
}

/// Collects a page from the newest heartbeat backwards.
struct Collector {
    before: u64,
    keep: u64,
    /// One more than the page, which tells whether there are more.
    wanted: usize,
    /// The newest that there is.
    last: Option<u64>,
    items: Vec<HistoryItem>,
}

impl Collector {
    /// Takes the newest first; says whether older ones are wanted.
    fn take(&mut self, id: &[u8; 16], frames: &[u8]) -> Read<bool> {
        let frames = Frames::new(frames).collect::<Result<Vec<_>, _>>().map_err(|error| damaged(id, &error))?;
        for frame in frames.iter().rev() {
            let last = *self.last.get_or_insert(frame.n);
            if !is_kept(frame.n, last, self.keep) || self.items.len() >= self.wanted {
                return Ok(false);
            }
            if frame.n < self.before {
                let ping = read_ping(frame).map_err(|error| damaged(id, &error))?;
                self.items.push(HistoryItem::Ping(Box::new(ping)));
            }
        }
        Ok(self.items.len() < self.wanted)
    }
}

/// A page of a monitor's heartbeats; `newest` was read from the index before the connection saw anything.
pub(crate) fn page(
    connection: &Connection,
    id: &[u8; 16],
    before: Option<u64>,
    limit: usize,
    newest: Option<Position>,
    keep: u64,
) -> Read<Page<HistoryItem>> {
    let folded = connection.prepare_cached(FOLDED)?.query_row([id], |row| row.get(0)).optional()?;
    let Some(folded) = folded.map(Position::from_column) else { return Ok(Page::empty()) };
    let before = before.unwrap_or(u64::MAX);
    let mut collector = Collector { before, keep, wanted: limit.saturating_add(1), last: None, items: Vec::new() };
    let mut goes_on = true;
    if let Some(newest) = newest {
        log::walk(connection, id, newest, folded, |entry| {
            goes_on = collector.take(id, entry.pings)?;
            Ok(goes_on)
        })?;
    }
    if goes_on {
        let stored = Stored::read(connection, id)?;
        goes_on = collector.take(id, &stored.recent)?;
        for chunk in stored.chunks.iter().rev() {
            if !goes_on {
                break;
            }
            // What lies behind the page is not read, unless it is the newest.
            if chunk.first < before || collector.last.is_none() {
                let mut statement = connection.prepare_cached(CHUNK)?;
                let frames = statement.query_row([chunk.key], |row| row.get::<_, Vec<u8>>(0)).optional()?;
                let frames = frames.ok_or_else(|| damaged(id, &format_args!("chunk {} is missing", chunk.key)))?;
                goes_on = collector.take(id, &frames)?;
            }
        }
    }
    Ok(Page::cut(collector.items, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(numbers: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<u8> {
        let mut packer = FramePacker::default();
        let content = vec![0; bytes];
        numbers.for_each(|n| packer.push(Frame { n, arrived_at: 1_000_000_000_000 + n as i64, content: &content }));
        packer.bytes
    }

    fn stored(folded: &Folded) -> Stored {
        Stored { chunks: read_chunks(&folded.chunks).unwrap(), recent: folded.recent.clone(), hours: Vec::new() }
    }

    #[test]
    fn small_heartbeats_stay_together_and_the_oldest_are_forgotten() {
        let mut key = 0;
        let mut now = Stored::default();
        for n in 1..=50 {
            let folded = now.fold(&[&frames(n * 10 - 9..=n * 10, 1)], 100, &mut key).unwrap();
            assert_eq!((folded.kept, folded.added.len()), ((n * 10).min(100), 0));
            now = stored(&folded);
        }
        let numbers: Vec<u64> = Frames::new(&now.recent).map(|frame| frame.unwrap().n).collect();
        assert_eq!(numbers, (401..=500).collect::<Vec<_>>());
    }

    #[test]
    fn large_heartbeats_become_chunks_that_are_dropped_when_all_of_them_is_old() {
        let (mut key, mut alive) = (5, Vec::new());
        let mut now = Stored::default();
        for n in 1..=400_u64 {
            let folded = now.fold(&[&frames(n..=n, 70)], 100, &mut key).unwrap();
            alive.extend(folded.added.iter().map(|(key, _)| *key));
            alive.retain(|key| !folded.dropped.contains(key));
            assert!(folded.kept >= n.min(100) && folded.kept < 100 + 12, "{} are kept after {n}", folded.kept);
            assert!(folded.chunks.len() + folded.recent.len() <= RECENT_BYTES);
            assert!(folded.added.iter().all(|(_, bytes)| (600..=CHUNK_BYTES).contains(&bytes.len())));
            now = stored(&folded);
            assert_eq!(now.keys().collect::<Vec<_>>(), alive);
        }
    }

    #[test]
    fn a_chunk_fits_on_a_fifth_of_a_page_unless_it_is_one_heartbeat() {
        let mut key = 0;
        let all = [&frames(1..=100, 90)[..], &frames(101..=101, 50_000), &frames(102..=103, 90)];
        let folded = Stored::default().fold(&all, 1000, &mut key).unwrap();
        let (large, small): (Vec<_>, Vec<_>) = folded.added.iter().partition(|(_, bytes)| bytes.len() > CHUNK_BYTES);
        assert_eq!((large.len(), folded.kept), (1, 103));
        assert!(small.iter().filter(|(_, bytes)| bytes.len() < CHUNK_BYTES - 2 * 98).count() <= 1, "but for the last");
        assert_eq!(range(&folded.recent).unwrap(), (102, 103), "what is new stays where there is room");
    }

    #[test]
    fn many_chunks_leave_less_room_for_the_newest() {
        let mut key = i64::from(u32::MAX);
        let folded = Stored::default().fold(&[&frames(1..=130, 500)], 1000, &mut key).unwrap();
        assert_eq!((folded.added.len(), folded.recent.len()), (130, 0));
        let folded = stored(&folded).fold(&[&frames(131..=131, 350)], 1000, &mut key).unwrap();
        assert_eq!(folded.added.len(), 1, "a list of {} bytes", folded.chunks.len());
        let folded = stored(&folded).fold(&[&frames(132..=132, 100)], 1000, &mut key).unwrap();
        assert!(folded.added.is_empty() && !folded.recent.is_empty());
    }
}
