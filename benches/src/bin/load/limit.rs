//! What the Redis of a run can do by itself: one client calls the same script with as many heartbeats at once as the server did,
//! and sends the next call when one is answered. `redis-benchmark` does so too, but ends an argument at its first zero byte.

use heartbeat_engine::{MonitorId, PartitionId, Record, Storage};
use heartbeat_storage_redis::{RedisOptions, RedisStorage};
use redis::{Client, Cmd, Connection};

use crate::clock::Clock;
use crate::failure::{Failure, Outcome};
use crate::population::monitor_id;

/// About so many heartbeats are written, by so many calls at most.
const HEARTBEATS: usize = 100_000;
const CALLS_MAX: usize = 4000;
/// Stands for the lane, which is another one in each call.
const LANE: &str = "a-lane";

/// Heartbeats per second, `together` at once.
pub(crate) async fn heartbeats_per_second(url: &str, monitors: u32, together: f64) -> Outcome<f64> {
    let options = RedisOptions::parse(url).map_err(Failure::of("the URL of the Redis"))?;
    let storage = RedisStorage::open(options).await.map_err(Failure::of("the Redis"))?;
    let records = records(&storage, monitors, together.round().max(1.0) as usize).await?;
    let client = Client::open(url.split('?').next().unwrap_or_default()).map_err(Failure::of("the Redis"))?;
    let mut connection = client.get_connection().map_err(Failure::of("the Redis"))?;
    let template = storage.repeatable_call(&records, LANE).await.map_err(Failure::of("the Redis"))?;
    let count = HEARTBEATS.div_ceil(records.len().max(1)).min(CALLS_MAX);
    let calls: Vec<Cmd> = (0..count).map(|n| numbered(&template, n)).collect();
    let clock = Clock::start();
    calls.iter().try_for_each(|command| call(&mut connection, command, records.len()))?;
    Ok((calls.len() * records.len()) as f64 / clock.elapsed().as_secs_f64())
}

/// The command of these arguments, in a lane of its own.
fn numbered(template: &[Vec<u8>], n: usize) -> Cmd {
    let (mut command, lane) = (Cmd::new(), format!("limit{n}-1"));
    for argument in template {
        command.arg(if argument == LANE.as_bytes() { lane.as_bytes() } else { argument });
    }
    command
}

/// So many records of the first partition.
async fn records(storage: &RedisStorage, monitors: u32, wanted: usize) -> Outcome<Vec<Record>> {
    let all = (0..monitors).map(monitor_id);
    let ids: Vec<MonitorId> = all.filter(|id| PartitionId::of(*id, storage.partitions()).0 == 0).take(wanted).collect();
    let records = storage.load(&ids).await.map_err(Failure::of("the Redis"))?;
    Ok(records.into_iter().flatten().collect())
}

/// Calls it; every heartbeat must be written.
fn call(connection: &mut Connection, command: &Cmd, count: usize) -> Outcome<()> {
    let answer = command.query::<Vec<Vec<Vec<u8>>>>(connection).map_err(Failure::of("the Redis"))?;
    let letters = answer.first().and_then(|answer| answer.first());
    if letters.is_some_and(|letters| *letters == vec![b'k'; count]) {
        return Ok(());
    }
    Err(Failure::new(format!("the script does not write heartbeats: {answer:?}")))
}
