//! The watcher's life is that of all nodes together (S6.5).

use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{Clock, NotificationKind, Storage};

use crate::site::{MINUTE, Node, SOON, Site, TTL, until};

#[tokio::test(start_paused = true)]
async fn there_is_no_outage_while_one_node_is_alive() {
    let site = Site::new(4);
    let a = Node::ready("a", &site).await;
    a.put("job", MINUTE, MINUTE).await;
    let b = Node::ready("b", &site).await;
    a.crash();
    tokio::time::sleep(TTL * 2).await;
    let c = Node::ready("c", &site).await;
    b.stop().await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(site.outages().await, 0);
    assert_eq!(c.ping("job").await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_all_is_stored_once_told_once_and_excuses_silence() {
    let site = Site::new(4);
    let (a, b) = (Node::ready("a", &site).await, Node::ready("b", &site).await);
    for job in 0..4 {
        a.put(&format!("job-{job}"), 10 * MINUTE, MINUTE).await;
        b.ping(&format!("job-{job}")).await;
    }
    tokio::time::sleep(SOON).await;
    a.crash();
    b.crash();
    until(|| a.has_ended() && b.has_ended()).await;
    tokio::time::sleep(20 * MINUTE).await;
    let (c, d) = tokio::join!(Node::start("c", &site), Node::start("d", &site));
    until(|| c.engine.readiness().ready && d.engine.readiness().ready).await;
    tokio::time::sleep(SOON * 2).await;
    assert_eq!(site.outages().await, 1);
    let told = site.told(NotificationKind::WatcherOutage);
    assert_eq!(told.len(), 1);
    assert!(told[0].1.message.contains("heartbeats of 4 monitors may have been missed"), "{}", told[0].1.message);
    assert_eq!(site.told_counts(), [0, 0, 0, 1], "silence of that time proves nothing");
    let deadline = c.engine.status("job-0").unwrap().deadline.unwrap();
    assert_eq!(d.engine.status("job-0").unwrap().deadline, Some(deadline));
    assert!(deadline > site.clock.now() + 10 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_alone_waits_only_where_others_may_live() {
    let site = Site::new(4);
    let a = Node::start("a", &site).await;
    until(|| a.engine.readiness().ready).await;
    a.put("job", MINUTE, MINUTE).await;
    a.stop().await;
    tokio::time::sleep(SOON).await;
    let began = site.clock.now();
    let b = Node::start("b", &site).await;
    assert_eq!(b.ping("job").await, 1);
    let waited = site.clock.now().since(began);
    assert!(waited < SOON, "{waited:?}");

    b.crash();
    until(|| b.has_ended()).await;
    let began = site.clock.now();
    let c = Node::start("c", &site).await;
    until(|| c.engine.readiness().ready).await;
    let waited = site.clock.now().since(began);
    assert!(waited >= TTL - SOON && waited <= TTL + SOON, "it may have been alive: {waited:?}");
    assert_eq!(c.ping("job").await, 2);
    assert_eq!(site.storage.watch_log().await.unwrap().outages.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_far_ahead_joins_those_that_live() {
    let site = Site::new(4);
    let a = Node::ready("a", &site).await;
    a.put("job", MINUTE, MINUTE).await;
    let ahead = TokioClock::new(site.clock.now() + 40 * SOON);
    let b = Node::start_with(site.storage.another_handle(), ahead, "b", &site).await;
    until(|| b.engine.readiness().ready).await;
    assert_eq!(b.ping("job").await, 1);
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(site.shares(["a", "b"]).await, [2, 2]);
    assert_eq!(site.outages().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_before_it_knows_of_an_outage_hides_nothing_of_it() {
    let site = Site::new(4);
    let a = Node::ready("a", &site).await;
    a.crash();
    until(|| a.has_ended()).await;
    tokio::time::sleep(20 * MINUTE).await;
    let b = Node::start("b", &site).await;
    tokio::time::sleep(SOON * 2).await;
    assert!(!b.engine.readiness().ready, "others may live");
    b.stop().await;
    let c = Node::start("c", &site).await;
    until(|| c.engine.readiness().ready).await;
    let outages = site.storage.watch_log().await.unwrap().outages;
    assert!(outages.iter().any(|outage| outage.length() >= 20 * MINUTE), "{outages:?}");
}
