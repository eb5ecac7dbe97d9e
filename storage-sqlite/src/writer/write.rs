//! What the writer is given, how much that is, and how it is answered.

use heartbeat_engine::{Applied, Lease, StorageError};
use tokio::sync::oneshot;

use crate::encode::Content;
use crate::fold::{self, FoldReply};
use crate::import::EncodedImport;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StorageError>>;

/// Something to write and who waits for it.
pub(crate) enum Write {
    Batch(Content, Reply<Applied>),
    Import(Box<EncodedImport>, Reply<()>),
    Lease(Box<(Lease, Lease)>, Reply<bool>),
    /// What folding puts into rows.
    Fold(fold::Slice, FoldReply),
    /// What of the log may be deleted.
    Trim(fold::Trim, FoldReply),
    /// What was left to later so far is to be put into its tables before the answer.
    PutDeferred(Reply<()>),
    /// The next piece of that.
    Deferred,
}

/// The answer to one write of a group, held back until the transaction is durable.
pub(super) enum Answer {
    Applied(Applied),
    Swapped(bool),
    Folded,
    Failed(StorageError),
}

/// How much it writes: monitors, or lines of their history where these are more.
pub(super) fn transitions(write: &Write) -> usize {
    match write {
        Write::Batch(batch, _) => batch.transitions().max(batch.lines()).max(1),
        Write::Import(import, _) => import.len().max(1),
        Write::Lease(..) => 1,
        // They are bounded by themselves.
        Write::Fold(..) | Write::Trim(..) | Write::PutDeferred(_) | Write::Deferred => 0,
    }
}

pub(super) const fn is_fold(write: &Write) -> bool {
    matches!(write, Write::Fold(..) | Write::Trim(..))
}

/// How many monitors it folds.
pub(super) fn folds(write: &Write) -> usize {
    match write {
        Write::Fold(slice, _) => slice.len(),
        _ => 0,
    }
}

/// Nobody may be waiting any more; then nobody is told.
pub(super) fn reply(write: Write, answer: Answer) {
    match (write, answer) {
        (Write::Batch(batch, reply), Answer::Applied(applied)) => {
            // Whoever shares it finds it to be its own again.
            drop(batch);
            reply.send(Ok(applied)).ok();
        }
        (Write::Batch(batch, reply), Answer::Failed(error)) => {
            drop(batch);
            reply.send(Err(error)).ok();
        }
        (Write::Lease(_, reply), Answer::Swapped(swapped)) => drop(reply.send(Ok(swapped))),
        (Write::Lease(_, reply), Answer::Failed(error)) => drop(reply.send(Err(error))),
        (Write::Import(_, reply), Answer::Failed(error)) => drop(reply.send(Err(error))),
        (Write::Import(_, reply), _) => drop(reply.send(Ok(()))),
        (Write::Fold(_, reply) | Write::Trim(_, reply), answer) => {
            reply.send(matches!(answer, Answer::Folded)).ok();
        }
        (Write::PutDeferred(_) | Write::Deferred, _) => (),
        (Write::Batch(..), Answer::Swapped(_) | Answer::Folded)
        | (Write::Lease(..), Answer::Applied(_) | Answer::Folded) => {
            tracing::error!("a write got the answer of another kind");
        }
    }
}
