//! The nodes that share the store, and who looks after what, as one of them sees it.

use std::fmt;

use heartbeat_engine::{Cluster, PartitionShare};
use prometheus_client::encoding::DescriptorEncoder;

use super::engine::{gauge, gauges};

/// A series of partitions: its name, its help, and what it says of one.
type OfPartitions = (&'static str, &'static str, fn(&PartitionShare) -> f64);

pub(super) fn cluster(out: &mut DescriptorEncoder<'_>, cluster: &Cluster) -> fmt::Result {
    let held = cluster.partitions.iter().filter(|share| share.held).count();
    let unheld = cluster.partitions.iter().filter(|share| share.holder.is_none()).count();
    for (name, help, value) in [
        ("cluster_nodes", "Nodes that may be alive, this one included", cluster.alive.len() as f64),
        ("cluster_partitions_held", "Partitions that this node looks after", held as f64),
        ("cluster_partitions_unheld", "Partitions that nobody is known to look after", unheld as f64),
        (
            "cluster_news_age_seconds",
            "How long ago this node heard what others wrote",
            cluster.news_age.map_or(0.0, |age| age.as_secs_f64()),
        ),
    ] {
        gauge(out, name, help, value)?;
    }
    let of_each: [OfPartitions; 4] = [
        ("partition_held", "Whether this node looks after the partition", |share| u64::from(share.held) as f64),
        ("partition_monitors", "Monitors of the partition", |share| share.monitors as f64),
        ("partition_overdue", "Monitors of it whose deadline is not judged yet", |share| share.overdue as f64),
        ("partition_inbox", "Calls about it that wait to be decided by this node", |share| share.inbox as f64),
    ];
    let names: Vec<String> = cluster.partitions.iter().map(|share| share.partition.0.to_string()).collect();
    for (name, help, of) in of_each {
        let values = names.iter().map(String::as_str).zip(cluster.partitions.iter().map(of));
        gauges(out, (name, help), "partition", values)?;
    }
    Ok(())
}
