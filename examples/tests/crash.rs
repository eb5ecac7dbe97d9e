//! 200 kills of a real server at random instants: nothing acknowledged is lost, no incident twice, no notification lost
//! (S7.2, S7.3, S8.1 to S8.4). More of them, with other seeds: `cargo run --release -p heartbeat-examples --bin crash`.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use heartbeat_examples::crash::Plan;

const SEED: u64 = 7;

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_random_instants_breaks_no_promise() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plan = Plan {
        server: PathBuf::from(env!("CARGO_BIN_EXE_heartbeat-server")),
        folder: folder.path().to_owned(),
        seed: SEED,
        kills: 200,
        lanes: 4,
    };
    match plan.run().await {
        Ok(summary) => {
            assert_eq!(summary.kills, 200);
            println!("seed {SEED}\n{summary}");
        }
        Err(failure) => panic!("seed {SEED}; files kept in {}\n{failure}", folder.keep().display()),
    }
}
