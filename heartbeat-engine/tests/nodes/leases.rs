//! Who judges what: shares of nodes that come, go and die.

use std::time::Duration;

use heartbeat_engine::{Engine, Epoch, Lease, NotificationKind, Signal, Storage};
use tokio::time::Instant;

use crate::site::{MINUTE, Node, SOON, Site, TTL, is_of, until};

#[tokio::test(start_paused = true)]
async fn partitions_are_shared_out_fairly_and_only_what_must_move_moves() {
    let site = Site::new(64);
    let a = Node::ready("a", &site).await;
    assert_eq!(site.shares(["a"]).await, [64]);
    let before = site.leases().await;
    let b = Node::ready("b", &site).await;
    assert_eq!(site.shares(["a", "b"]).await, [32, 32]);
    let moved = site.leases().await.iter().zip(&before).filter(|(now, then)| now.node != then.node).count();
    assert_eq!(moved, 32);

    let before = site.leases().await;
    let c = Node::ready("c", &site).await;
    let mut shares = site.shares(["a", "b", "c"]).await;
    shares.sort_unstable();
    assert_eq!(shares, [21, 21, 22]);
    let moved = site.leases().await.iter().zip(&before).filter(|(now, then)| now.node != then.node).count();
    assert_eq!(moved, 21, "to the one that joined");

    let stopped = Instant::now();
    b.stop().await;
    while site.shares(["a", "c"]).await != [32, 32] {
        assert!(stopped.elapsed() < SOON * 2, "what it gave up is taken at once");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    c.stop().await;
    tokio::time::sleep(SOON * 2).await;
    assert_eq!(site.shares(["a"]).await, [64]);
    assert_eq!(site.outages().await, 0, "one of them was there all the time");
    assert!(a.engine.readiness().ready);
}

#[tokio::test(start_paused = true)]
async fn the_share_of_one_that_crashed_is_taken_over_and_heartbeats_are_taken_all_the_time() {
    let site = Site::new(8);
    let (a, b) = (Node::ready("a", &site).await, Node::ready("b", &site).await);
    for job in 0..8 {
        a.put(&format!("job-{job}"), MINUTE, MINUTE).await;
        a.ping(&format!("job-{job}")).await;
    }
    tokio::time::sleep(SOON).await;
    a.crash();
    let crashed = Instant::now();
    assert_eq!(b.ping("job-0").await, 2, "at once");
    while site.shares(["b"]).await != [8] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = crashed.elapsed();
    assert!((TTL * 2 / 3..=TTL + SOON).contains(&took), "{took:?}");
    // Nobody heard of the others since the one that crashed did.
    tokio::time::sleep(2 * MINUTE).await;
    let down = site.told(NotificationKind::Down).len();
    assert_eq!(down + site.grouped(), 8);
    assert_eq!(site.outages().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_lost_is_noticed_and_nothing_is_told_twice() {
    let site = Site::new(1);
    let node = Node::ready("a", &site).await;
    node.put("job", 60 * MINUTE, MINUTE).await;
    // Somebody took the lease while the node was frozen; it finds that out when it writes or looks.
    let held = site.leases().await.remove(0);
    let stolen = Lease { epoch: Epoch(held.epoch.0 + 1), node: "thief".to_owned(), ..held.clone() };
    assert!(site.storage.swap_lease(&held, &stolen).await.unwrap());
    assert_eq!(node.send("job", Signal::Fail).await.n, 1, "it is taken all the same");
    tokio::time::sleep(SOON).await;
    assert_eq!(site.leases().await, [stolen]);
    assert_eq!(site.told_counts(), [0; 4], "whoever has the lease would tell it");
    // Nobody renews what was stolen.
    tokio::time::sleep(TTL + SOON).await;
    assert!(is_of(&site.leases().await[0], "a"));
    assert_eq!(site.told_counts(), [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_on_a_channel_is_the_worry_of_the_one_that_delivers() {
    let site = Site::new(1);
    let node = Node::ready("a", &site).await;
    site.shut_mailbox(true);
    node.put("job", 60 * MINUTE, MINUTE).await;
    node.send("job", Signal::Fail).await;
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(node.engine.metrics().undelivered, 1);
    assert!(node.engine.channel("ops").unwrap().failing_since.is_some());
    let held = site.leases().await.remove(0);
    let stolen = Lease { epoch: Epoch(held.epoch.0 + 1), node: "thief".to_owned(), ..held.clone() };
    assert!(site.storage.swap_lease(&held, &stolen).await.unwrap());
    tokio::time::sleep(SOON).await;
    assert_eq!(node.engine.metrics().undelivered, 0, "another node has it");
    assert_eq!(node.engine.channel("ops").unwrap().failing_since, None);
    assert!(node.engine.readiness().ready);
    site.shut_mailbox(false);
    tokio::time::sleep(TTL + MINUTE * 10).await;
    assert_eq!(site.told_counts(), [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn one_process_alone_does_not_take_a_storage_that_nodes_share_out() {
    let site = Site::new(4);
    let refused = Engine::builder(site.storage.another_handle()).clock(site.clock.clone()).spawn().await.unwrap_err();
    assert!(refused.to_string().contains("it has 4 partitions, which nodes share out"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_was_owed_by_one_that_crashed_is_told_by_another() {
    let site = Site::new(4);
    let (a, b, c) = (Node::ready("a", &site).await, Node::ready("b", &site).await, Node::ready("c", &site).await);
    a.put("job", 60 * MINUTE, MINUTE).await;
    let deliverer = heartbeat_engine::PartitionId::of_channel("ops", 4);
    let lease = site.leases().await.remove(usize::from(deliverer.0));
    let nodes = [("a", &a), ("b", &b), ("c", &c)];
    let (_, dying) = nodes.iter().find(|(name, _)| is_of(&lease, name)).unwrap();
    let (_, other) = nodes.iter().find(|(name, _)| !is_of(&lease, name)).unwrap();
    dying.crash();
    until(|| dying.has_ended()).await;
    other.send("job", Signal::Fail).await;
    tokio::time::sleep(SOON).await;
    assert_eq!(site.told_counts(), [0; 4]);
    tokio::time::sleep(TTL + SOON).await;
    assert_eq!(site.told_counts(), [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_node_can_be_stopped_while_another_judges_everything() {
    let site = Site::new(1);
    let (a, b) = (Node::ready("a", &site).await, Node::ready("b", &site).await);
    b.put("job", MINUTE, MINUTE).await;
    b.stop().await;
    assert!(b.has_ended());
    assert_eq!(site.shares(["a", "b"]).await, [1, 0]);
    assert_eq!(a.ping("job").await, 1);
}
