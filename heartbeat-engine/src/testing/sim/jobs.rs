//! The jobs under watch: when they report, how they try again, and how they die. They know the schedule functions and
//! nothing of the watcher's rules.

use std::time::Duration;

use super::clock::shift;
use super::coverage::Deed;
use super::node::{Call, Reply};
use super::plan::Behaviour;
use super::world::{Caller, Event, World};
use crate::evaluator::Request;
use crate::{Change, Effect, MonitorId, MonitorSpec, Ping, Record, RunId, Signal, Timestamp};

/// What a sender gives an answer before it asks another node.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a sender keeps free for its tries and for the network.
const MARGIN: Duration = Duration::from_secs(4);

pub(super) struct Job {
    /// The monitor that was made last.
    pub(super) id: Option<MonitorId>,
    /// Counts its plans: another wish makes it plan anew.
    generation: u32,
    report: Option<Report>,
    /// The run that is under way.
    run: Option<Option<RunId>>,
    /// When it began its last report.
    last_at: Timestamp,
    /// The occurrence that its last report was for.
    last_occurrence: Timestamp,
    /// Reports since the last one that was acknowledged which it gave up: from the first to the last try.
    pub(super) lost: Vec<(Timestamp, Timestamp)>,
    /// The one that it gave up last fell into an outage of the watcher.
    lost_to_outage: bool,
    /// The window in which it left reports out, since the last one that was acknowledged.
    rested: Option<(Timestamp, Timestamp)>,
    /// Nothing is promised until its next report is acknowledged.
    pub(super) exempt: bool,
    /// When it last gave up the report that would have ended a run.
    pub(super) run_lost_at: Option<Timestamp>,
    pub(super) silent_since: Option<Timestamp>,
    /// Successes acknowledged in a row, without anything else happening to the monitor.
    pub(super) acknowledged: u32,
    /// When the last of them was.
    pub(super) acknowledged_at: Timestamp,
    /// Times of what it could not send.
    buffer: Vec<Timestamp>,
}

struct Report {
    mark: u64,
    ping: Ping,
    first_at: Timestamp,
    until: Timestamp,
}

/// When a report is due, and how long it may be tried.
struct Slot {
    at: Timestamp,
    occurrence: Timestamp,
}

impl Job {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            id: None,
            generation: 0,
            report: None,
            run: None,
            last_at: now,
            last_occurrence: now,
            lost: Vec::new(),
            lost_to_outage: false,
            rested: None,
            exempt: true,
            run_lost_at: None,
            silent_since: None,
            acknowledged: 0,
            acknowledged_at: now,
            buffer: Vec::new(),
        }
    }
}

impl World {
    /// The monitor was made, edited or resumed: the job reports soon, and then as it is expected now.
    pub(super) fn nudge(&mut self, monitor: usize, record: &Record) {
        let soon = self.rng.secs(1, 6);
        // By the clock of another node its next report may come before what is awaited now.
        let margin = 2 * self.plan.skew;
        let job = &mut self.jobs[monitor];
        job.exempt = true;
        job.acknowledged = 0;
        job.lost.clear();
        job.lost_to_outage = false;
        job.rested = None;
        if job.id != Some(record.id()) {
            return;
        }
        job.generation += 1;
        job.last_at = self.now;
        job.last_occurrence = shift(self.now, -1 - margin);
        let generation = job.generation;
        self.after(soon, Event::Job(monitor, generation));
    }

    /// A job does what is next: it begins a run, or ends one and reports.
    pub(super) fn job(&mut self, monitor: usize, generation: u32) {
        if self.jobs[monitor].generation != generation {
            return;
        }
        if self.jobs[monitor].report.is_some() {
            // Its last one is still being tried.
            return self.after(Duration::from_secs(5), Event::Job(monitor, generation));
        }
        if let Some(back) = self.is_silent(monitor) {
            if self.jobs[monitor].silent_since.is_none() {
                self.jobs[monitor].silent_since = Some(self.now);
                self.tell_monitor(monitor, || "its job is silent from now on".to_owned());
            }
            let back = back.max(self.now + Duration::from_secs(1));
            return self.queue.push(back, Event::Job(monitor, generation));
        }
        if self.jobs[monitor].silent_since.take().is_some() {
            self.jobs[monitor].exempt = true;
        }
        let Some(spec) = self.stored(monitor).map(|record| record.spec().clone()) else {
            return self.after(Duration::from_secs(20), Event::Job(monitor, generation));
        };
        let signals = self.jobs[monitor].run.is_some();
        if !signals && self.plan.monitors[monitor].rests && self.leaves_out(monitor) {
            return self.plan_next(monitor, &spec);
        }
        if let (Some(limit), false) = (spec.max_runtime, signals) {
            return self.begin_run(monitor, generation, limit.min(self.room(&spec)));
        }
        self.begin_report(monitor, &spec);
    }

    /// When the job speaks again, if it is silent now.
    fn is_silent(&self, monitor: usize) -> Option<Timestamp> {
        let start = self.plan.start;
        match self.plan.monitors[monitor].behaviour {
            Behaviour::Dies(after) if self.now >= start + after => Some(Timestamp::MAX),
            Behaviour::Returns(from, to) if self.now >= start + from && self.now < start + to => Some(start + to),
            _ => None,
        }
    }

    /// Whether the job rests in a maintenance window, and leaves its report out.
    fn leaves_out(&mut self, monitor: usize) -> bool {
        let Some(span) = self.stored(monitor).and_then(|record| self.rests(record)) else { return false };
        self.note(Deed::LostInWindow);
        self.tell_monitor(monitor, || format!("its job rests in a window from {} to {}", span.0, span.1));
        let now = self.now;
        let job = &mut self.jobs[monitor];
        job.last_at = now;
        // Only what rests in one window, and lost nothing else, is promised anything.
        job.exempt |= !job.lost.is_empty() || job.rested.is_some_and(|other| other != span);
        job.rested = Some(span);
        true
    }

    fn begin_run(&mut self, monitor: usize, generation: u32, room: Duration) {
        let plan = &self.plan.monitors[monitor];
        // A start without a name that arrives after its end begins a run that nobody ends: nothing is promised of those.
        let promised = matches!(plan.behaviour, Behaviour::Healthy | Behaviour::Dies(_) | Behaviour::Returns(..));
        let named = plan.run_ids || promised;
        let run = named.then(|| RunId::from_bytes(u128::from(self.rng.next()).to_be_bytes()));
        let hangs = self.plan.monitors[monitor].behaviour == Behaviour::Hanging && self.rng.percent(30);
        self.jobs[monitor].run = Some(run);
        let ping = Ping { run, ..Ping::new(Signal::Start) };
        self.report(monitor, ping, Duration::from_secs(8));
        if hangs {
            self.tell_monitor(monitor, || "its run hangs".to_owned());
            self.jobs[monitor].run = None;
            let spec = self.stored(monitor).map(|record| record.spec().clone());
            if let Some(spec) = spec {
                self.plan_next(monitor, &spec);
            }
            return;
        }
        let most = u64::try_from(room.as_millis() / 8).unwrap_or(0);
        let lasts = self.rng.millis(most / 2, most);
        self.after(lasts, Event::Job(monitor, generation));
    }

    fn begin_report(&mut self, monitor: usize, spec: &MonitorSpec) {
        let behaviour = self.plan.monitors[monitor].behaviour;
        let run = self.jobs[monitor].run.take().flatten();
        if behaviour == Behaviour::Flaky && self.rng.percent(20) {
            self.jobs[monitor].last_at = self.now;
            return self.plan_next(monitor, spec);
        }
        if behaviour == Behaviour::Buffering && self.rng.percent(40) {
            let now = self.now;
            let job = &mut self.jobs[monitor];
            job.buffer.push(now);
            job.last_at = now;
            return self.plan_next(monitor, spec);
        }
        let signal = match behaviour {
            Behaviour::Failing if self.rng.percent(30) => Signal::Fail,
            _ if self.rng.percent(3) => Signal::Report,
            _ => Signal::Success,
        };
        for claimed in std::mem::take(&mut self.jobs[monitor].buffer) {
            let ping = Ping { claimed_at: Some(claimed), ..Ping::new(Signal::Success) };
            self.send_once(monitor, ping);
        }
        let mut ping = Ping { run, ..Ping::new(signal) };
        if let Some(error) = self.plan.monitors[monitor].claim_error {
            self.note(Deed::Claimed);
            ping.claimed_at = Some(shift(self.now, error));
        }
        let mut tries = self.room(spec) / 2;
        if let Some(patience) = self.plan.monitors[monitor].patience {
            tries = tries.min(patience);
        }
        if run.is_some()
            && let Some(limit) = spec.max_runtime
        {
            tries = tries.min(limit / 2);
        }
        self.jobs[monitor].last_at = self.now;
        if self.is_struck() {
            self.restart_during(tries);
        }
        self.report(monitor, ping, tries);
    }

    /// How long a healthy job has for an occurrence, clocks and the network aside.
    fn room(&self, spec: &MonitorSpec) -> Duration {
        let schedule = &spec.schedule;
        let window = match schedule.period() {
            Some(period) => spec.grace.length().min(period),
            None => {
                let occurrence = schedule.next_after(self.now);
                let gap = schedule.next_after(occurrence).since(occurrence);
                schedule.deadline(occurrence, spec.grace).since(occurrence).min(spec.grace.length()).min(gap)
            }
        };
        let clocks = Duration::from_millis(2 * self.plan.skew.unsigned_abs());
        window.saturating_sub(clocks + MARGIN).min(Duration::from_secs(1800))
    }

    fn report(&mut self, monitor: usize, ping: Ping, tries: Duration) {
        let mark = self.number();
        let ping = Ping { message: Some(mark.to_string()), ..ping };
        self.jobs[monitor].report = Some(Report { mark, ping, first_at: self.now, until: self.now + tries });
        self.try_again(monitor, mark);
    }

    /// Sends a heartbeat without waiting for an answer.
    fn send_once(&mut self, monitor: usize, ping: Ping) {
        let Some(id) = self.jobs[monitor].id else { return };
        let mark = self.number();
        let ping = Ping { message: Some(mark.to_string()), ..ping };
        let number = self.number();
        self.note(Deed::Heartbeat);
        self.call(Call { number, request: Request::Ping(id, Box::new(ping)), mark: Some(mark) });
    }

    pub(super) fn try_again(&mut self, monitor: usize, mark: u64) {
        let Some(id) = self.jobs[monitor].id else { return };
        let Some(report) = self.jobs[monitor].report.as_ref().filter(|report| report.mark == mark) else { return };
        let mut ping = report.ping.clone();
        if ping.claimed_at.is_some()
            && let Some(error) = self.plan.monitors[monitor].claim_error
        {
            ping.claimed_at = Some(shift(self.now, error));
        }
        let number = self.number();
        self.callers.insert(number, Caller::Job(monitor, mark));
        self.note(Deed::Heartbeat);
        let signal = ping.signal;
        let call = Call { number, request: Request::Ping(id, Box::new(ping)), mark: Some(mark) };
        if !self.calm && self.rng.percent(3) && (signal == Signal::Success) {
            self.note(Deed::Duplicate);
            self.call(call.clone());
        }
        self.call(call);
        self.after(PATIENCE, Event::Replied(number, None));
    }

    /// Puts a call on its way to some node.
    pub(super) fn call(&mut self, call: Call) {
        let node = self.rng.index(self.nodes.len());
        let latency = self.rng.millis(1, 50);
        let lost = !self.calm && self.rng.permille(self.weather.network);
        let id = super::plan::Plan::index_of(call.request.monitor());
        self.tell(super::story::About { monitor: Some(id), node: Some(node) }, || {
            let what = match &call.request {
                Request::Ping(_, ping) => format!("{} {:?}", ping.signal, ping.claimed_at),
                Request::Create(_) => "make".to_owned(),
                Request::Edit(_, edit) => format!("{edit:?}").chars().take(60).collect(),
            };
            format!("is called: {what}{}", if lost { ", which is lost" } else { "" })
        });
        if !lost {
            self.after(latency, Event::Arrives(node, Box::new(call)));
        }
    }

    /// An answer reaches who called, or the time to wait for it is over.
    pub(super) fn replied(&mut self, call: u64, reply: Option<&Reply>) {
        let Some(caller) = self.callers.remove(&call) else { return };
        match caller {
            Caller::Operator(act, times) => self.operator_replied(act, times, reply),
            Caller::Job(monitor, mark) => self.job_replied(monitor, mark, reply),
        }
    }

    fn job_replied(&mut self, monitor: usize, mark: u64, reply: Option<&Reply>) {
        match reply {
            Some(Reply::Done(_)) => self.note(Deed::Acknowledged),
            Some(_) => self.note(Deed::Refused),
            None => self.note(Deed::Unanswered),
        }
        let Some(report) = self.jobs[monitor].report.take_if(|report| report.mark == mark) else { return };
        let begins = report.ping.signal == Signal::Start;
        match reply {
            Some(Reply::Done(taken)) => {
                let now = self.now;
                let job = &mut self.jobs[monitor];
                let mut forgiven = false;
                let counted = taken.is_none_or(|taken| taken.effect == Effect::Counted);
                if matches!(report.ping.signal, Signal::Success | Signal::Report) && counted {
                    forgiven = !job.exempt && job.lost_to_outage;
                    job.lost_to_outage = false;
                    job.exempt = false;
                    job.rested = None;
                    job.lost.clear();
                    job.acknowledged += 1;
                    job.acknowledged_at = now;
                }
                if report.ping.signal == Signal::Fail {
                    job.acknowledged = 0;
                }
                if forgiven {
                    self.note(Deed::LostToOutage);
                }
            }
            _ => {
                let pause = self.rng.secs(1, 4);
                if self.now + pause < report.until {
                    self.jobs[monitor].report = Some(report);
                    return self.after(pause, Event::Again(monitor, mark));
                }
                if !begins {
                    self.give_up(monitor, &report);
                }
            }
        }
        if begins {
            return;
        }
        if let Some(spec) = self.stored(monitor).map(|record| record.spec().clone()) {
            self.plan_next(monitor, &spec);
        } else {
            let generation = self.jobs[monitor].generation;
            self.after(Duration::from_secs(20), Event::Job(monitor, generation));
        }
    }

    fn give_up(&mut self, monitor: usize, report: &Report) {
        self.note(Deed::Lost);
        self.tell_monitor(monitor, || "its job gives the report up".to_owned());
        let lost = (report.first_at, self.now);
        let to_outage = self.was_away(monitor, lost);
        let job = &mut self.jobs[monitor];
        job.run_lost_at = report.ping.run.map(|_| self.now).or(job.run_lost_at);
        job.lost.push(lost);
        job.acknowledged = 0;
        // Nobody promises anything about two in a row.
        job.exempt |= job.lost.len() > 1 || job.rested.is_some();
        job.lost_to_outage = to_outage && job.lost.len() == 1;
    }

    /// Plans the report for the next occurrence.
    fn plan_next(&mut self, monitor: usize, spec: &MonitorSpec) {
        let slot = self.next_slot(monitor, spec);
        let job = &mut self.jobs[monitor];
        job.last_occurrence = slot.occurrence;
        job.generation += 1;
        let generation = job.generation;
        self.queue.push(slot.at.max(self.now + Duration::from_millis(500)), Event::Job(monitor, generation));
    }

    fn next_slot(&mut self, monitor: usize, spec: &MonitorSpec) -> Slot {
        let skew = self.plan.skew;
        let jitter = self.room(spec) / 4;
        let jitter = self.rng.millis(0, u64::try_from(jitter.as_millis()).unwrap_or(0));
        let job = &self.jobs[monitor];
        if let Some(period) = spec.schedule.period() {
            let at = job.last_at + period + jitter;
            return Slot { at: self.at_the_edge(monitor, spec).unwrap_or(at), occurrence: at };
        }
        // A report at `last_at` is surely for the occurrences before it.
        let done = job.last_occurrence.max(shift(job.last_at, -2 * skew));
        let occurrence = spec.schedule.next_after(done);
        let early = i64::try_from(spec.early.as_millis()).unwrap_or(0);
        let ahead = if early > 2 * skew + 10_000 { early - skew - 5_000 } else { -skew };
        Slot { at: shift(occurrence, -ahead) + jitter, occurrence }
    }

    /// Some jobs cut it fine: they report when the deadline strikes.
    fn at_the_edge(&mut self, monitor: usize, spec: &MonitorSpec) -> Option<Timestamp> {
        let behaviour = self.plan.monitors[monitor].behaviour;
        let cuts = behaviour == Behaviour::Flaky && self.rng.percent(50);
        let near = self.rng.between(-900, 100);
        let last_at = self.jobs[monitor].last_at;
        let period = spec.schedule.period().filter(|_| cuts)?;
        Some(shift(last_at + period + spec.grace.length(), near))
    }
}

/// The record that a transition leaves.
pub(super) fn left(change: &Change) -> Option<&Record> {
    if let Change::Put(record) = change { Some(record) } else { None }
}
