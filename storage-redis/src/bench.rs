//! What benchmarks compare a server with: the same script, called by itself.

use heartbeat_engine::{Batch, Record, Storage, StorageError};
use redis::Arg;

use crate::rounds::call_of;
use crate::share::ShareMaker;
use crate::storage::RedisStorage;

impl RedisStorage {
    /// The arguments of a command that calls the script and writes a heartbeat of each of these records of one partition, of
    /// which every eighth goes into its list. It leaves the records as they are, so that it can be called again and again, with
    /// another `lane` each time. The heartbeats have no content; what is variable in length comes last.
    ///
    /// # Errors
    /// When the store cannot be reached.
    #[doc(hidden)]
    pub async fn repeatable_call(&self, records: &[Record], lane: &str) -> Result<Vec<Vec<u8>>, StorageError> {
        let store = self.store();
        let partition = records.first().map(|record| store.partition_of(record.id())).unwrap_or_default();
        let leases = self.leases().await?;
        let epoch = leases.into_iter().find(|lease| lease.partition == partition).map(|lease| lease.epoch);
        let mut maker = ShareMaker::default();
        for (n, record) in records.iter().enumerate() {
            maker.add_repeatable(record, n % 8 == 7)?;
        }
        let batch = Batch { partition, epoch: epoch.unwrap_or_default(), ..Batch::default() };
        let (share, _) = maker.finish(store, &batch, 0, true)?;
        let call = call_of(lane, 0, &store.options.limits, &[share]);
        let simple = |argument| if let Arg::Simple(bytes) = argument { Some(Vec::from(bytes)) } else { None };
        Ok(call.args_iter().filter_map(simple).collect())
    }
}
