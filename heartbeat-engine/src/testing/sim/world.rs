//! The world: its time, its queue of events, and who lives in it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::Options;
use super::beside::{self, Beside};
use super::checks::{Broken, Checks, Seen, View};
use super::clock::shift;
use super::coverage::{Coverage, Deed};
use super::faults::{Fault, Weather};
use super::jobs::Job;
use super::mutant::Mutant;
use super::node::{Answer, Call, Node, Reply, Travel};
use super::operators::Act;
use super::plan::Plan;
use super::policies::Policies;
use super::queue::Queue;
use super::receiver::FarEnd;
use super::rng::Rng;
use super::storage::Store;
use super::story::{About, Story};
use crate::Timestamp;
use crate::runtime::policies::{MAINTENANCE, ROUTE};
use crate::runtime::presence;
use crate::testing::sim::courier::Try;

/// How often everything is looked over that no single event shows.
const LOOK_OVER_EVERY: Duration = Duration::from_secs(60);
/// A world that does not end has a fault of its own.
const EVENTS_MAX: u64 = 50_000_000;

/// One start of one node: what was meant for an earlier one is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Life {
    pub(super) node: usize,
    pub(super) life: u32,
}

pub(super) enum Event {
    /// A node looks at what is to be done.
    Wake(Life),
    /// An operation reaches the store.
    Lands(Box<Travel>),
    /// The store's answer reaches a node.
    Answered(Life, u16, u64, Box<Answer>),
    /// A request reaches a node.
    Arrives(usize, Box<Call>),
    /// A request that reached a node while it napped; a crash loses it.
    Waits(Life, Box<Call>),
    /// An answer reaches who called, or nobody waits for it any longer.
    Replied(u64, Option<Reply>),
    /// A job does what is next.
    Job(usize, u32),
    /// A job tries its report again.
    Again(usize, u64),
    /// An operator does something, for the n-th time.
    Operator(usize, u32),
    /// An attempt to deliver reaches the far end.
    Delivers(Box<Try>),
    /// An attempt's outcome reaches the node.
    Tried(Box<Try>),
    Fault(Fault),
    /// A node hears of windows and routes that changed.
    Policies(Life),
    /// A node asks what others wrote.
    Hears(Life),
    LookOver,
}

pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) queue: Queue<Event>,
    pub(super) store: Store,
    pub(super) nodes: Vec<Node>,
    pub(super) jobs: Vec<Job>,
    pub(super) acts: Vec<Act>,
    pub(super) far_ends: Vec<FarEnd>,
    /// Who waits for an answer.
    pub(super) callers: HashMap<u64, Caller>,
    /// Heartbeats that reached a node, by call: the monitor and the mark.
    pub(super) stamped: HashMap<u64, (usize, u64)>,
    /// Operations that reached the store and were carried out.
    pub(super) landed: HashSet<u64>,
    pub(super) weather: Weather,
    pub(super) policies: Arc<Policies>,
    pub(super) calm: bool,
    pub(super) mutant: Option<Mutant>,
    pub(super) story: Story,
    pub(super) coverage: Coverage,
    pub(super) numbers: u64,
    checks: Checks,
    broken: Option<Broken>,
}

/// Who called a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caller {
    /// A job, with the mark of its heartbeat.
    Job(usize, u64),
    Operator(usize, u32),
}

/// How a world went.
pub(super) struct Ending {
    pub(super) broken: Option<Broken>,
    pub(super) coverage: Coverage,
    pub(super) story: Vec<String>,
    pub(super) simulated: Duration,
}

impl World {
    /// The world of a seed; its story is kept where it is told, and a storage may run beside its model.
    pub(super) fn new(
        seed: u64,
        options: &Options,
        told: bool,
        on: Option<(tokio::runtime::Handle, beside::Open)>,
    ) -> Self {
        let Options { mutant, lines, .. } = *options;
        let mut rng = Rng::new(seed);
        let plan = Plan::new(seed, options, &mut rng);
        let nodes = (0..plan.nodes).map(|n| Node::new(n, &plan, &mut rng)).collect();
        let far_ends = plan.channels.iter().map(|name| FarEnd::new(name)).collect();
        let jobs = plan.monitors.iter().map(|_| Job::new(plan.start)).collect();
        let mut world = Self {
            now: plan.start,
            store: Store::new(plan.partitions, plan.is_shared(), mutant),
            checks: Checks::new(&plan),
            queue: Queue::new(),
            acts: Vec::new(),
            callers: HashMap::new(),
            stamped: HashMap::new(),
            landed: HashSet::new(),
            weather: Weather::default(),
            policies: Arc::default(),
            calm: false,
            story: Story::new(told, lines),
            coverage: Coverage::default(),
            numbers: 0,
            broken: None,
            plan,
            rng,
            nodes,
            jobs,
            far_ends,
            mutant,
        };
        world.store.beside = on.map(|(runtime, open)| Beside::new(runtime, open, world.plan.partitions));
        world.introduce();
        world.plan_faults();
        world.plan_acts();
        world.plan_policies();
        for node in 0..world.nodes.len() {
            world.start_node(node);
        }
        world.after(LOOK_OVER_EVERY, Event::LookOver);
        world
    }

    /// Lets the world go on to its end, or to the first broken promise.
    pub(super) fn run(mut self) -> Ending {
        let end = self.plan.end();
        let mut events = 0;
        while self.broken.is_none()
            && let Some((at, event)) = self.queue.pop()
            && at <= end
        {
            self.now = at;
            self.happens(event);
            self.see_difference();
            events += 1;
            assert!(events < EVENTS_MAX, "seed {}: the world does not end", self.plan.seed);
        }
        if self.broken.is_none() {
            self.now = end;
            if !self.plan.brief {
                self.see(&Seen::End);
            }
            let by = Life { node: self.nodes.len(), life: 0 };
            self.store.compare_all(super::traffic::handle(by, ""), &[presence::DOCUMENT_KIND, MAINTENANCE, ROUTE]);
            self.see_difference();
        }
        let monitor = self.broken.as_ref().and_then(|broken| broken.monitor);
        let simulated = self.now.since(self.plan.start);
        Ending { story: self.story.last(monitor), broken: self.broken, coverage: self.coverage, simulated }
    }

    fn happens(&mut self, event: Event) {
        if let Some((node, until)) = self.frozen(&event) {
            // What reaches a node that naps waits for it.
            let event = match event {
                Event::Wake(_) => {
                    self.nodes[node].wakes_at = Some(until);
                    event
                }
                Event::Hears(_) => return self.hears_later(node, until),
                Event::Arrives(_, call) => Event::Waits(Life { node, life: self.nodes[node].life }, call),
                event => event,
            };
            return self.queue.push(until, event);
        }
        match event {
            Event::Wake(life) if self.lives(life) && self.nodes[life.node].wakes_at == Some(self.now) => {
                self.nodes[life.node].wakes_at = None;
                self.look(life.node);
            }
            Event::Wake(_) => {}
            Event::Lands(travel) => self.lands(&travel),
            Event::Answered(life, partition, op, answer) if self.lives(life) => {
                self.answered(life.node, partition, op, *answer);
                self.look_at(life.node, partition);
            }
            Event::Answered(..) => {}
            Event::Arrives(node, call) => self.arrives(node, *call),
            Event::Waits(life, call) if self.lives(life) => self.arrives(life.node, *call),
            Event::Waits(..) => {}
            Event::Replied(call, reply) => self.replied(call, reply.as_ref()),
            Event::Job(job, generation) => self.job(job, generation),
            Event::Again(job, mark) => self.try_again(job, mark),
            Event::Operator(act, times) => self.operate(act, times),
            Event::Delivers(attempt) => self.delivers(*attempt),
            Event::Tried(attempt) => self.tried(*attempt),
            Event::Fault(fault) => self.fault(fault),
            Event::Policies(life) if self.lives(life) => self.hear_of_policies(life.node),
            Event::Policies(_) => {}
            Event::Hears(life) if self.lives(life) => self.ask_for_news(life.node),
            Event::Hears(_) => {}
            Event::LookOver => {
                self.see(&Seen::LookOver);
                self.after(LOOK_OVER_EVERY, Event::LookOver);
            }
        }
    }

    /// The node that an event is meant for, if it naps.
    fn frozen(&self, event: &Event) -> Option<(usize, Timestamp)> {
        let node = match event {
            Event::Wake(life)
            | Event::Answered(life, ..)
            | Event::Waits(life, _)
            | Event::Policies(life)
            | Event::Hears(life) => life.node,
            Event::Arrives(node, _) => *node,
            Event::Tried(attempt) => attempt.life.node,
            _ => return None,
        };
        let until = self.nodes[node].naps_until;
        (until > self.now && self.nodes[node].up).then_some((node, until))
    }

    pub(super) fn lives(&self, life: Life) -> bool {
        let node = &self.nodes[life.node];
        node.up && node.life == life.life
    }

    pub(super) fn after(&mut self, pause: Duration, event: Event) {
        self.queue.push(self.now + pause, event);
    }

    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn note(&mut self, deed: Deed) {
        self.coverage.note(deed);
    }

    pub(super) fn is_mutant(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Shows the checkers what happened; the first that finds a promise broken ends the world.
    pub(super) fn see(&mut self, seen: &Seen<'_>) {
        self.see_difference();
        if self.broken.is_some() {
            return;
        }
        let view = View {
            now: self.now,
            plan: &self.plan,
            store: &self.store,
            jobs: &self.jobs,
            nodes: &self.nodes,
            far_ends: &self.far_ends,
            calm: self.calm,
            policies: &self.policies,
        };
        if let Err(broken) = self.checks.see(seen, &view, &mut self.coverage) {
            let text = format!("BROKEN {}: {}", broken.promise, broken.what);
            self.story.tell(self.now, About { monitor: broken.monitor, node: None }, || text);
            self.broken = Some(broken);
        }
    }

    /// A storage that does something else than its model ends the world too.
    fn see_difference(&mut self) {
        let difference = self.store.beside.as_mut().and_then(|beside| beside.difference.take());
        if let Some(what) = difference.filter(|_| self.broken.is_none()) {
            self.tell(About::default(), || format!("BROKEN {}: {what}", beside::PROMISE));
            self.broken = Some(Broken { promise: beside::PROMISE, what, monitor: None });
        }
    }

    pub(super) fn tell(&mut self, about: About, text: impl FnOnce() -> String) {
        self.story.tell(self.now, about, text);
    }

    pub(super) fn tell_node(&mut self, node: usize, text: impl FnOnce() -> String) {
        self.tell(About { monitor: None, node: Some(node) }, text);
    }

    pub(super) fn tell_monitor(&mut self, monitor: usize, text: impl FnOnce() -> String) {
        self.tell(About { monitor: Some(monitor), node: None }, text);
    }

    fn introduce(&mut self) {
        let Plan { climate, nodes, partitions, skew, batch_max, outages_max, .. } = self.plan;
        self.tell(About::default(), || {
            format!(
                "{climate:?}, {nodes} nodes, {partitions} partitions, clocks off by up to {skew} ms, {batch_max} monitors \
                 in a batch, {outages_max} outages kept"
            )
        });
        for (n, monitor) in self.plan.monitors.clone().iter().enumerate() {
            self.tell_monitor(n, || {
                let spec = &monitor.spec;
                format!(
                    "{}, grace {}, early {:?}, thresholds {} and {}, runs up to {:?}, {:?}, {:?}{}",
                    spec.schedule.describe(),
                    spec.grace,
                    spec.early,
                    spec.failure_threshold,
                    spec.recovery_threshold,
                    spec.max_runtime,
                    spec.arm,
                    monitor.behaviour,
                    if monitor.tampered { ", edited" } else { "" },
                )
            });
        }
        let calm = shift(self.plan.start, i64::try_from(self.plan.faulty.as_millis()).unwrap_or(0));
        self.queue.push(calm, Event::Fault(Fault::Calm));
    }
}
