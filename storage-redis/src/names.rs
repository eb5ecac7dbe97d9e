//! Slugs and tokens, which are unique over all partitions: a name is first reserved for a monitor, then its record is
//! written. A reservation without a record is taken over by whoever wants the name a minute later.

use futures_util::future::try_join_all;
use heartbeat_engine::{MonitorId, Name, Outcome, Record, StorageError, Version};
use redis::Cmd;

use crate::keys::name_field;
use crate::records;
use crate::script::NAMES;
use crate::store::Store;

/// A reservation that is as old as this and has no record belongs to nobody, ms.
const STALE_AFTER_MS: u64 = 60_000;
/// For how long a record may be written under a reservation, ms: less than that by far.
const WRITTEN_WITHIN_MS: u64 = 20_000;

/// The names of one record, held for it.
#[derive(Default)]
pub(crate) struct Reserved {
    /// What was not the monitor's before: given back where the record is not written.
    fresh: Vec<Name>,
    /// Until when the record may be written, ms by the clock of Redis.
    pub(crate) until_ms: u64,
}

/// The answer to a wish for a name.
struct Answer {
    own: bool,
    now_ms: u64,
    /// What stood there before.
    before: Vec<u8>,
}

/// Holds all names of a record for it; or says which belongs to another monitor, and holds none.
pub(crate) async fn reserve(store: &Store, record: &Record) -> Result<Result<Reserved, Outcome>, StorageError> {
    let names: Vec<Name> = Name::all_of(record).collect();
    let answers = try_join_all(names.iter().map(|name| ask(store, "reserve", name, record, None))).await?;
    let mut reserved = Reserved { fresh: Vec::new(), until_ms: u64::MAX };
    let mut taken = None;
    for (name, answer) in names.into_iter().zip(answers) {
        let answer = if answer.own { answer } else { take_over(store, &name, record, answer).await? };
        reserved.until_ms = reserved.until_ms.min(answer.now_ms + WRITTEN_WITHIN_MS);
        if !answer.own {
            taken = taken.or(Some(Outcome::NameTaken { field: name.field() }));
        } else if answer.before.get(..16) != Some(record.id().as_bytes()) {
            reserved.fresh.push(name);
        }
    }
    match taken {
        Some(outcome) => {
            give_back(store, record, reserved).await?;
            Ok(Err(outcome))
        }
        None => Ok(Ok(reserved)),
    }
}

/// Gives the names back that a record got and does not need, because it was not written.
pub(crate) async fn give_back(store: &Store, record: &Record, reserved: Reserved) -> Result<(), StorageError> {
    release(store, record.id(), record.version, reserved.fresh).await
}

/// Frees names that the record of this version, and no later one, has given up.
pub(crate) async fn release(
    store: &Store,
    id: MonitorId,
    version: Version,
    names: impl IntoIterator<Item = Name>,
) -> Result<(), StorageError> {
    let releases = names.into_iter().map(|name| async move {
        let call = call(store, "release", &name, id, version);
        store.write::<u8>(&NAMES, &call).await
    });
    try_join_all(releases).await.map(drop)
}

/// The monitor for which a name is held, if its record has it.
pub(crate) async fn find(store: &Store, name: &Name) -> Result<Option<MonitorId>, StorageError> {
    let mut command = redis::cmd("HGET");
    command.arg(key(store, name)).arg(name_field(name));
    let stored: Option<Vec<u8>> = store.read(&command).await?;
    let Some(id) = stored.as_deref().and_then(holder) else { return Ok(None) };
    let record = records::load(store, &[id]).await?.pop().flatten();
    Ok(record.filter(|record| has(record, name)).map(|_| id))
}

fn has(record: &Record, name: &Name) -> bool {
    Name::all_of(record).any(|own| own == *name)
}

/// Takes a name over whose holder neither has it nor is about to.
async fn take_over(store: &Store, name: &Name, record: &Record, found: Answer) -> Result<Answer, StorageError> {
    let Some(other) = holder(&found.before) else {
        return Err(StorageError::Corrupt("the reservation of a name ends too soon".to_owned()));
    };
    let reserved_at = found.before.get(24..32).and_then(|bytes| bytes.try_into().ok()).map_or(0.0, f64::from_be_bytes);
    if found.now_ms < reserved_at as u64 + STALE_AFTER_MS {
        return Ok(found);
    }
    let holder = records::load(store, &[other]).await?.pop().flatten();
    if holder.is_some_and(|holder| has(&holder, name)) {
        return Ok(found);
    }
    ask(store, "reclaim", name, record, Some(&found.before)).await
}

fn holder(reservation: &[u8]) -> Option<MonitorId> {
    reservation.first_chunk().map(|id| MonitorId::from_bytes(*id))
}

async fn ask(
    store: &Store,
    what: &str,
    name: &Name,
    record: &Record,
    seen: Option<&[u8]>,
) -> Result<Answer, StorageError> {
    let mut call = call(store, what, name, record.id(), record.version);
    if let Some(seen) = seen {
        call.arg(seen);
    }
    let (own, now, before): (u8, String, Vec<u8>) = store.write(&NAMES, &call).await?;
    let now_ms = now.parse().map_err(|_| StorageError::Corrupt("the time of Redis is no number".to_owned()))?;
    Ok(Answer { own: own == 1, now_ms, before })
}

fn call(store: &Store, what: &str, name: &Name, id: MonitorId, version: Version) -> Cmd {
    let mut call = NAMES.on(&[&key(store, name)]);
    call.arg(what).arg(name_field(name)).arg(id.as_bytes()).arg((version.0 as f64).to_be_bytes().as_slice());
    call
}

/// Names are spread over as many slots as there are partitions.
fn key(store: &Store, name: &Name) -> String {
    let field = name_field(name);
    // FNV-1a: it must stay the same for ever.
    let hash = field
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    store.keys.names((hash % u64::from(store.partitions)) as u16)
}
