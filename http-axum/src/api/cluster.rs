//! `/api/cluster`: the nodes that share the store, and who looks after what.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use heartbeat_engine::{Cluster, PartitionShare};
use serde_json::{Value, json};

use crate::app::AppState;
use crate::auth::CanRead;
use crate::problem::Problem;

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/cluster", get(cluster))
}

/// Where the store belongs to one process there are no nodes to tell of.
async fn cluster(State(app): State<AppState>, CanRead(caller): CanRead) -> Result<Json<Value>, Problem> {
    if caller.is_limited() {
        return Err(Problem::forbidden("this key is limited; it cannot see the nodes"));
    }
    let Some(cluster) = app.engine.cluster() else {
        return Ok(Json(json!({"shared": false, "node": null, "nodes": [], "partitions": []})));
    };
    Ok(Json(shown(&cluster)))
}

fn shown(cluster: &Cluster) -> Value {
    let nodes = cluster.nodes.iter().map(|node| {
        json!({
            "id": node.id,
            "name": node.name,
            "started_at": node.started_at,
            "seen_at": node.seen_at,
            "alive": cluster.alive.contains(&node.id),
            "partitions": cluster.partitions.iter().filter(|share| share.holder.as_ref() == Some(&node.id)).count(),
        })
    });
    json!({
        "shared": true,
        "node": cluster.node,
        "nodes": nodes.collect::<Vec<_>>(),
        "partitions": cluster.partitions.iter().map(partition).collect::<Vec<_>>(),
        "news_age_ms": cluster.news_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    })
}

fn partition(share: &PartitionShare) -> Value {
    json!({
        "partition": share.partition,
        "epoch": share.epoch,
        "node": share.holder,
        "monitors": share.monitors,
        "overdue": share.overdue,
        "inbox": share.inbox,
    })
}
