//! What an acknowledgement means in a Redis as it is set.

use std::collections::HashMap;
use std::fmt;

use heartbeat_engine::StorageError;
use redis::FromRedisValue;

use crate::error;
use crate::link::Link;

/// The Redis may throw keys away when its memory is full, and so monitors and heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Redis throws keys away when its memory is full (maxmemory-policy {policy}); set it to noeviction or a volatile \
     policy, or say allow_eviction=true if monitors and heartbeats may be lost"
)]
pub struct EvictionError {
    /// Its `maxmemory-policy`.
    pub policy: String,
}

/// How one primary of a Redis keeps what it was told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct NodeDurability {
    /// Its host and port; empty where there is only one.
    pub address: String,
    /// Its version.
    pub version: String,
    /// Whether it writes each change to a file; `None` where it does not say.
    pub appendonly: Option<bool>,
    /// When that file is synced: `always`, `everysec` or `no`.
    pub appendfsync: String,
    /// When snapshots are made, as Redis writes it; empty for never.
    pub save: String,
    /// How many replicas are connected.
    pub replicas: u32,
    /// The memory that it may use, bytes; 0 for any.
    pub maxmemory: u64,
    /// What happens when that is full.
    pub maxmemory_policy: String,
}

/// What an acknowledgement of this store means, as the Redis was set when it was opened. It is shown in one sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Durability {
    /// The primaries: one, or those of a cluster.
    pub nodes: Vec<NodeDurability>,
    /// How many replicas must have it before it is acknowledged.
    pub wait_replicas: u32,
}

impl Durability {
    pub(crate) async fn read(link: &Link, wait_replicas: u32) -> Result<Self, StorageError> {
        let mut info = redis::cmd("INFO");
        info.arg("everything");
        let infos = link.ask_all(&info).await.map_err(|failure| error::reading(failure.error()))?;
        let mut config = redis::cmd("CONFIG");
        config.arg("GET").arg("*");
        // A user may not be allowed to see it.
        let configs: HashMap<_, _> = link.ask_all(&config).await.unwrap_or_default().into_iter().collect();
        let node = |(address, info): (String, redis::Value)| {
            let info = String::from_redis_value(info).unwrap_or_default();
            let config = configs.get(&address).cloned();
            let config = config.and_then(|config| HashMap::from_redis_value(config).ok()).unwrap_or_default();
            NodeDurability::of(address, &info, &config)
        };
        let mut nodes: Vec<NodeDurability> = infos.into_iter().map(node).collect();
        nodes.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(Self { nodes, wait_replicas })
    }

    pub(crate) fn too_old(&self) -> Option<String> {
        let major = |version: &str| version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        let old = self.nodes.iter().find(|node| major(&node.version).is_some_and(|major| major < 7));
        old.map(|node| node.version.clone())
    }

    pub(crate) fn check_eviction(&self, allowed: bool) -> Result<(), EvictionError> {
        let evicts = |node: &&NodeDurability| node.maxmemory > 0 && node.maxmemory_policy.starts_with("allkeys");
        match self.nodes.iter().find(evicts) {
            Some(node) if !allowed => Err(EvictionError { policy: node.maxmemory_policy.clone() }),
            _ => Ok(()),
        }
    }
}

impl NodeDurability {
    fn of(address: String, info: &str, config: &HashMap<String, String>) -> Self {
        let of_info = |name: &str| {
            let lines = info.lines().filter_map(|line| line.split_once(':'));
            lines.filter(|(found, _)| *found == name).map(|(_, value)| value.trim().to_owned()).next()
        };
        let of_config = |name: &str| config.get(name).cloned().unwrap_or_default();
        let aof = of_info("aof_enabled").map(|enabled| enabled == "1");
        Self {
            address,
            version: of_info("redis_version").unwrap_or_default(),
            appendonly: aof,
            appendfsync: of_config("appendfsync"),
            save: of_config("save"),
            replicas: of_info("connected_slaves").and_then(|count| count.parse().ok()).unwrap_or(0),
            maxmemory: of_info("maxmemory").and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
            maxmemory_policy: of_info("maxmemory_policy").unwrap_or_default(),
        }
    }

    /// What a crash of its machine takes.
    fn loses(&self) -> &'static str {
        match (self.appendonly, self.appendfsync.as_str(), self.save.as_str()) {
            (Some(true), "always", _) => "nothing is lost when Redis crashes (appendfsync always)",
            (Some(true), "everysec", _) => {
                "what was acknowledged in the last second or two may be lost when its machine crashes (appendfsync everysec)"
            }
            (Some(true), "no", _) => {
                "what the system had not written may be lost when its machine crashes, often 30 s (appendfsync no)"
            }
            (Some(true), _, _) => {
                "it is written to the append-only file; how often that is synced, Redis does not tell this user"
            }
            (Some(false), _, "") => "everything is lost when Redis stops (neither append-only file nor snapshots)",
            (Some(false), _, _) => {
                "what was acknowledged since the last snapshot is lost when Redis crashes (no append-only file)"
            }
            (None, ..) => "Redis does not say how it keeps what it is told",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said: Vec<&str> = Vec::new();
        for node in &self.nodes {
            if !said.contains(&node.loses()) {
                said.push(node.loses());
            }
        }
        f.write_str(&said.join("; or, by node, "))?;
        match (self.wait_replicas, self.nodes.iter().map(|node| node.replicas).min().unwrap_or(0)) {
            (0, 0) => f.write_str("; there is no replica"),
            (0, _) => {
                f.write_str("; what replicas did not have yet is lost when one of them takes over (wait_replicas=0)")
            }
            (wanted, found) if found < wanted => {
                write!(f, "; it is acknowledged once {wanted} replicas have it, and there are {found}")
            }
            (wanted, _) => write!(f, "; it is acknowledged once {wanted} replicas have it in memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(info: &str, config: &[(&str, &str)]) -> NodeDurability {
        let config = config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        NodeDurability::of(String::new(), info, &config)
    }

    #[test]
    fn it_says_what_is_lost() {
        let says = |node: NodeDurability, wait_replicas| Durability { nodes: vec![node], wait_replicas }.to_string();
        let synced = node("aof_enabled:1\r\nconnected_slaves:2\r\n", &[("appendfsync", "always")]);
        assert!(says(synced.clone(), 0).contains("nothing is lost"));
        assert!(says(synced.clone(), 0).contains("wait_replicas=0"));
        assert!(says(synced.clone(), 2).ends_with("once 2 replicas have it in memory"));
        assert!(says(synced, 3).ends_with("and there are 2"));
        assert!(says(node("aof_enabled:1", &[("appendfsync", "everysec")]), 0).contains("last second"));
        assert!(says(node("aof_enabled:0", &[("save", "")]), 0).contains("everything is lost"));
        assert!(says(node("aof_enabled:0", &[("save", "3600 1")]), 0).contains("last snapshot"));
        assert!(says(node("aof_enabled:1", &[]), 0).contains("does not tell"));
    }

    #[test]
    fn a_redis_that_throws_keys_away_is_refused() {
        let of = |info| Durability { nodes: vec![node(info, &[])], wait_replicas: 0 };
        let evicting = of("maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n");
        let error = evicting.check_eviction(false).unwrap_err();
        assert!(error.to_string().contains("allkeys-lru") && error.to_string().contains("allow_eviction=true"));
        assert_eq!(evicting.check_eviction(true), Ok(()));
        assert_eq!(of("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n").check_eviction(false), Ok(()));
        assert_eq!(of("maxmemory:100\r\nmaxmemory_policy:volatile-ttl\r\n").check_eviction(false), Ok(()));
    }

    #[test]
    fn an_old_redis_is_recognised() {
        let of = |info| Durability { nodes: vec![node(info, &[])], wait_replicas: 0 }.too_old();
        assert_eq!(of("redis_version:6.2.14\r\n").as_deref(), Some("6.2.14"));
        assert_eq!(of("redis_version:7.0.15\r\n"), None);
        assert_eq!(of("something_else:1\r\n"), None);
    }
}
