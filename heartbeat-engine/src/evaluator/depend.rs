//! Monitors that depend on others (S5.4): which of those are down, who is looked at when that changes, and no cycles.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::build::Gathered;
use super::few::Few;
use super::{Evaluator, Refusal};
use crate::slab::OfMonitor;
use crate::{FieldError, MonitorId, Record, State, Timestamp};

/// How many monitors of a cycle are named.
const NAMED_MAX: usize = 10;

/// Who depends on whom, as it is committed.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    children: HashMap<MonitorId, BTreeSet<MonitorId>>,
    /// Monitors of other partitions that are down, with their slugs.
    elsewhere: HashMap<MonitorId, String>,
    /// Monitors to look at: what is said to hold them back may do so no more.
    misheld: BTreeSet<MonitorId>,
}

impl Dependencies {
    pub(super) fn must_look(&self) -> bool {
        !self.misheld.is_empty()
    }

    fn rewire(&mut self, child: MonitorId, before: &[MonitorId], after: &[MonitorId]) {
        for parent in before {
            if let Some(children) = self.children.get_mut(parent) {
                children.remove(&child);
                if children.is_empty() {
                    self.children.remove(parent);
                }
            }
        }
        for parent in after {
            self.children.entry(*parent).or_default().insert(child);
        }
    }
}

/// What the batch in the making has decided so far; it may still fail.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// Monitors that are down by then, with their slugs.
    down: HashMap<MonitorId, String>,
    /// What monitors depend on by then, where that changes.
    parents: HashMap<MonitorId, Vec<MonitorId>>,
    /// Monitors that may come to depend on others by requests that are not decided yet.
    undecided: HashSet<MonitorId>,
}

impl Planned {
    /// Now the requests of this monitor are decided; says whether they may change what it depends on.
    pub(super) fn begin(&mut self, id: MonitorId) -> bool {
        !self.undecided.is_empty() && self.undecided.remove(&id)
    }
}

/// What is to be said to a wish to depend on others.
#[derive(Debug)]
pub(super) enum Verdict {
    Fine,
    /// It rests on what the same batch changes: it is decided when that is committed.
    Later,
    Refused(Refusal),
}

impl Evaluator {
    /// Takes how a monitor of another partition stands, by its last committed state: monitors of this one may depend on it.
    pub fn handle_parent(&mut self, id: MonitorId, slug: &str, down: bool) {
        if down {
            self.dependencies.elsewhere.insert(id, slug.to_owned());
        } else if self.dependencies.elsewhere.remove(&id).is_some() {
            self.look_at_children(id);
        }
    }

    /// The slugs of those of these monitors that are down: by what is committed, or by what the batch has decided.
    pub(super) fn down_among(&self, parents: &[MonitorId], planned: &Planned) -> Vec<String> {
        let down = |id: &MonitorId| {
            let committed = self.slots.get(id).map(|slot| &slot.record).filter(|r| r.health.state == State::Down);
            let elsewhere = || self.dependencies.elsewhere.get(id).cloned();
            committed
                .map(|r| r.spec().slug.as_str().to_owned())
                .or_else(|| planned.down.get(id).cloned())
                .or_else(elsewhere)
        };
        parents.iter().filter_map(down).collect()
    }

    /// Takes over that a record was committed; `None` when it was removed.
    pub(super) fn adopt_dependencies(
        &mut self,
        id: MonitorId,
        before: Option<&Arc<Record>>,
        after: Option<&Arc<Record>>,
    ) {
        let depends = |record: &&Arc<Record>| !record.spec().depends_on.is_empty();
        let (old, new) = (before.filter(depends), after.filter(depends));
        let same = old.zip(new).is_some_and(|(old, new)| Arc::ptr_eq(&old.monitor, &new.monitor));
        if !same && (old.is_some() || new.is_some()) {
            let parents = |record: Option<&Arc<Record>>| record.map_or(Vec::new(), |r| r.spec().depends_on.clone());
            self.dependencies.rewire(id, &parents(old), &parents(new));
        }
        let is_down = |record: &Arc<Record>| record.health.state == State::Down;
        if before.is_some_and(is_down) && !after.is_some_and(is_down) {
            self.look_at_children(id);
        }
    }

    /// Has a monitor looked at if what is said to hold it back differs from what does.
    pub(super) fn look_if_misheld(&mut self, id: MonitorId) {
        if self.is_misheld(id) {
            self.dependencies.misheld.insert(id);
        }
    }

    /// The same for every monitor: what holds them back may have changed while nobody looked.
    pub(super) fn look_for_misheld(&mut self) {
        let misheld = self.slots.values().map(OfMonitor::monitor).filter(|id| self.is_misheld(*id)).collect();
        self.dependencies.misheld = misheld;
    }

    /// The next monitor to look at, out of turn.
    pub(super) fn pop_misheld(&mut self) -> Option<MonitorId> {
        while let Some(id) = self.dependencies.misheld.pop_first() {
            if self.is_misheld(id) {
                return Some(id);
            }
        }
        None
    }

    fn look_at_children(&mut self, parent: MonitorId) {
        for child in self.dependencies.children.get(&parent).cloned().unwrap_or_default() {
            self.look_if_misheld(child);
        }
    }

    fn is_misheld(&self, id: MonitorId) -> bool {
        let record = self.slots.get(&id).map(|slot| &slot.record);
        let held = record.and_then(|record| Some((record, record.health.incident.as_ref()?)));
        held.is_some_and(|(record, incident)| {
            !incident.held_by.is_empty()
                && incident.held_by != self.down_among(&record.spec().depends_on, &Planned::default())
        })
    }

    /// Puts monitors behind those that they depend on, so that these are decided first; those that are due are decided
    /// along with them.
    pub(super) fn parents_first(
        &mut self,
        groups: Vec<Gathered>,
        now: Timestamp,
        waiting: &HashSet<MonitorId>,
    ) -> Vec<Gathered> {
        if self.dependencies.children.is_empty() {
            return groups;
        }
        let order: Vec<MonitorId> = groups.iter().map(|group| group.monitor).collect();
        let mut members: HashMap<MonitorId, Gathered> =
            groups.into_iter().map(|group| (group.monitor, group)).collect();
        let mut sorted = Vec::with_capacity(order.len());
        let (mut seen, mut placed) = (HashSet::new(), HashSet::new());
        for root in order {
            let mut path = vec![root];
            while let Some(&id) = path.last() {
                if seen.insert(id) {
                    let parents = self.parents(id).iter().filter(|parent| !seen.contains(parent));
                    let parents = parents.filter(|p| members.contains_key(p) || self.is_due(**p, now, waiting));
                    path.extend(parents.copied().collect::<Vec<_>>());
                } else {
                    path.pop();
                    if !placed.insert(id) {
                        continue;
                    }
                    let member = members.remove(&id);
                    if let Some(number) = self.slots.find(&id).filter(|_| member.is_none()) {
                        self.queue.set(number, Timestamp::MAX);
                        self.due.remove(&id);
                    }
                    sorted.push(member.unwrap_or_else(|| Gathered { monitor: id, requests: Few::default() }));
                }
            }
        }
        sorted
    }

    /// Whether something of the monitor is due and neither in the batch nor behind requests that wait.
    fn is_due(&self, id: MonitorId, now: Timestamp, waiting: &HashSet<MonitorId>) -> bool {
        let number = self.slots.find(&id);
        let due = number.is_some_and(|number| self.queue.get(number) < now || self.due.contains(&id));
        due && self.judges && !waiting.contains(&id)
    }

    fn parents(&self, id: MonitorId) -> &[MonitorId] {
        self.slots.get(&id).map_or(&[], |slot| &slot.record.spec().depends_on)
    }

    /// What is known of a batch before anything in it is decided.
    pub(super) fn plan_ahead(&self, groups: &[Gathered]) -> Planned {
        let changes = |group: &&Gathered| {
            let mut wishes = group.requests.iter().filter_map(|pending| pending.request.wish());
            wishes.any(|wish| wish.depends_on != self.parents(group.monitor))
        };
        Planned { undecided: groups.iter().filter(changes).map(|group| group.monitor).collect(), ..Planned::default() }
    }

    /// Remembers what was decided about a monitor until its batch is committed; `rewired` where it may depend on others.
    pub(super) fn plan(&self, planned: &mut Planned, record: &Record, rewired: bool) {
        // Nobody asks where nothing depends on anything.
        let asked =
            !self.dependencies.children.is_empty() || !planned.undecided.is_empty() || !planned.parents.is_empty();
        if asked && record.health.state == State::Down {
            planned.down.insert(record.id(), record.spec().slug.as_str().to_owned());
        }
        if rewired && record.spec().depends_on != self.parents(record.id()) {
            planned.parents.insert(record.id(), record.spec().depends_on.clone());
        }
    }

    /// Whether a monitor may depend on `wished` instead of `before`: nothing depends on itself, by whatever detour.
    pub(super) fn may_depend(
        &self,
        (id, slug): (MonitorId, &str),
        before: &[MonitorId],
        wished: &[MonitorId],
        planned: &Planned,
    ) -> Verdict {
        if wished.iter().all(|parent| before.contains(parent)) {
            return Verdict::Fine;
        }
        let parents = |parent: MonitorId| {
            // What the batch takes away is there until the batch is committed.
            let planned = planned.parents.get(&parent).into_iter().flatten();
            self.parents(parent).iter().chain(planned).copied().collect()
        };
        let Some(path) = cycle(id, wished, parents) else { return Verdict::Fine };
        let changes = |on: &MonitorId| planned.parents.contains_key(on) || planned.undecided.contains(on);
        if path.iter().any(changes) {
            return Verdict::Later;
        }
        let name = |on_path: &MonitorId| match self.slots.get(on_path) {
            _ if *on_path == id => slug.to_owned(),
            Some(slot) => slot.record.spec().slug.as_str().to_owned(),
            None => on_path.to_string(),
        };
        Verdict::Refused(Refusal::Invalid(cycle_fault(wished, &path, name)))
    }
}

/// The way from a monitor over `wished`, that it would depend on, back to itself, without the monitor at its end.
pub(crate) fn cycle(
    id: MonitorId,
    wished: &[MonitorId],
    parents: impl Fn(MonitorId) -> Vec<MonitorId>,
) -> Option<Vec<MonitorId>> {
    let mut reached_from: HashMap<MonitorId, MonitorId> = HashMap::new();
    let mut open: Vec<(MonitorId, MonitorId)> = wished.iter().map(|parent| (id, *parent)).collect();
    while let Some((from, to)) = open.pop() {
        if to == id {
            let mut path = vec![from];
            while let Some(before) = path.last().filter(|last| **last != id).and_then(|last| reached_from.get(last)) {
                path.push(*before);
            }
            path.reverse();
            return Some(path);
        }
        if reached_from.contains_key(&to) {
            continue;
        }
        reached_from.insert(to, from);
        open.extend(parents(to).into_iter().map(|next| (to, next)));
    }
    None
}

/// The error about a cycle, at the first monitor of those wished that leads into it.
pub(crate) fn cycle_fault(wished: &[MonitorId], path: &[MonitorId], name: impl Fn(&MonitorId) -> String) -> FieldError {
    let first = path.get(1).or(path.first());
    let index = wished.iter().position(|parent| Some(parent) == first).unwrap_or_default();
    let field = format!("depends_on.{index}");
    let Some((own, others)) = path.split_first().filter(|(_, others)| !others.is_empty()) else {
        return FieldError::new(field, "a monitor cannot depend on itself; take it out");
    };
    let mut names: Vec<String> = others.iter().take(NAMED_MAX).map(&name).collect();
    if others.len() > NAMED_MAX {
        names.push(format!("{} more", others.len() - NAMED_MAX));
    }
    names.push(name(own));
    let message = format!("`{}` would depend on itself, by way of {}", name(own), names.join(", "));
    FieldError::new(field, format!("{message}; take one of these dependencies away"))
}
