//! What one node takes holds on all of them.

use std::time::Duration;

use heartbeat_engine::{Clock, Effect, NotificationKind, Ping, PutMode, Signal, StatusWord, Storage};

use crate::site::{MINUTE, Node, SOON, Site, mailbox, spec, until};

#[tokio::test(start_paused = true)]
async fn heartbeats_are_taken_by_every_node_and_all_see_them() {
    let site = Site::new(4);
    let (a, b) = (Node::ready("a", &site).await, Node::ready("b", &site).await);
    for job in 0..8 {
        a.put(&format!("job-{job}"), MINUTE, MINUTE).await;
    }
    // Nobody waits until the other node has heard of them.
    for round in 0..3 {
        for job in 0..8 {
            let (slug, nodes) = (format!("job-{job}"), [&a, &b]);
            assert_eq!(nodes[(round + job) % 2].ping(&slug).await, 2 * round as u64 + 1);
            assert_eq!(nodes[(round + job + 1) % 2].ping(&slug).await, 2 * round as u64 + 2);
        }
    }
    tokio::time::sleep(SOON).await;
    for job in 0..8 {
        let slug = format!("job-{job}");
        let (seen, also_seen) = (a.engine.find(&*slug).unwrap(), b.engine.find(&*slug).unwrap());
        assert_eq!(seen.health.ping_count, 6);
        assert_eq!(seen, also_seen);
    }
    assert_eq!(site.told_counts(), [0; 4]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_found_at_the_deadline_and_told_once_whoever_heard_the_job_last() {
    let site = Site::new(4);
    let (a, b) = (Node::ready("a", &site).await, Node::ready("b", &site).await);
    for job in 0..4 {
        a.put(&format!("job-{job}"), MINUTE, MINUTE).await;
    }
    tokio::time::sleep(MINUTE).await;
    for job in 0..4 {
        let node = if job % 2 == 0 { &a } else { &b };
        node.ping(&format!("job-{job}")).await;
    }
    let deadline = site.clock.now() + 2 * MINUTE;
    tokio::time::sleep(2 * MINUTE - SOON).await;
    assert_eq!(site.told_counts(), [0; 4]);
    tokio::time::sleep(2 * SOON).await;
    let told = site.told(NotificationKind::Down);
    assert_eq!(told.len(), 4);
    for (at, notification) in told {
        assert_eq!(notification.incident.unwrap().opened_at, deadline);
        let lag = at.since(deadline);
        assert!(lag <= Duration::from_millis(250), "{lag:?}");
    }
    for job in 0..4 {
        let slug = format!("job-{job}");
        let node = if job % 2 == 0 { &b } else { &a };
        let receipt = node.send(&slug, Signal::Success).await;
        assert_eq!((receipt.effect, receipt.status), (Effect::Counted, StatusWord::Up));
    }
    assert_eq!(told_in_all(&site).await, 8, "each going down, and each recovery");
}

/// How many messages there were, when those that are grouped are told too.
async fn told_in_all(site: &Site) -> usize {
    tokio::time::sleep(MINUTE / 2).await;
    let [down, recovered, _, _] = site.told_counts();
    down + recovered + site.grouped()
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_once_whichever_node_takes_it() {
    let site = Site::new(8);
    let nodes = [Node::ready("a", &site).await, Node::ready("b", &site).await, Node::ready("c", &site).await];
    for job in 0..4 {
        nodes[0].put(&format!("job-{job}"), 60 * MINUTE, MINUTE).await;
    }
    for (round, signal) in [Signal::Fail, Signal::Success].into_iter().enumerate() {
        for job in 0..4 {
            nodes[(round + job) % 3].send(&format!("job-{job}"), signal).await;
        }
        tokio::time::sleep(SOON).await;
    }
    assert_eq!(told_in_all(&site).await, 8);
    let order = site.told(NotificationKind::Down);
    assert!(order.iter().all(|(at, told)| at.since(told.created_at) < SOON), "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn messages_about_a_monitor_go_out_in_their_order_whichever_nodes_owe_them() {
    let site = Site::new(4);
    let nodes = [Node::ready("a", &site).await, Node::ready("b", &site).await, Node::ready("c", &site).await];
    nodes[0].engine.put_channel("each", mailbox()).await.unwrap();
    tokio::time::sleep(SOON).await;
    let slugs: Vec<String> = (0..12).map(|job| format!("job-{job}")).collect();
    for slug in &slugs {
        let mut spec = spec(slug, 60 * MINUTE, MINUTE);
        spec.channels = vec!["each".to_owned()];
        nodes[0].engine.put(spec, PutMode::Upsert).await.unwrap();
    }
    tokio::time::sleep(SOON).await;
    // No time passes in between, so nobody has heard what the node before came to owe.
    for (job, slug) in slugs.iter().enumerate() {
        for (turn, signal) in [Signal::Fail, Signal::Success, Signal::Fail, Signal::Success].into_iter().enumerate() {
            let node = if job < 6 { (job + turn) % 3 } else { (job + turn / 2) % 3 };
            nodes[node].send(slug, signal).await;
        }
    }
    tokio::time::sleep(SOON).await;
    for slug in &slugs {
        use NotificationKind::{Down, Recovered};
        assert_eq!(site.told_about(slug), [Down, Recovered, Down, Recovered], "{slug}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_digest_whoever_judges_and_delivers() {
    let site = Site::new(8);
    let (a, _b) = (Node::ready("a", &site).await, Node::ready("b", &site).await);
    for job in 0..40 {
        a.put(&format!("job-{job}"), MINUTE, MINUTE).await;
    }
    tokio::time::sleep(3 * MINUTE).await;
    assert_eq!(site.told_counts(), [5, 0, 1, 0], "a burst of 5, and the rest in one");
    let (_, digest) = site.told(NotificationKind::Digest).remove(0);
    assert_eq!(digest.digest.unwrap().total(), 35);
    let pending = site.storage.outbox(0, 100).await.unwrap();
    assert_eq!(pending.items, [], "everything is settled");
}

#[tokio::test(start_paused = true)]
async fn channels_and_edits_hold_on_every_node_within_a_second() {
    let site = Site::new(4);
    let (a, b) = (Node::ready("a", &site).await, Node::ready("b", &site).await);
    a.engine.put_channel("late", mailbox()).await.unwrap();
    tokio::time::sleep(SOON).await;
    let mut wish = spec("job", MINUTE, MINUTE);
    wish.channels = vec!["late".to_owned()];
    let made = b.engine.put(wish.clone(), PutMode::Upsert).await.unwrap();
    tokio::time::sleep(SOON).await;
    assert_eq!(a.engine.find("job").unwrap().spec().channels, ["late"]);

    wish.slug = heartbeat_engine::MonitorSpec::new("renamed", wish.schedule.clone()).slug;
    a.engine.put(wish, PutMode::Replace { monitor: made.record.id(), expected: None }).await.unwrap();
    assert_eq!(b.ping("renamed").await, 1, "the storage knows it already");
    tokio::time::sleep(SOON).await;
    assert!(b.engine.find("job").is_none());

    b.engine.pause("renamed", true).await.unwrap();
    tokio::time::sleep(SOON).await;
    assert_eq!(a.engine.status("renamed").unwrap().word, StatusWord::Paused);
    a.engine.remove("renamed").await.unwrap();
    tokio::time::sleep(SOON).await;
    assert!(b.engine.find("renamed").is_none());
    let refused = b.engine.ping("renamed", Ping::new(Signal::Success)).await;
    assert_eq!(refused, Err(heartbeat_engine::PingError::NotFound));

    b.engine.remove_channel("late").await.unwrap();
    until(|| a.engine.channel("late").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn what_depends_on_a_monitor_of_another_partition_is_held_back_while_that_is_down() {
    let site = Site::new(16);
    let (a, b) = (Node::ready("a", &site).await, Node::ready("b", &site).await);
    a.put("parent", 60 * MINUTE, MINUTE).await;
    let parent = a.engine.find("parent").unwrap().id();
    // Of so many some lie in other partitions.
    for job in 0..8 {
        let mut child = spec(&format!("child-{job}"), 60 * MINUTE, MINUTE);
        child.depends_on = vec![parent];
        a.engine.put(child, PutMode::Upsert).await.unwrap();
    }
    let elsewhere =
        (0..8).filter(|job| a.partition_of(&format!("child-{job}"), &site) != a.partition_of("parent", &site));
    assert!(elsewhere.count() > 0);
    a.send("parent", Signal::Fail).await;
    tokio::time::sleep(SOON).await;
    for job in 0..8 {
        let node = if job % 2 == 0 { &a } else { &b };
        node.send(&format!("child-{job}"), Signal::Fail).await;
    }
    tokio::time::sleep(MINUTE).await;
    assert_eq!(site.told_counts(), [1, 0, 0, 0], "the parent alone");
    b.send("parent", Signal::Success).await;
    assert_eq!(told_in_all(&site).await, 10, "and then its children, all of them");
}
