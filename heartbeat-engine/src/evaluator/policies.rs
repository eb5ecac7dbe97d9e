//! What the host decides beside the monitors: maintenance windows and routes.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use super::{Evaluator, Slot};
use crate::slab::OfMonitor;
use crate::step::Surroundings;
use crate::{Maintenance, Monitor, MonitorId, Record, Route};

/// Every maintenance window, and where to look for those that cover a monitor: there may be many of both.
#[derive(Debug, Default)]
pub(super) struct Windows {
    all: Vec<Arc<Maintenance>>,
    /// Places in `all` of those that cover everything.
    of_everything: Vec<usize>,
    of_slug: HashMap<String, Vec<usize>>,
    of_id: HashMap<MonitorId, Vec<usize>>,
    of_tag: HashMap<String, Vec<usize>>,
    /// By the places of its windows.
    sets: HashMap<Vec<usize>, WindowSet>,
}

/// The windows that cover a monitor; there are few different sets.
#[derive(Clone, Debug, Default)]
pub(super) struct WindowSet(Option<Arc<Vec<Arc<Maintenance>>>>);

impl Deref for WindowSet {
    type Target = [Arc<Maintenance>];

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().map_or(&[], |windows| windows)
    }
}

impl Windows {
    fn new(all: Vec<Arc<Maintenance>>) -> Self {
        let mut windows = Self::default();
        for (place, window) in all.iter().enumerate() {
            let spec = &window.spec;
            if spec.all {
                windows.of_everything.push(place);
            }
            for tag in &spec.tags {
                windows.of_tag.entry(tag.clone()).or_default().push(place);
            }
            for name in &spec.monitors {
                windows.of_slug.entry(name.clone()).or_default().push(place);
                if let Ok(id) = name.parse() {
                    windows.of_id.entry(id).or_default().push(place);
                }
            }
        }
        Self { all, ..windows }
    }

    fn are(&self, others: &[Arc<Maintenance>]) -> bool {
        self.all.iter().map(Arc::as_ptr).eq(others.iter().map(Arc::as_ptr))
    }

    /// Those that cover a monitor, in their order.
    fn covering(&self, monitor: &Monitor) -> Vec<Arc<Maintenance>> {
        let places = self.places_for(monitor);
        places.into_iter().filter_map(|place| self.all.get(place)).cloned().collect()
    }

    /// The same, with the memory of other monitors that the same ones cover.
    pub(super) fn set_for(&mut self, monitor: &Monitor) -> WindowSet {
        let places = self.places_for(monitor);
        if places.is_empty() {
            return WindowSet::default();
        }
        let Self { all, sets, .. } = self;
        sets.entry(places)
            .or_insert_with_key(|places| {
                let windows = places.iter().filter_map(|place| all.get(*place)).cloned();
                WindowSet(Some(Arc::new(windows.collect())))
            })
            .clone()
    }

    fn places_for(&self, monitor: &Monitor) -> Vec<usize> {
        if self.all.is_empty() {
            return Vec::new();
        }
        let spec = &monitor.spec;
        let named = [Some(&self.of_everything), self.of_slug.get(spec.slug.as_str()), self.of_id.get(&monitor.id)];
        let tagged = spec.tags.iter().filter_map(|tag| self.of_tag.get(tag));
        let mut places: Vec<usize> = named.into_iter().flatten().chain(tagged).flatten().copied().collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl Evaluator {
    /// Takes every maintenance window and every route: while loading, and whenever one of them has changed.
    pub fn handle_policies(&mut self, maintenance: Vec<Arc<Maintenance>>, routes: Vec<Arc<Route>>) {
        self.beforehand.clear();
        self.routes = routes.into_iter().map(Arc::unwrap_or_clone).collect();
        if self.maintenance.are(&maintenance) {
            return;
        }
        self.maintenance = Windows::new(maintenance);
        for slot in self.slots.values_mut() {
            slot.windows = self.maintenance.set_for(&slot.record.monitor);
            if is_held(&slot.record) {
                self.ahead.push(slot.record.id());
            }
        }
    }

    /// Has every monitor looked at that windows hold back: they may have been ended while nobody looked.
    pub(super) fn look_for_held(&mut self) {
        self.ahead.extend(self.slots.values().filter(|slot| slot.is_held()).map(OfMonitor::monitor));
    }

    /// The windows that cover a monitor.
    pub(super) fn windows_of(&self, monitor: &Monitor) -> Vec<Arc<Maintenance>> {
        self.maintenance.covering(monitor)
    }

    /// Whether these windows are those that cover a monitor; an edit may have changed that.
    pub(super) fn are_windows_of(&self, monitor: &Monitor, windows: &[Arc<Maintenance>]) -> bool {
        let covering = self.maintenance.covering(monitor);
        covering.iter().map(Arc::as_ptr).eq(windows.iter().map(Arc::as_ptr))
    }

    /// A monitor's new wish may be covered by other windows.
    pub(super) fn cover_again(&mut self, id: MonitorId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.windows = self.maintenance.set_for(&slot.record.monitor);
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
    let circumstances = &*record.health;
    circumstances.moves.held.is_some() || !circumstances.pursuit.escalations.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Schedule;
    use crate::{MaintenanceSpec, MaintenanceTime, MonitorSpec, Timestamp, Version};

    #[test]
    fn the_places_lead_to_the_same_windows_as_asking_each() {
        let id = |n: u8| MonitorId::from_bytes([n; 16]);
        let (from, to) = (Timestamp::EPOCH, Timestamp::MAX);
        let window = |monitors: &[&str], tags: &[&str], all: bool| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let spec = MaintenanceSpec::new("w", MaintenanceTime::Once { from, to });
            let spec = MaintenanceSpec { monitors: owned(monitors), tags: owned(tags), all, ..spec };
            Arc::new(Maintenance { id: "w".to_owned(), spec })
        };
        let by_id = id(1).to_string();
        let all = vec![
            window(&["job-2", by_id.as_str()], &["db"], false),
            window(&[], &["eu", "db"], false),
            window(&["job-1", "job-1"], &[], true),
            window(&[by_id.to_uppercase().as_str()], &["db"], false),
            window(&["job-3"], &[], false),
        ];
        let mut windows = Windows::new(all.clone());
        for (n, tags) in [(1, vec![]), (2, vec!["db"]), (3, vec!["eu", "us", "db"]), (4, vec!["us"])] {
            let schedule = Schedule::every(std::time::Duration::from_secs(60)).unwrap();
            let mut spec = MonitorSpec::new(format!("job-{n}"), schedule);
            spec.tags = tags.into_iter().map(str::to_owned).collect();
            let monitor = Monitor {
                id: id(n),
                spec,
                token: crate::Rotating::new(crate::Token::new("token-12345678").unwrap()),
                signing_secret: None,
                created_at: from,
                updated_at: from,
                revision: Version::FIRST,
            };
            let asked: Vec<_> = all.iter().filter(|window| window.covers_monitor(&monitor)).cloned().collect();
            assert!(!asked.is_empty());
            assert_eq!(windows.covering(&monitor), asked);
            assert_eq!(*windows.set_for(&monitor), asked);
        }
        assert!(windows.are(&all) && !windows.are(&all[1..]) && Windows::default().are(&[]));
    }
}
