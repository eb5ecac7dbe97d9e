//! People: they make, edit, pause, resume and remove monitors, while heartbeats arrive.

use std::time::Duration;

use super::coverage::Deed;
use super::node::{Call, Reply};
use super::plan::{Plan, edited};
use super::policies::possible_parents;
use super::world::{Caller, Event, World};
use crate::evaluator::{Refusal, Request};
use crate::step::{Edit, NewNote};
use crate::{IncidentId, MonitorId, PartitionId, Record};

/// How often something other than a creation is asked for.
const TRIES_MAX: u32 = 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Make(u64),
    Edit,
    Pause(bool),
    Resume,
    Remove,
    /// To depend on others.
    Depend,
    Acknowledge(IncidentId),
    Note(IncidentId),
    Window(u32),
    EndWindow(u32),
    Route(usize),
    Unroute(usize),
}

impl Wish {
    /// Whether it is about windows or routes.
    const fn is_policy(self) -> bool {
        matches!(self, Self::Window(_) | Self::EndWindow(_) | Self::Route(_) | Self::Unroute(_))
    }
}

/// One thing that an operator does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    pub(super) monitor: usize,
    pub(super) wish: Wish,
    pub(super) done: bool,
}

impl World {
    pub(super) fn plan_acts(&mut self) {
        for monitor in 0..self.plan.monitors.len() {
            let made_after = self.plan.monitors[monitor].made_after;
            self.plan_act(made_after, monitor, Wish::Make(0));
            if !self.plan.monitors[monitor].tampered {
                continue;
            }
            let seconds = self.plan.faulty.as_secs();
            for generation in 1..=self.rng.below(6) {
                let at = made_after + self.rng.secs(300, seconds - 900);
                let later = self.rng.secs(30, 600);
                match self.rng.below(10) {
                    0..5 => self.plan_act(at, monitor, Wish::Edit),
                    5 => self.plan_act(at, monitor, Wish::Depend),
                    6..8 => {
                        let manual = self.rng.percent(50);
                        self.plan_act(at, monitor, Wish::Pause(manual));
                        self.plan_act(at + later, monitor, Wish::Resume);
                    }
                    _ => {
                        self.plan_act(at, monitor, Wish::Remove);
                        self.plan_act(at + later, monitor, Wish::Make(generation));
                    }
                }
            }
        }
    }

    pub(super) fn plan_act(&mut self, after: Duration, monitor: usize, wish: Wish) {
        let act = self.acts.len();
        self.acts.push(Act { monitor, wish, done: false });
        self.queue.push(self.plan.start + after, Event::Operator(act, 0));
    }

    /// Somebody may look after an incident that was opened.
    pub(super) fn look_after(&mut self, monitor: usize, incident: IncidentId) {
        let since_start = self.now.since(self.plan.start);
        if self.rng.percent(25) {
            let later = self.rng.secs(5, 3000);
            self.plan_act(since_start + later, monitor, Wish::Acknowledge(incident));
        }
        if self.rng.percent(10) {
            let later = self.rng.secs(5, 3000);
            self.plan_act(since_start + later, monitor, Wish::Note(incident));
        }
    }

    /// The record of the plan's monitor as it is stored, whichever was made last.
    pub(super) fn stored(&self, monitor: usize) -> Option<&Record> {
        let partition = PartitionId(self.plan.monitors[monitor].partition);
        let id = self.jobs[monitor].id?;
        self.store.record(partition, id)
    }

    pub(super) fn operate(&mut self, number: usize, times: u32) {
        let Act { monitor, wish, done } = self.acts[number];
        let makes = matches!(wish, Wish::Make(_));
        if done || (times > TRIES_MAX && !makes) {
            return;
        }
        if wish.is_policy() {
            match self.ask_for_policy(number, wish) {
                Some(true) => self.acts[number].done = true,
                Some(false) | None => self.after(Duration::from_secs(15), Event::Operator(number, times + 1)),
            }
            return;
        }
        let request = match wish {
            Wish::Make(generation) => {
                if self.jobs[monitor].id.is_some() && self.stored(monitor).is_some() {
                    // What should have been removed is still there.
                    self.acts[number].done = true;
                    return;
                }
                let mut spec = self.plan.monitors[monitor].spec.clone();
                spec.depends_on = self.ids_of(&self.plan.monitors[monitor].parents);
                let made = self.plan.made(monitor, generation, &spec, self.now);
                self.jobs[monitor].id = Some(made.id);
                Request::Create(Box::new(made))
            }
            _ => {
                let Some(record) = self.stored(monitor).cloned() else { return };
                self.request_for(monitor, &record, wish)
            }
        };
        if times == 0 {
            self.tell_monitor(monitor, || format!("an operator: {wish:?}"));
        }
        let call = self.number();
        self.callers.insert(call, Caller::Operator(number, times));
        self.call(Call { number: call, request, mark: None });
        let patience = self.rng.secs(5, 15);
        self.after(patience, Event::Replied(call, None));
    }

    /// Those of these monitors that are there.
    fn ids_of(&self, monitors: &[usize]) -> Vec<MonitorId> {
        monitors.iter().filter_map(|monitor| self.stored(*monitor)).map(Record::id).collect()
    }

    fn request_for(&mut self, monitor: usize, record: &Record, wish: Wish) -> Request {
        let id: MonitorId = record.id();
        let by = || "somebody".to_owned();
        let edit = match wish {
            Wish::Pause(manual_resume) => Edit::Pause { manual_resume },
            Wish::Resume => Edit::Resume,
            Wish::Remove => Edit::Remove,
            Wish::Acknowledge(incident) => Edit::Acknowledge { incident, by: by() },
            Wish::Note(incident) => {
                Edit::Note(NewNote { incident, by: by(), text: "looked at".to_owned(), stored: None })
            }
            Wish::Depend => {
                let parents: Vec<usize> = possible_parents(&self.plan, monitor).collect();
                let parents: Vec<usize> = parents.into_iter().filter(|_| self.rng.percent(50)).collect();
                let mut spec = record.spec().clone();
                spec.depends_on = self.ids_of(&parents);
                Edit::Spec { spec: Box::new(spec), expected: None, secret: None }
            }
            _ => {
                let plan: &Plan = &self.plan;
                let spec = edited(plan, record.spec(), &mut self.rng);
                let expected = self.rng.percent(30).then_some(record.monitor.revision);
                Edit::Spec { spec: Box::new((*spec).clone()), expected, secret: None }
            }
        };
        Request::Edit(id, edit)
    }

    pub(super) fn operator_replied(&mut self, number: usize, times: u32, reply: Option<&Reply>) {
        let Act { wish, monitor, .. } = self.acts[number];
        match reply {
            Some(Reply::Done(_)) => {
                self.acts[number].done = true;
                self.note(match wish {
                    Wish::Pause(_) => Deed::Pause,
                    Wish::Acknowledge(_) => Deed::Acknowledgement,
                    Wish::Note(_) => Deed::Note,
                    _ => Deed::Edit,
                });
            }
            Some(Reply::Refused(Refusal::Taken("id"))) => self.acts[number].done = true,
            Some(Reply::Refused(Refusal::Taken(_))) if matches!(wish, Wish::Make(_)) => {
                // Another has the name: it waits until that is free.
                self.after(Duration::from_secs(120), Event::Operator(number, times + 1));
            }
            Some(Reply::Refused(refusal)) if !matches!(refusal, Refusal::Storage(_)) => {
                let text = format!("an operator is refused: {refusal:?}");
                self.tell_monitor(monitor, || text);
                self.acts[number].done = !matches!(wish, Wish::Make(_));
            }
            _ => {
                let pause = self.rng.secs(1, 10);
                self.after(pause, Event::Operator(number, times + 1));
            }
        }
    }
}
