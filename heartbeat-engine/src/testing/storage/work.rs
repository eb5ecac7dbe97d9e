//! Who works on what, and what is due.

use std::sync::Arc;
use std::time::Duration;

use super::super::fixtures::{
    at, batch, create, health, lease, monitor_id, monitor_id_in, next, record, remove, replace, run_id, with_id,
};
use super::{StorageHarness, put, write};
use crate::{Batch, Page, PartitionId, Record, Run, State, Storage, Timestamp};

fn due_at(n: u64, seconds: i64) -> Record {
    Record { health: health(at(seconds)), ..record(n) }
}

async fn due(storage: &impl Storage, before: i64, limit: usize) -> Vec<u64> {
    let found = storage.due(PartitionId(0), at(before), limit).await.unwrap();
    let number = |id: crate::MonitorId| (0..=9).find(|n| monitor_id(*n) == id).expect("one of ours");
    found.into_iter().map(|(id, _)| number(id)).collect()
}

/// Due monitors come by the instant, those of one instant by id, at most as many as asked for.
pub async fn due_monitors_come_soonest_first<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let records = [due_at(1, 30), due_at(4, 10), due_at(2, 20), due_at(3, 10)];
    put(&*storage, records.each_ref().map(create)).await;
    assert_eq!(due(&*storage, 100, 10).await, [3, 4, 2, 1]);
    assert_eq!(due(&*storage, 100, 3).await, [3, 4, 2]);
    assert_eq!(due(&*storage, 100, 0).await, [0_u64; 0]);
    let found = storage.due(PartitionId(0), at(100), 1).await.unwrap();
    assert_eq!(found, [(monitor_id(3), at(10))], "with its instant");
}

/// Only monitors of the partition, and only those strictly before the instant; what never wakes is never due.
pub async fn due_is_by_partition_and_strictly_before<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let mut paused = due_at(2, 10);
    (paused.health.state, paused.health.expectation) = (State::Paused, None);
    put(&*storage, [create(&due_at(1, 10)), create(&paused)]).await;
    let elsewhere = PartitionId(1);
    let third = with_id(monitor_id_in(elsewhere, 3), &due_at(3, 10));
    if storage.partitions() > 1 {
        write(&*storage, &Batch { partition: elsewhere, ..batch([create(&third)]) }).await;
    }
    assert_eq!(due(&*storage, 10, 10).await, [0_u64; 0]);
    let just_after = storage.due(PartitionId(0), at(10) + Duration::from_millis(1), 10).await.unwrap();
    assert_eq!(just_after, [(monitor_id(1), at(10))]);
    let never = storage.due(PartitionId(0), Timestamp::MAX, 10).await.unwrap();
    assert_eq!(never, [(monitor_id(1), at(10))], "paused is never due");
    if storage.partitions() > 1 {
        let other = storage.due(elsewhere, at(11), 10).await.unwrap();
        assert_eq!(other, [(third.id(), at(10))]);
    }
}

/// What is due follows each change of a monitor: later, earlier, by the limit of a run, never, removed.
pub async fn a_change_moves_what_is_due<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let mut current = due_at(1, 10);
    put(&*storage, [create(&current), create(&due_at(2, 50))]).await;
    let mut change = async |edit: &(dyn Fn(&mut crate::Health) + Sync)| {
        current = next(&current, |_, health| edit(health));
        put(&*storage, [replace(&current)]).await;
        (due(&*storage, 45, 10).await, due(&*storage, 1000, 10).await)
    };
    assert_eq!(change(&|health| *health = super::fixtures::health(at(100))).await, (vec![], vec![2, 1]));
    assert_eq!(change(&|health| *health = super::fixtures::health(at(40))).await, (vec![1], vec![1, 2]));
    assert_eq!(change(&|health| health.state = State::Down).await, (vec![], vec![2]));
    let run = Run { id: Some(run_id(1)), began_at: at(1), limit_at: Some(at(44)) };
    assert_eq!(change(&|health| health.runs = vec![run]).await, (vec![1], vec![1, 2]));
    put(&*storage, [remove(&current)]).await;
    assert_eq!(due(&*storage, 1000, 10).await, [2]);
}

/// Every monitor is listed once, by id, of all partitions.
pub async fn monitors_are_paged_by_id<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    assert_eq!(storage.monitors(None, 10).await.unwrap(), Page::empty());
    put(&*storage, [create(&record(3)), create(&record(1)), create(&record(5))]).await;
    let elsewhere = PartitionId(storage.partitions() - 1);
    let second = with_id(monitor_id_in(elsewhere, 2), &record(2));
    write(&*storage, &Batch { partition: elsewhere, ..batch([create(&second)]) }).await;
    let page = async |after: Option<u64>, limit| {
        let page = storage.monitors(after.map(monitor_id), limit).await.unwrap();
        (page.items, page.more)
    };
    assert_eq!(page(None, 10).await, (vec![record(1), second.clone(), record(3), record(5)], false));
    assert_eq!(page(None, 2).await, (vec![record(1), second.clone()], true));
    assert_eq!(page(Some(1), 2).await, (vec![second.clone(), record(3)], true));
    assert_eq!(page(Some(3), 2).await, (vec![record(5)], false));
    assert_eq!(page(Some(4), 2).await, (vec![record(5)], false), "the cursor need not exist");
    assert_eq!(page(Some(5), 2).await, (vec![], false));
}

/// A lease is replaced only when epoch and node are as expected, and a failed swap changes nothing.
pub async fn a_lease_is_swapped_only_when_epoch_and_node_match<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let none = lease(3, 0, "");
    assert_eq!(storage.leases().await.unwrap(), []);
    for wrong in [lease(3, 1, ""), lease(3, 0, "a")] {
        assert!(!storage.swap_lease(&wrong, &lease(3, 2, "b")).await.unwrap());
    }
    assert_eq!(storage.leases().await.unwrap(), []);
    assert!(storage.swap_lease(&none, &lease(3, 1, "a")).await.unwrap());
    for wrong in [none, lease(3, 1, "b"), lease(3, 2, "a"), lease(3, 0, "a")] {
        assert!(!storage.swap_lease(&wrong, &lease(3, 9, "c")).await.unwrap(), "{wrong:?}");
    }
    let mut renewed = lease(3, 1, "a");
    renewed.expires_at = at(120);
    let stale = crate::Lease { expires_at: at(7), ..lease(3, 1, "a") };
    assert!(storage.swap_lease(&stale, &renewed).await.unwrap(), "its end is not compared");
    assert_eq!(storage.leases().await.unwrap(), [renewed.clone()]);
    assert!(storage.swap_lease(&renewed, &lease(3, 2, "b")).await.unwrap());
    assert!(storage.swap_lease(&lease(1, 0, ""), &lease(1, 1, "a")).await.unwrap());
    let mut leases = storage.leases().await.unwrap();
    leases.sort_by_key(|lease| lease.partition);
    assert_eq!(leases, [lease(1, 1, "a"), lease(3, 2, "b")]);
}

/// Of nodes that take a lease at once, one gets it.
pub async fn one_of_many_concurrent_lease_swaps_wins<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let storage = Arc::clone(&storage);
            let mine = lease(0, 1, &format!("node-{n}"));
            tokio::spawn(async move { (storage.swap_lease(&lease(0, 0, ""), &mine).await.unwrap(), mine) })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        let (won, mine) = task.await.unwrap();
        winners.extend(won.then_some(mine));
    }
    assert_eq!(winners.len(), 1, "exactly one wins");
    assert_eq!(storage.leases().await.unwrap(), winners);
}
