//! What was committed through other handles: `lua/commit.lua` and `lua/documents.lua` tell it in a stream of each partition
//! and one of documents, which are read here.
//!
//! The entries of a stream have numbers without gaps, so whoever reads on finds whether something is missing: it stayed away for
//! longer than entries are kept, or the Redis lost what it had told.

use std::fmt;
use std::sync::Arc;

use futures_util::future::try_join_all;
use heartbeat_engine::{MonitorForm, MonitorId, MonitorNews, News, NotificationId, StorageError, Version};
use redis::{FromRedisValue, ParsingError, Pipeline, Value};

use crate::codec;
use crate::error;
use crate::store::Store;
use crate::url::Kind;

/// So many entries of a stream are read at a time.
const PORTION: usize = 64;

/// An entry as it is read: its id; its fields and their values by turns.
type Entry = (String, Vec<Vec<u8>>);

/// What others committed behind a position. See [`heartbeat_engine::Storage::news`].
pub(crate) async fn read(store: &Store, after: Option<&str>) -> Result<News, StorageError> {
    let streams = streams(store);
    let Some(mut places) = after.and_then(|after| Place::read_all(after, streams.len())) else {
        let ends = try_join_all(streams.iter().map(|stream| end(store, stream))).await?;
        return Ok(News { position: position(&ends), missed: after.is_some(), ..News::default() });
    };
    let portions = portions(store, &streams, &places).await?;
    let mut news = News::default();
    for ((stream, place), portion) in streams.iter().zip(&mut places).zip(portions) {
        news.more |= portion.entries.len() == PORTION;
        match take(&mut news, *place, portion, store.lanes.writer())? {
            Some(reached) => *place = reached,
            None => {
                news.missed = true;
                *place = end(store, stream).await?;
            }
        }
    }
    news.position = position(&places);
    news.documents.sort_unstable();
    news.documents.dedup();
    Ok(news)
}

/// The keys of a stream.
struct Stream {
    entries: String,
    /// The number of its last entry.
    last: String,
}

/// Those of all partitions, and that of documents.
fn streams(store: &Store) -> Vec<Stream> {
    let keys = &store.keys;
    let of_partitions = store
        .all_partitions()
        .map(|partition| Stream { entries: keys.of(partition, "news"), last: keys.of(partition, "news-last") });
    of_partitions.chain([Stream { entries: keys.documents("news"), last: keys.documents("news-last") }]).collect()
}

/// Where an entry stands: its id, made of two numbers, and its own number.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Place {
    id: (u64, u64),
    number: u64,
}

impl Place {
    fn read(id: &str, number: &str) -> Option<Self> {
        let (millis, sequence) = id.split_once('-')?;
        Some(Self { id: (millis.parse().ok()?, sequence.parse().ok()?), number: number.parse().ok()? })
    }

    /// The places of a position, one for each stream.
    fn read_all(position: &str, streams: usize) -> Option<Vec<Self>> {
        let place = |text: &str| text.split_once(':').and_then(|(id, number)| Self::read(id, number));
        let places: Option<Vec<Self>> = position.split(',').map(place).collect();
        places.filter(|places| places.len() == streams)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}:{}", self.id.0, self.id.1, self.number)
    }
}

fn position(places: &[Place]) -> String {
    places.iter().map(Place::to_string).collect::<Vec<_>>().join(",")
}

/// Where a stream ends.
async fn end(store: &Store, stream: &Stream) -> Result<Place, StorageError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("GET").arg(&stream.last);
    pipeline.cmd("XREVRANGE").arg(&stream.entries).arg("+").arg("-").arg("COUNT").arg(1);
    pipeline.cmd("GET").arg(&stream.last);
    let (before, entries, after): (Option<u64>, Vec<Entry>, Option<u64>) = store.read_all(&pipeline).await?;
    let Some(entry) = entries.first() else {
        return Ok(Place { number: before.unwrap_or(0), ..Place::default() });
    };
    let place = Told::read(entry)?.place;
    // Smaller where the count was lost, and began anew.
    Ok(Place { number: place.number.min(after.unwrap_or(0)), ..place })
}

/// What is behind a place.
struct Portion {
    /// The number of the stream's last entry, asked before the entries.
    last: u64,
    entries: Vec<Entry>,
}

async fn portions(store: &Store, streams: &[Stream], places: &[Place]) -> Result<Vec<Portion>, StorageError> {
    let ask = |pipeline: &mut Pipeline, stream: &Stream, place: &Place| {
        pipeline.cmd("GET").arg(&stream.last);
        let behind = format!("({}-{}", place.id.0, place.id.1);
        pipeline.cmd("XRANGE").arg(&stream.entries).arg(behind).arg("+").arg("COUNT").arg(PORTION);
    };
    let all = streams.iter().zip(places);
    let answers: Vec<Value> = if store.options.url.kind == Kind::Cluster {
        let parts = all.map(|(stream, place)| async move {
            let mut pipeline = redis::pipe();
            ask(&mut pipeline, stream, place);
            store.read_all::<Vec<Value>>(&pipeline).await
        });
        try_join_all(parts).await?.into_iter().flatten().collect()
    } else {
        let mut pipeline = redis::pipe();
        all.for_each(|(stream, place)| ask(&mut pipeline, stream, place));
        store.read_all(&pipeline).await?
    };
    let mut answers = answers.into_iter();
    let mut portions = Vec::with_capacity(streams.len());
    while let (Some(last), Some(entries)) = (answers.next(), answers.next()) {
        portions.push(portion(last, entries).map_err(|error| error::reading(&error.into()))?);
    }
    Ok(portions)
}

fn portion(last: Value, entries: Value) -> Result<Portion, ParsingError> {
    let last: Option<u64> = FromRedisValue::from_redis_value(last)?;
    Ok(Portion { last: last.unwrap_or(0), entries: FromRedisValue::from_redis_value(entries)? })
}

/// Adds what a portion tells, and says where it ends; `None` where something between is not known any more.
fn take(news: &mut News, from: Place, portion: Portion, own: &str) -> Result<Option<Place>, StorageError> {
    let Portion { last, entries } = portion;
    if last < from.number || (last > from.number && entries.is_empty()) {
        return Ok(None);
    }
    let mut reached = from;
    for entry in &entries {
        let told = Told::read(entry)?;
        if told.place.number != reached.number + 1 {
            return Ok(None);
        }
        reached = told.place;
        if told.writer != own.as_bytes() {
            add_plain(news, Parts(told.plain))?;
            add(news, Parts(told.parts))?;
        }
    }
    Ok(Some(reached))
}

/// An entry of a stream.
struct Told<'a> {
    place: Place,
    writer: &'a [u8],
    parts: &'a [u8],
    plain: &'a [u8],
}

impl<'a> Told<'a> {
    fn read((id, fields): &'a Entry) -> Result<Self, StorageError> {
        let read = || {
            let ([n, number, w, writer, b, parts], rest) = fields.split_first_chunk()?;
            let place = Place::read(id, std::str::from_utf8(number).ok()?)?;
            let plain = match rest {
                [] => &[][..],
                [h, plain] if h == b"h" => plain,
                _ => return None,
            };
            let known = [&n[..], w, b] == [b"n", b"w", b"b"];
            known.then_some(Self { place, writer, parts, plain })
        };
        read().ok_or_else(|| StorageError::Corrupt(format!("the news {id} is none")))
    }
}

/// Adds plain heartbeats.
fn add_plain(news: &mut News, mut plain: Parts<'_>) -> Result<(), StorageError> {
    while !plain.0.is_empty() {
        let id = MonitorId::from_bytes(plain.array()?);
        plain.take(8)?;
        news.monitors.push(monitor(id, plain.text()?)?);
    }
    Ok(())
}

/// What a state tells of a monitor.
fn monitor(id: MonitorId, state: &[u8]) -> Result<MonitorNews, StorageError> {
    let (version, revision, health, _) = codec::read_state(id, state)?;
    Ok(MonitorNews { monitor: id, version, form: Some(MonitorForm { revision, monitor: None, health }) })
}

fn add(news: &mut News, mut parts: Parts<'_>) -> Result<(), StorageError> {
    while !parts.0.is_empty() {
        match parts.take(1)? {
            b"C" | b"P" => {
                let id = MonitorId::from_bytes(parts.array()?);
                parts.take(8)?;
                news.monitors.push(monitor(id, parts.text()?)?);
            }
            b"R" => {
                let monitor = MonitorId::from_bytes(parts.array()?);
                let version = Version(u64::from_be_bytes(parts.array()?));
                parts.text()?;
                news.monitors.push(MonitorNews { monitor, version, form: None });
            }
            b"w" => {
                let told = news.monitors.last_mut();
                let told = told.and_then(|told| Some((told.monitor, told.form.as_mut()?)));
                let (id, form) = told.ok_or_else(|| damaged("has a wish of no monitor"))?;
                form.monitor = Some(Arc::new(codec::read_wish(id, parts.text()?)?));
            }
            b"c" => news.changes.push(codec::read_change(parts.text()?)?),
            b"n" => news.owed.push(NotificationId::from_bytes(parts.array()?)),
            b"d" => {
                let kind = String::from_utf8(parts.text()?.to_vec());
                news.documents.push(kind.map_err(|_| damaged("has a kind that is no text"))?);
            }
            _ => return Err(damaged("has a part of no known kind")),
        }
    }
    Ok(())
}

fn damaged(how: &str) -> StorageError {
    StorageError::Corrupt(format!("the news of a commit {how}"))
}

/// What is left of an entry's parts.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], StorageError> {
        let (part, rest) = self.0.split_at_checked(length).ok_or_else(|| damaged("ends too soon"))?;
        self.0 = rest;
        Ok(part)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        let (part, rest) = self.0.split_first_chunk().ok_or_else(|| damaged("ends too soon"))?;
        self.0 = rest;
        Ok(*part)
    }

    /// What stands behind its length.
    fn text(&mut self) -> Result<&'a [u8], StorageError> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }
}
