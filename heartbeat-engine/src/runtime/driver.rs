//! The driver: takes calls to the evaluator, batches to the storage, and owed notifications to their channels.

use std::sync::Arc;

use crate::runtime::error::StartError;
use crate::runtime::shared::Shared;

/// Does the engine's work while it runs.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// When the storage cannot be read, or a stored channel cannot be made.
    pub async fn load(&mut self) -> Result<(), StartError> {
        Ok(())
    }

    /// Works until the engine is shut down.
    pub async fn run(self) {
        drop(self.shared);
    }
}
