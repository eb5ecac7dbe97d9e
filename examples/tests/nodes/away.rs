//! A Redis that is away: for all servers, or for one of them.

use std::time::Duration;

use crate::redis_server::{Cluster, Server as Redis, Watched, until};
use crate::site::{Site, incidents};
use crate::support::Server;
use crate::traffic::Traffic;
use crate::wire::Wire;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_restarted() {
    let mut redis = Redis::durable();
    let mut site = Site::at(&redis.url()).await;
    let (a, b, c) = (site.node("a").await, site.node("b").await, site.node("c").await);
    Site::until_shared(&c, 3).await;
    let traffic = Traffic::begin(&[&a, &b, &c]).await;
    redis.kill();
    for server in [&a, &b, &c] {
        server.until_status("/readyz", 503).await;
    }
    redis.restart();
    for server in [&a, &b, &c] {
        server.until_status("/readyz", 200).await;
    }
    traffic.until_each_is_heard().await;
    Site::until_shared(&a, 3).await;
    // A monitor that falls silent now shows that alerts are told, and that none was before.
    let path = format!("/ping/{}", a.token("silent").await);
    assert_eq!(b.status(&path).await, Some(200));
    site.until_told("monitor.down", "silent").await;
    traffic.end(&c).await;
    site.assert_told_once(&["monitor.down"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_frozen_for_20_s_and_that_is_told_once() {
    let redis = Redis::durable();
    let mut site = Site::at(&redis.url()).await;
    let (a, b) = (site.node("a").await, site.node("b").await);
    Site::until_shared(&b, 2).await;
    let traffic = Traffic::begin(&[&a, &b]).await;
    redis.freeze();
    // So long, whatever else happens: what is stored says so afterwards.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((a.status("/readyz").await, b.status("/readyz").await), (Some(503), Some(503)));
    redis.wake();
    for server in [&a, &b] {
        server.until_status("/readyz", 200).await;
    }
    traffic.until_each_is_heard().await;
    let outage = |message: &serde_json::Value| message["body"]["type"] == "watcher.outage";
    site.receiver.until("the outage", outage).await;
    let path = format!("/ping/{}", a.token("silent").await);
    assert_eq!(b.status(&path).await, Some(200));
    site.until_told("monitor.down", "silent").await;
    traffic.end(&a).await;
    site.assert_told_once(&["monitor.down"]);
    assert_eq!(site.receiver.count(outage), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_between_one_server_and_redis_is_cut() {
    let redis = Redis::durable();
    let mut site = Site::at(&redis.url()).await;
    let wire = Wire::to(redis.port).await;
    let (a, b) = (site.node("a").await, Site::ready(site.command_at("b", &wire.url())).await);
    Site::until_shared(&a, 2).await;
    let traffic = Traffic::begin(&[&a, &b]).await;
    wire.cut();
    b.until_status("/readyz", 503).await;
    Site::until_shared(&a, 1).await;
    let path = format!("/ping/{}", a.token("silent").await);
    assert_eq!((a.status(&path).await, b.status(&path).await), (Some(200), Some(503)));
    site.until_told("monitor.down", "silent").await;
    // The other one is there all the time.
    traffic.until_each_is_heard().await;
    wire.mend();
    b.until_status("/readyz", 200).await;
    Site::until_shared(&b, 2).await;
    assert_eq!(b.status(&path).await, Some(200));
    site.until_told("monitor.recovered", "silent").await;
    traffic.end(&b).await;
    assert!(incidents(&a, "silent").await >= 1);
    site.assert_told_once(&[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_killed_and_sentinels_make_a_replica_the_primary() {
    let mut watched = Watched::start();
    let mut site = Site::at(&watched.url()).await;
    let (a, b) = (site.node("a").await, site.node("b").await);
    Site::until_shared(&b, 2).await;
    let traffic = Traffic::begin(&[&a, &b]).await;
    watched.primary.kill();
    tokio::join!(a.until_status("/readyz", 503), b.until_status("/readyz", 503));
    tokio::join!(a.until_status("/readyz", 200), b.until_status("/readyz", 200));
    traffic.until_each_is_heard().await;
    all_is_well_on_the_replica(&mut site, &a, &b).await;
    drop(traffic);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_redis_cluster_is_killed_and_its_replica_takes_its_place() {
    let mut cluster = Cluster::start();
    cluster.add_replica();
    let mut site = Site::at(&cluster.url()).await;
    let (a, b) = (site.node("a").await, site.node("b").await);
    Site::until_shared(&b, 2).await;
    let traffic = Traffic::begin(&[&a, &b]).await;
    cluster.nodes[0].kill();
    until("the replica to be a primary", || cluster.nodes[3].info("role") == "master");
    tokio::join!(a.until_status("/readyz", 200), b.until_status("/readyz", 200));
    traffic.until_each_is_heard().await;
    Site::until_shared(&a, 2).await;
    all_is_well_on_the_replica(&mut site, &a, &b).await;
    drop(traffic);
}

/// A silence is told, once, and nothing else. What was acknowledged is on the replica but for what was under way to it.
async fn all_is_well_on_the_replica(site: &mut Site, a: &Server, b: &Server) {
    let path = format!("/ping/{}", a.token("silent").await);
    assert_eq!(b.status(&path).await, Some(200));
    site.until_told("monitor.down", "silent").await;
    assert_eq!(incidents(a, "busy-0").await, 0);
    site.assert_told_once(&["monitor.down"]);
}
