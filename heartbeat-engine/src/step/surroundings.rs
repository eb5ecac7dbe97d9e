//! What a decision depends on besides the monitor itself.

use std::sync::Arc;

use crate::{Maintenance, Outage, Route};

/// What lies around a monitor when something happens to it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Surroundings<'a> {
    /// The watcher's own outages, in order and without overlaps (S6).
    pub outages: &'a [Outage],
    /// The maintenance windows that cover the monitor (S5.3).
    pub maintenance: &'a [Arc<Maintenance>],
    /// Every route (S7.8).
    pub routes: &'a [Route],
    /// The slugs of the monitors that it depends on and that are down (S5.4).
    pub down_parents: &'a [String],
}

impl<'a> From<&'a [Outage]> for Surroundings<'a> {
    /// Nothing but these outages.
    fn from(outages: &'a [Outage]) -> Self {
        Self { outages, ..Self::default() }
    }
}

impl<'a> From<&'a Vec<Outage>> for Surroundings<'a> {
    /// Nothing but these outages.
    fn from(outages: &'a Vec<Outage>) -> Self {
        outages.as_slice().into()
    }
}
