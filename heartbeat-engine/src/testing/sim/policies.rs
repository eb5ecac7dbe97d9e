//! Maintenance windows and routes: operators write them as documents, as the runtime does, and nodes hear of them.

use std::sync::Arc;
use std::time::Duration;

use super::coverage::Deed;
use super::mutant::Mutant;
use super::operators::Wish;
use super::plan::{Climate, Plan};
use super::world::{Event, Life, World};
use crate::runtime::policies::{MAINTENANCE, ROUTE, past_of, wished};
use crate::{
    Document, DocumentWrite, Maintenance, MaintenanceSpec, MaintenanceTime, MonitorSpec, Outcome, PartitionId, Route,
    RouteSpec, Schedule, Timestamp, Version, Zone,
};

/// Where the documents of all partitions lie.
const HOME: u16 = 0;
const MINUTE: u64 = 60;

/// Every window and route that is stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Policies {
    pub(super) generation: u64,
    pub(super) windows: Vec<Arc<Maintenance>>,
    pub(super) routes: Vec<Arc<Route>>,
    /// When they were last changed, by true time.
    pub(super) since: Timestamp,
}

impl Policies {
    /// The windows that cover a monitor.
    pub(super) fn covering(&self, monitor: &crate::Monitor) -> Vec<Arc<Maintenance>> {
        self.windows.iter().filter(|window| window.covers_monitor(monitor)).cloned().collect()
    }
}

/// The single windows of a policy that end after `from` and begin before `to`.
pub(super) fn spans(spec: &MaintenanceSpec, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let ended = spec.ended_at.unwrap_or(Timestamp::MAX);
    let mut all = Vec::new();
    match &spec.time {
        MaintenanceTime::Once { from, to } => all.push((*from, *to)),
        MaintenanceTime::Recurring { schedule, length } => {
            let since = spec.since.unwrap_or(Timestamp::MIN);
            let mut begins = schedule.next_after(from.max(since) - *length - Duration::from_secs(1));
            while begins < to {
                all.push((begins.max(since), begins + *length));
                begins = schedule.next_after(begins);
            }
        }
    }
    all.iter_mut().for_each(|span| span.1 = span.1.min(ended));
    all.retain(|span| span.0 < span.1 && span.1 > from && span.0 < to);
    all
}

impl World {
    /// Plans when windows are announced, moved and ended. All of them are ended before nothing fails any more.
    pub(super) fn plan_policies(&mut self) {
        let seconds = self.plan.faulty.as_secs();
        for route in 0..self.plan.routes.len() {
            let at = self.rng.secs(1, 10);
            self.plan_act(at, 0, Wish::Route(route));
            if self.rng.percent(25) {
                let at = self.rng.secs(seconds / 3, seconds - 900);
                self.plan_act(at, 0, Wish::Unroute(route));
            }
        }
        if self.plan.climate == Climate::Steps {
            return;
        }
        for slot in 0..*self.rng.pick(&[0, 1, 1, 2, 3]) {
            let mut at = self.rng.secs(10, seconds / 3);
            for _ in 0..self.rng.between(1, 3) {
                self.plan_act(at, 0, Wish::Window(slot));
                at += self.rng.secs(60, seconds / 3);
                if self.rng.percent(50) {
                    self.plan_act(at, 0, Wish::EndWindow(slot));
                    at += self.rng.secs(60, seconds / 4);
                }
                if at + Duration::from_secs(900) > self.plan.faulty {
                    break;
                }
            }
            self.plan_act(self.plan.faulty + Duration::from_secs(1), 0, Wish::EndWindow(slot));
        }
    }

    /// What an operator has written when a node's wall clock shows `now`; nothing, where there is nothing to write.
    fn writes_for(&mut self, wish: Wish, now: Timestamp) -> Vec<DocumentWrite> {
        match wish {
            Wish::Route(number) => self.route_write(number, true),
            Wish::Unroute(number) => self.route_write(number, false),
            Wish::Window(slot) => {
                let spec = self.some_window(now);
                self.window_writes(slot, spec, now)
            }
            Wish::EndWindow(slot) => {
                let id = format!("window-{slot}");
                let Some((version, before)) = self.stored_window(&id) else { return Vec::new() };
                if before.spec.is_over(now) {
                    return Vec::new();
                }
                let ended = before.spec.has_begun(now).then(|| {
                    let ended_at = before.spec.over_since(now).unwrap_or(now);
                    MaintenanceSpec { ended_at: Some(ended_at), ..before.spec.clone() }
                });
                vec![write(MAINTENANCE, &id, Some(version), ended.as_ref())]
            }
            _ => Vec::new(),
        }
    }

    fn window_writes(&self, slot: u32, spec: MaintenanceSpec, now: Timestamp) -> Vec<DocumentWrite> {
        if !spec.faults(now).is_empty() {
            return Vec::new();
        }
        let id = format!("window-{slot}");
        let stored = self.stored_window(&id);
        let before = stored.as_ref().map(|(_, before)| before);
        let wish = wished(spec, before, now);
        let expected = stored.as_ref().map(|(version, _)| *version);
        let past = before.and_then(|before| past_of(before, &wish, now)).map(|past| {
            let id = format!("{id}~{}", expected.unwrap_or(Version::FIRST));
            write(MAINTENANCE, &id, self.version(MAINTENANCE, &id), Some(&past))
        });
        past.into_iter().chain([write(MAINTENANCE, &id, expected, Some(&wish))]).collect()
    }

    fn route_write(&self, number: usize, made: bool) -> Vec<DocumentWrite> {
        let route = &self.plan.routes[number];
        let expected = self.version(ROUTE, &route.name);
        if made == expected.is_some() {
            return Vec::new();
        }
        vec![write(ROUTE, &route.name, expected, made.then_some(&route.spec))]
    }

    fn version(&self, kind: &str, id: &str) -> Option<Version> {
        let documents = self.store.documents(PartitionId(HOME), kind);
        documents.into_iter().find(|document| document.id == id).map(|document| document.version)
    }

    fn stored_window(&self, id: &str) -> Option<(Version, Maintenance)> {
        let documents = self.store.documents(PartitionId(HOME), MAINTENANCE);
        let document = documents.into_iter().find(|document| document.id == id)?;
        let version = document.version;
        window(document).map(|window| (version, window))
    }

    /// Some window, mostly soon, for one monitor, for some or for all.
    fn some_window(&mut self, now: Timestamp) -> MaintenanceSpec {
        let daily = self.plan.climate == Climate::Daily;
        let time = if self.rng.percent(60) {
            let from = now + self.rng.secs(0, 20 * MINUTE) - Duration::from_secs(5 * MINUTE);
            let longest = *self.rng.pick(&[10, 30, 120]) * MINUTE;
            let to = from + self.rng.secs(6 * MINUTE, longest);
            MaintenanceTime::Once { from, to }
        } else {
            let often: &[_] =
                if daily { &["0 3 * * *", "30 */6 * * *"] } else { &["5 * * * *", "*/30 * * * *", "40 */2 * * *"] };
            let schedule =
                Schedule::cron(often[self.rng.index(often.len())], Zone::utc()).expect("the plan knows schedules");
            MaintenanceTime::Recurring { schedule, length: self.rng.secs(2 * MINUTE, 25 * MINUTE) }
        };
        let mut spec = MaintenanceSpec::new("maintenance", time);
        match self.rng.below(3) {
            0 => spec.all = true,
            1 => spec.tags = vec![(*self.rng.pick(&["red", "blue"])).to_owned()],
            _ => spec.monitors = vec![self.rng.pick(&self.plan.monitors).spec.slug.as_str().to_owned()],
        }
        spec
    }

    /// An operator's wish reaches the node that has the documents; says whether one has them, and whether nothing is to be
    /// written.
    pub(super) fn ask_for_policy(&mut self, act: usize, wish: Wish) -> Option<bool> {
        let node = (0..self.nodes.len()).find(|node| {
            let node = &self.nodes[*node];
            node.up && node.naps_until <= self.now && node.seats[usize::from(HOME)].service.is_some()
        })?;
        let wall = self.wall(node);
        let writes = self.writes_for(wish, wall);
        if writes.is_empty() {
            return Some(true);
        }
        let text = format!("an operator: {wish:?}: {writes:?}");
        self.tell(Default::default(), || text);
        if let Some(service) = self.nodes[node].service(HOME) {
            service.aside.retain(|(other, _)| *other != act);
            service.aside.extend(writes.into_iter().map(|write| (act, write)));
        }
        self.look_at(node, HOME);
        Some(false)
    }

    /// Documents were written with a batch, or were not.
    pub(super) fn aside_written(&mut self, acts: Vec<usize>, outcomes: &[Outcome]) {
        for (act, outcome) in acts.into_iter().zip(outcomes) {
            if *outcome == Outcome::Committed {
                match self.acts[act].wish {
                    Wish::Window(_) => self.note(Deed::Window),
                    Wish::EndWindow(_) => self.note(Deed::WindowEnded),
                    _ => self.note(Deed::Edit),
                }
                self.acts[act].done = true;
            }
        }
    }

    /// What is stored has changed: every node hears of it soon.
    pub(super) fn policies_changed(&mut self) {
        let home = PartitionId(HOME);
        let windows = self.store.documents(home, MAINTENANCE).into_iter().filter_map(window).map(Arc::new).collect();
        let routes = self.store.documents(home, ROUTE).into_iter().filter_map(route).map(Arc::new).collect();
        let generation = self.policies.generation + 1;
        self.policies = Arc::new(Policies { generation, windows, routes, since: self.now });
        for node in 0..self.nodes.len() {
            let life = Life { node, life: self.nodes[node].life };
            let latency = self.rng.millis(1, 1000);
            self.after(latency, Event::Policies(life));
        }
    }

    pub(super) fn hear_of_policies(&mut self, node: usize) {
        self.nodes[node].policies = self.policies.clone();
        self.nodes[node].seats.iter_mut().for_each(|seat| seat.due_at = Timestamp::MIN);
        self.look(node);
    }

    /// The windows as a node takes them.
    pub(super) fn windows_for(&self, policies: &Policies) -> Vec<Arc<Maintenance>> {
        match self.mutant {
            Some(Mutant::WindowIgnored) => Vec::new(),
            Some(Mutant::WindowForEver) => policies.windows.iter().map(|window| Arc::new(endless(window))).collect(),
            _ => policies.windows.clone(),
        }
    }

    /// Whether a window covers this monitor now, for whatever clock, and every node knows of it: which, and until when.
    pub(super) fn rests(&self, record: &crate::Record) -> Option<(Timestamp, Timestamp)> {
        let margin = Duration::from_millis(self.plan.skew.unsigned_abs()) + Duration::from_secs(5);
        if self.now.since(self.policies.since) < Duration::from_secs(60) {
            return None;
        }
        let (from, to) = (self.now - margin, self.now + margin);
        let covering = self.policies.windows.iter().filter(|window| window.covers(record));
        covering.flat_map(|window| spans(&window.spec, from, to)).find(|span| span.0 <= from && to < span.1)
    }
}

fn endless(window: &Maintenance) -> Maintenance {
    let mut window = window.clone();
    if let MaintenanceTime::Once { to, .. } = &mut window.spec.time {
        *to = *to + Duration::from_secs(30 * 86_400);
    }
    window.spec.ended_at = None;
    window
}

fn window(document: Document) -> Option<Maintenance> {
    Some(Maintenance { id: document.id, spec: serde_json::from_value(document.body).ok()? })
}

fn route(document: Document) -> Option<Route> {
    Some(Route { name: document.id, spec: serde_json::from_value::<RouteSpec>(document.body).ok()? })
}

fn write<T: serde::Serialize>(kind: &str, id: &str, expected: Option<Version>, spec: Option<&T>) -> DocumentWrite {
    let body = spec.and_then(|spec| serde_json::to_value(spec).ok());
    DocumentWrite { kind: kind.to_owned(), id: id.to_owned(), expected, body }
}

/// The monitors of a plan that this one may depend on: those of its partition that come before it.
pub(super) fn possible_parents(plan: &Plan, monitor: usize) -> impl Iterator<Item = usize> {
    let partition = plan.monitors[monitor].partition;
    (0..monitor).filter(move |other| plan.monitors[*other].partition == partition)
}

/// What a monitor has beside its schedule, thresholds and channels.
pub(super) fn adorn(spec: &mut MonitorSpec, daily: bool, rng: &mut super::rng::Rng) {
    spec.tags = ["red", "blue"].iter().filter(|_| rng.percent(40)).map(|tag| (*tag).to_owned()).collect();
    let unit = if daily { 60 * MINUTE } else { MINUTE };
    if rng.percent(35) {
        spec.remind_every = Some(rng.secs(10 * unit, 40 * unit));
    }
    if rng.percent(25) {
        let incidents = u32::try_from(rng.between(2, 3)).unwrap_or(2);
        spec.flap_limit = Some(crate::FlapLimit { incidents, within: rng.secs(20 * unit, 90 * unit) });
    }
}

/// A few routes, some of which wait.
pub(super) fn routes(channels: &[String], daily: bool, rng: &mut super::rng::Rng) -> Vec<Route> {
    let unit = if daily { 10 * MINUTE } else { MINUTE };
    (0..rng.between(0, 2))
        .map(|number| {
            let after = if rng.percent(75) { rng.secs(2 * unit, 40 * unit) } else { Duration::ZERO };
            let spec = RouteSpec {
                severities: Vec::new(),
                tags: if rng.percent(40) { vec!["red".to_owned()] } else { Vec::new() },
                causes: if rng.percent(20) { vec![crate::Cause::Missed] } else { Vec::new() },
                channels: vec![rng.pick(channels).clone()],
                after,
                declared_in: None,
            };
            Route { name: format!("route-{number}"), spec }
        })
        .collect()
}
