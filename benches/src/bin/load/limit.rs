//! What the Redis of a run can do by itself: `redis-benchmark` calls the same script with as many heartbeats at once as the
//! server did.

use std::io::Write;
use std::process::{Command, Stdio};

use heartbeat_engine::{MonitorId, PartitionId, Record, Storage};
use heartbeat_storage_redis::{RedisOptions, RedisStorage};
use redis::{Client, ConnectionAddr};

use crate::failure::{Failure, Outcome};
use crate::population::monitor_id;

/// About so many heartbeats are written.
const HEARTBEATS: f64 = 100_000.0;
/// What `redis-benchmark` replaces by another number in each call.
const VARIABLE: &str = "__rand_int__";

/// Heartbeats per second, written by one client that sends the next call when one is answered, `together` at once.
pub(crate) async fn heartbeats_per_second(url: &str, monitors: u32, together: f64) -> Outcome<Option<f64>> {
    let client = Client::open(url.split('?').next().unwrap_or_default()).map_err(Failure::of("the Redis"))?;
    let ConnectionAddr::Tcp(host, port) = client.get_connection_info().addr().clone() else { return Ok(None) };
    let options = RedisOptions::parse(url).map_err(Failure::of("the URL of the Redis"))?;
    let storage = RedisStorage::open(options).await.map_err(Failure::of("the Redis"))?;
    let records = records(&storage, monitors, together.round().max(1.0) as usize).await?;
    let count = records.len();
    probe(&client, &storage, &records).await?;
    let call = storage.repeatable_call(&records, &format!("b{VARIABLE}-1")).await.map_err(Failure::of("the Redis"))?;
    let Some((last, call)) = call.split_last() else { return Ok(None) };
    let call: Vec<String> = call.iter().map(|argument| String::from_utf8_lossy(argument).into_owned()).collect();
    let calls = (HEARTBEATS / count as f64).ceil().max(1.0);
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", &host, "-p", &port.to_string(), "-c", "1", "-n", &calls.to_string()]);
    command.args(["-r", "1000000000", "--csv", "-x"]).args(call);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(Failure::of("redis-benchmark"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(last).map_err(Failure::of("redis-benchmark"))?;
    }
    let output = child.wait_with_output().map_err(Failure::of("redis-benchmark"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let per_second = text.lines().last().and_then(|line| line.rsplit("\",\"").nth(6)?.parse::<f64>().ok());
    let per_second = per_second.ok_or_else(|| Failure::new(format!("redis-benchmark prints `{text}`")))?;
    Ok(Some(per_second * count as f64))
}

/// So many records of the first partition.
async fn records(storage: &RedisStorage, monitors: u32, wanted: usize) -> Outcome<Vec<Record>> {
    let all = (0..monitors).map(monitor_id);
    let ids: Vec<MonitorId> = all.filter(|id| PartitionId::of(*id, storage.partitions()).0 == 0).take(wanted).collect();
    let records = storage.load(&ids).await.map_err(Failure::of("the Redis"))?;
    Ok(records.into_iter().flatten().collect())
}

/// Fails where the call does not write all of its heartbeats.
async fn probe(client: &Client, storage: &RedisStorage, records: &[Record]) -> Outcome<()> {
    let call = storage.repeatable_call(records, "probe-1").await.map_err(Failure::of("the Redis"))?;
    let mut command = redis::Cmd::new();
    command.arg(&call);
    let answer = client.get_connection().and_then(|mut connection| command.query::<Vec<Vec<Vec<u8>>>>(&mut connection));
    let answer = answer.map_err(Failure::of("the Redis"))?;
    let written = answer
        .first()
        .and_then(|answer| answer.first())
        .is_some_and(|letters| letters.len() == records.len() && letters.iter().all(|letter| *letter == b'k'));
    if written { Ok(()) } else { Err(Failure::new(format!("the script does not write heartbeats: {answer:?}"))) }
}
