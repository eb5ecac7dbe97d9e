//! Simulated worlds of one node that run on a SQLite file: everything is done on the simulator's model as well, and both must answer
//! alike.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use heartbeat_engine::Storage;
use heartbeat_engine::testing::sim::{self, Coverage, Deed, Options};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};

/// How many worlds run.
const WORLDS: usize = 16;

#[test]
fn worlds_run_on_sqlite_as_they_do_on_the_model() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let options = Options::default().briefly();
    let fits = |seed: &u64| {
        let shape = sim::shape(*seed, &options);
        (shape.nodes, shape.partitions) == (1, 1)
    };
    let mut coverage = Coverage::default();
    for seed in (0..).filter(fits).take(WORLDS) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("heartbeat.db");
        let mut opened: Option<Arc<SqliteStorage>> = None;
        let ending = sim::run_on(seed, &options, runtime.handle(), move |_| {
            // The file belongs to one process: what is on the way from an earlier start of the node arrives all the same.
            let open = || Arc::new(SqliteStorage::open(&file, SqliteOptions::new()).unwrap());
            opened.get_or_insert_with(open).clone() as Arc<dyn Storage>
        });
        assert!(ending.broken.is_none(), "seed {seed}: {:?}\n{}", ending.broken, ending.story);
        coverage.add(&ending.coverage);
    }
    for deed in [Deed::Commit, Deed::Outage, Deed::UnknownWritten, Deed::Repeated, Deed::Delivered, Deed::Edit] {
        assert!(coverage.count(deed) > 0, "this never happened: {}", deed.name());
    }
}
