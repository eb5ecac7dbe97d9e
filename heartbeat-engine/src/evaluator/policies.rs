//! What the host decides beside the monitors: maintenance windows and routes.

use std::sync::Arc;

use super::{Evaluator, Slot};
use crate::step::Surroundings;
use crate::{Health, Maintenance, Monitor, MonitorId, Record, Route};

impl Evaluator {
    /// Takes every maintenance window and every route: while loading, and whenever one of them has changed.
    pub fn handle_policies(&mut self, maintenance: Vec<Arc<Maintenance>>, routes: Vec<Arc<Route>>) {
        self.routes = routes.into_iter().map(Arc::unwrap_or_clone).collect();
        self.maintenance = maintenance;
        for (id, slot) in &mut self.slots {
            slot.windows = covering(&self.maintenance, &slot.record.monitor);
            if is_held(&slot.record) {
                self.ahead.push(*id);
            }
        }
    }

    /// Has every monitor looked at that windows hold back: they may have been ended while nobody looked.
    pub(super) fn look_for_held(&mut self) {
        self.ahead.extend(self.slots.iter().filter(|(_, slot)| slot.is_held()).map(|(id, _)| *id));
    }

    /// The windows that cover a monitor.
    pub(super) fn windows_of(&self, monitor: &Monitor) -> Vec<Arc<Maintenance>> {
        covering(&self.maintenance, monitor)
    }

    /// Whether these windows are those that cover a monitor; an edit may have changed that.
    pub(super) fn are_windows_of(&self, monitor: &Monitor, windows: &[Arc<Maintenance>]) -> bool {
        let covering = self.maintenance.iter().filter(|window| window.covers_monitor(monitor));
        covering.map(Arc::as_ptr).eq(windows.iter().map(Arc::as_ptr))
    }

    /// A monitor's new wish may be covered by other windows.
    pub(super) fn cover_again(&mut self, id: MonitorId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.windows = covering(&self.maintenance, &slot.record.monitor);
        if is_held(&slot.record) {
            self.ahead.push(id);
        }
    }

    /// What lies around a monitor with these windows, while those that it depends on are down.
    pub(super) fn around<'a>(
        &'a self,
        windows: &'a [Arc<Maintenance>],
        down_parents: &'a [String],
    ) -> Surroundings<'a> {
        Surroundings { outages: &self.outages, maintenance: windows, routes: &self.routes, down_parents }
    }
}

impl Slot {
    /// Whether windows that may have been ended or moved meanwhile hold back its deadline or what is due of its incident.
    pub(super) fn is_held(&self) -> bool {
        is_held(&self.record)
    }
}

fn is_held(record: &Record) -> bool {
    let Health { moves, pursuit, .. } = &record.health;
    moves.held.is_some() || !pursuit.escalations.is_empty()
}

fn covering(windows: &[Arc<Maintenance>], monitor: &Monitor) -> Vec<Arc<Maintenance>> {
    windows.iter().filter(|window| window.covers_monitor(monitor)).cloned().collect()
}
