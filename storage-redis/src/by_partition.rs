//! Asking several partitions at once.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use heartbeat_engine::{PartitionId, StorageError};

/// Asks each partition for its items, all at the same time; the answers come in the order of the items.
pub(crate) async fn by_partition<T, U, F>(
    items: impl IntoIterator<Item = (PartitionId, T)>,
    ask: impl Fn(PartitionId, Vec<T>) -> F,
) -> Result<Vec<Option<U>>, StorageError>
where
    F: Future<Output = Result<Vec<Option<U>>, StorageError>>,
{
    let mut parts: BTreeMap<PartitionId, (Vec<usize>, Vec<T>)> = BTreeMap::new();
    let mut count = 0;
    for (partition, item) in items {
        let (places, items) = parts.entry(partition).or_default();
        places.push(count);
        items.push(item);
        count += 1;
    }
    let (places, asked): (Vec<_>, Vec<_>) =
        parts.into_iter().map(|(partition, (places, items))| (places, ask(partition, items))).unzip();
    let mut found: Vec<Option<U>> = Vec::new();
    found.resize_with(count, || None);
    for (places, answers) in places.into_iter().zip(try_join_all(asked).await?) {
        places.into_iter().zip(answers).for_each(|(place, answer)| found[place] = answer);
    }
    Ok(found)
}
