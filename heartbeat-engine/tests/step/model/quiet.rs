//! Stretches of time in which silence proves nothing, put together neighbour by neighbour.

use super::Model;

/// Outages and windows that overlap, and windows that touch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quiet {
    pub(super) from: i64,
    pub(super) to: i64,
    /// Whether windows are part of it.
    pub(super) windows: bool,
    /// Whether a window begins where it begins, and ends where it ends.
    edges: (bool, bool),
}

impl Quiet {
    /// Whether its end is not known for sure at this minute.
    pub(super) fn lasts(&self, minute: i64) -> bool {
        self.windows && self.from <= minute && minute < self.to
    }

    pub(super) fn hides(&self, minute: i64) -> bool {
        minute < self.to && (self.from < minute || (self.from == minute && self.edges.0))
    }

    fn with(self, other: Self) -> Option<Self> {
        let overlap = self.from < other.to && other.from < self.to;
        let touch = self.to == other.from && self.edges.1 && other.edges.0;
        if !overlap && !touch {
            return None;
        }
        let (from, to) = (self.from.min(other.from), self.to.max(other.to));
        let begins = (self.from == from && self.edges.0) || (other.from == from && other.edges.0);
        let ends = (self.to == to && self.edges.1) || (other.to == to && other.edges.1);
        Some(Self { from, to, windows: self.windows || other.windows, edges: (begins, ends) })
    }
}

pub(super) fn joined(outages: &[(i64, i64)], windows: &[(i64, i64)]) -> Vec<Quiet> {
    let quiet = |windows: bool| move |&(from, to): &(i64, i64)| Quiet { from, to, windows, edges: (windows, windows) };
    let mut found: Vec<Quiet> = outages.iter().map(quiet(false)).chain(windows.iter().map(quiet(true))).collect();
    found.sort_by_key(|quiet| (quiet.from, quiet.to));
    loop {
        let before = found.len();
        found = found.into_iter().fold(Vec::new(), |mut joined: Vec<Quiet>, next| {
            match joined.last_mut().and_then(|last| Some((last.with(next)?, last))) {
                Some((both, last)) => *last = both,
                None => joined.push(next),
            }
            joined
        });
        if found.len() == before {
            return found;
        }
    }
}

impl Model {
    pub(super) fn in_window(&self, minute: i64) -> bool {
        self.windows.iter().any(|(from, to)| *from <= minute && minute < *to)
    }
}
