//! What the server has acknowledged.

use std::collections::HashMap;

/// Heartbeats by monitor.
#[derive(Debug)]
pub(crate) struct Ledger {
    acknowledged: Vec<u32>,
    unsure: HashMap<u32, u32>,
}

impl Ledger {
    /// For so many monitors.
    pub(crate) fn new(monitors: u32) -> Self {
        Self { acknowledged: vec![0; monitors as usize], unsure: HashMap::new() }
    }

    /// How many monitors there are.
    pub(crate) fn monitors(&self) -> u32 {
        u32::try_from(self.acknowledged.len()).unwrap_or(u32::MAX)
    }

    /// The server has answered with success: it must be stored.
    pub(crate) fn acknowledge(&mut self, monitor: u32) {
        if let Some(count) = self.acknowledged.get_mut(monitor as usize) {
            *count += 1;
        }
    }

    /// No answer came, or that of a failing server: it may be stored.
    pub(crate) fn doubt(&mut self, monitor: u32) {
        *self.unsure.entry(monitor).or_default() += 1;
    }

    /// How many of a monitor must be stored, and how many may be.
    pub(crate) fn bounds(&self, monitor: u32) -> (u64, u64) {
        let must = self.acknowledged.get(monitor as usize).copied().unwrap_or_default();
        let unsure = self.unsure.get(&monitor).copied().unwrap_or_default();
        (u64::from(must), u64::from(must) + u64::from(unsure))
    }

    /// How many must be stored of all monitors together.
    pub(crate) fn total(&self) -> u64 {
        self.acknowledged.iter().copied().map(u64::from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unsure_widens_the_bounds_of_its_monitor_alone() {
        let mut ledger = Ledger::new(2);
        ledger.acknowledge(0);
        ledger.acknowledge(0);
        ledger.acknowledge(1);
        ledger.doubt(1);
        assert_eq!((ledger.bounds(0), ledger.bounds(1), ledger.bounds(9)), ((2, 2), (1, 2), (0, 0)));
        assert_eq!((ledger.total(), ledger.monitors()), (3, 2));
    }
}
