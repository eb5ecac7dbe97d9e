//! Which monitors' heartbeats go to which server.

use std::collections::HashMap;

use heartbeat_engine::PartitionId;
use serde_json::Value;

use crate::api::Api;
use crate::arguments::To;
use crate::failure::{Failure, Outcome};
use crate::population::monitor_id;
use crate::server::{KEY, Server};

/// For each server the monitors whose heartbeats it gets.
pub(crate) fn monitors_of<'a>(
    to: To,
    servers: impl Iterator<Item = &'a Server>,
    monitors: u32,
) -> Outcome<Vec<Vec<u32>>> {
    let mut groups = Vec::new();
    for server in servers {
        let cluster = Api::new(server.address, KEY).must("GET", "/api/cluster", None)?;
        let holders = holders(&cluster);
        let count = u16::try_from(holders.len()).unwrap_or(u16::MAX);
        let own = cluster["node"].as_str();
        let is_owner = |n: &u32| holders.get(&PartitionId::of(monitor_id(*n), count)).copied() == own;
        let group: Vec<u32> = (0..monitors).filter(|n| is_owner(n) == (to == To::Owners)).collect();
        if group.is_empty() {
            return Err(Failure::new("a server looks after no monitor, or after all; --to needs at least two servers"));
        }
        groups.push(group);
    }
    Ok(groups)
}

/// Who holds which partition.
fn holders(cluster: &Value) -> HashMap<PartitionId, &str> {
    let partitions = cluster["partitions"].as_array().into_iter().flatten();
    let share = |share: &'_ Value| Some(PartitionId(u16::try_from(share["partition"].as_u64()?).ok()?));
    partitions.filter_map(|partition| Some((share(partition)?, partition["node"].as_str()?))).collect()
}
