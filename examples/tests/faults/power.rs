//! Losses of power at random instants, also of a disk whose syncs fail.

use std::time::Duration;

use heartbeat_examples::crash::Pace;

use crate::failing::Disk;
use crate::rig::Rig;

const ROUNDS: u32 = 30;
const PACE: Pace = Pace { beats_max: 20, pause_ms_max: 10, body_bytes: 0, until_gone: true };

/// What was acknowledged is there although nothing is left but what was synced; a sync that failed counts for nothing, and
/// what is built upon it must not be lost with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_of_power_takes_nothing_that_was_acknowledged() {
    let disk = Disk::new();
    let mut rig = Rig::start(disk.program(), &disk.db(), 8).await;
    for round in 0..ROUNDS {
        rig.stream(PACE);
        tokio::time::sleep(rig.random.millis(20, 150)).await;
        if rig.random.percent(50) {
            disk.command("sync");
            tokio::time::sleep(rig.random.millis(5, 150)).await;
            if rig.random.percent(50) {
                disk.command("");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        rig.kill().await;
        disk.command("");
        if rig.random.percent(60) {
            disk.lose_power();
        }
        rig.start_again().await;
        // What two rounds send is among the heartbeats that are kept.
        if round % 2 == 1 {
            rig.check().await;
        }
    }
    let ledger = rig.kill_and_check().await;
    assert!(ledger.acknowledged() > 500, "{} heartbeats", ledger.acknowledged());
}
