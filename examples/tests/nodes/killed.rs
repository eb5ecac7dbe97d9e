//! Servers that are killed, frozen, stopped and started while jobs report to any of them.

use tokio::time::Instant;

use crate::redis_server::Server as Redis;
use crate::site::{Site, incidents, pause};
use crate::support::{Server, run_to_end, within};
use crate::traffic::Traffic;

async fn ping(server: &Server, slug: &str) {
    let path = format!("/ping/{}", server.token(slug).await);
    assert_eq!(server.status(&path).await, Some(200), "{slug}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_is_killed_and_one_is_frozen_past_its_lease() {
    let redis = Redis::durable();
    let mut site = Site::at(&redis.url()).await;
    let (mut a, b, c) = (site.node("a").await, site.node("b").await, site.node("c").await);
    Site::until_shared(&c, 3).await;
    let traffic = Traffic::begin(&[&a, &b, &c]).await;
    ping(&b, "silent").await;

    let killed = Instant::now();
    a.signal("KILL").await;
    assert_eq!(a.ended().await, None);
    Site::until_shared(&c, 2).await;
    println!("the share of the one that was killed was taken over after {:?}", killed.elapsed());
    site.until_told("monitor.down", "silent").await;
    traffic.until_each_is_heard().await;

    b.signal("STOP").await;
    Site::until_shared(&c, 1).await;
    ping(&c, "silent").await;
    // Nothing is expected of it any more.
    pause(&c, "silent").await;
    site.until_told("monitor.recovered", "silent").await;
    b.signal("CONT").await;
    Site::until_shared(&b, 2).await;
    traffic.until_each_is_heard().await;

    traffic.end(&b).await;
    assert_eq!(incidents(&c, "silent").await, 1);
    site.assert_told_once(&["monitor.down", "monitor.recovered"]);
    assert_eq!(c.look("/api/monitors/silent").await["status"], "paused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_replaced_one_after_the_other() {
    let redis = Redis::durable();
    let mut site = Site::at(&redis.url()).await;
    let (a, b) = (site.node("a").await, site.node("b").await);
    Site::until_shared(&b, 2).await;
    let traffic = Traffic::begin(&[&a, &b]).await;
    let metrics = b.get("/metrics").await.text;
    for series in
        ["heartbeat_cluster_nodes 2", "heartbeat_cluster_partitions_held 4", "heartbeat_partition_held{partition="]
    {
        assert!(metrics.contains(series), "{series}: {metrics}");
    }
    a.stop().await;
    let stopped = Instant::now();
    Site::until_shared(&b, 1).await;
    println!("what was given up in order was taken over after {:?}", stopped.elapsed());
    let c = site.node("c").await;
    Site::until_shared(&c, 2).await;
    ping(&c, "silent").await;
    site.until_told("monitor.down", "silent").await;
    traffic.until_each_is_heard().await;
    traffic.end(&c).await;
    site.assert_told_once(&["monitor.down"]);
    let outages = site.receiver.count(|message| message["body"]["type"] == "watcher.outage");
    assert_eq!(outages, 0, "one was there all the time");
}

#[tokio::test]
async fn all_stop_and_start() {
    let redis = Redis::durable();
    let site = Site::at(&redis.url()).await;
    let (a, b) = (site.node("a").await, site.node("b").await);
    for _ in 0..5 {
        ping(&a, "busy-0").await;
        ping(&b, "busy-0").await;
    }
    let before = a.look("/api/monitors/busy-0").await;
    b.stop().await;
    a.stop().await;
    let (a, b) = (site.node("a").await, site.node("b").await);
    let after = b.look("/api/monitors/busy-0").await;
    assert_eq!((&after["ping_count"], &after["token"]), (&10.into(), &before["token"]));
    ping(&a, "busy-0").await;
    assert_eq!(a.look("/api/monitors/busy-0").await["ping_count"], 11);
}

#[tokio::test]
async fn a_redis_that_does_not_answer_is_told() {
    let mut redis = Redis::durable();
    let site = Site::at(&redis.url()).await;
    redis.kill();
    let (code, message) = run_to_end(&mut site.command("a")).await;
    assert_eq!(code, 1);
    let expected = format!("{} could not be opened: the store is unavailable: ", redis.url());
    assert!(message.contains(&expected), "{message}");
}

#[tokio::test]
async fn systemd_is_told_of_every_server() {
    let redis = Redis::durable();
    let site = Site::at(&redis.url()).await;
    let a = site.node("a").await;
    let socket = site.folder.path().join("notify");
    let listener = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let next = async || {
        let mut buffer = [0; 256];
        let length = within("a message", listener.recv(&mut buffer)).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
    };
    let mut command = site.command("b");
    let b = Server::start_with(command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000")).await;
    assert_eq!(next().await, "READY=1");
    for _ in 0..3 {
        assert_eq!(next().await, "WATCHDOG=1");
    }
    Site::until_shared(&a, 2).await;
    b.until_status("/readyz", 200).await;
    let ready = b.get("/readyz").await.text;
    assert!(ready.contains("nothing is lost when Redis crashes (appendfsync always)"), "{ready}");
    assert_eq!(a.status("/readyz").await, Some(200));
}
