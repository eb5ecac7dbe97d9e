//! What goes wrong, and when.

use std::time::Duration;

use super::coverage::Deed;
use super::plan::Climate;
use super::world::{Event, World};
use crate::Timestamp;

/// How often the store and the network fail, per thousand.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Weather {
    pub(super) unavailable: u64,
    pub(super) unknown: u64,
    pub(super) delayed: u64,
    pub(super) repeated: u64,
    pub(super) network: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// A node dies and is back after so long.
    Crash(usize, Duration),
    /// A node ends its work in order, and is back after so long.
    Stop(usize, Duration),
    Start(usize),
    /// A node is frozen, perhaps with its machine.
    Nap(usize, Duration, bool),
    /// A node's wall clock is set to be ahead by so many milliseconds.
    Clock(usize, i64),
    StoreDown(Duration),
    Weather(Weather, Duration),
    Fair,
    Cut(usize, Duration),
    /// A far end changes its mood.
    FarEnd(usize),
    /// No more faults from now on.
    Calm,
}

const HOUR: u64 = 3600;

impl World {
    pub(super) fn plan_faults(&mut self) {
        let (start, seconds) = (self.plan.start, self.plan.faulty.as_secs());
        let every = match self.plan.climate {
            _ if self.plan.brief => 90,
            Climate::Stormy => 900,
            Climate::Daily => 12 * HOUR,
            Climate::Steps => 2400,
            Climate::Quiet => 2 * HOUR,
        };
        if self.plan.climate == Climate::Daily {
            self.plan_daily_restarts(start);
        }
        let mut at = 0;
        loop {
            at += 1 + self.rng.below(2 * every);
            // The last fault leaves time for its end before the calm.
            if at + 60 >= seconds {
                break;
            }
            let longest = Duration::from_secs(seconds - at - 30);
            let fault = self.some_fault(longest);
            self.queue.push(start + Duration::from_secs(at) + self.rng.millis(0, 999), Event::Fault(fault));
        }
        for end in 0..self.far_ends.len() {
            let mut at = self.rng.below(2 * HOUR);
            while at < seconds {
                self.queue.push(start + Duration::from_secs(at), Event::Fault(Fault::FarEnd(end)));
                at += 60 + self.rng.below(2 * HOUR);
            }
        }
    }

    /// A restart at the same time of each day, from a second to an hour long: inside whatever windows lie there.
    fn plan_daily_restarts(&mut self, start: Timestamp) {
        let longest = *self.rng.pick(&[1, 5, 20, 60, 600, 1800, 3600]);
        let length = self.rng.secs(1, longest);
        let mut at = start + self.rng.secs(60, 24 * HOUR);
        if self.rng.percent(60) {
            // Just when one of the jobs is awaited.
            let spec = self.rng.pick(&self.plan.monitors).spec.clone();
            let occurrence = spec.schedule.next_after(at);
            at = (occurrence + self.rng.secs(0, 60) - length / 2).max(start + Duration::from_secs(60));
        }
        while at + length < self.plan.calm_from() {
            for node in 0..self.nodes.len() {
                let fault = if self.rng.percent(50) { Fault::Crash(node, length) } else { Fault::Stop(node, length) };
                self.queue.push(at, Event::Fault(fault));
            }
            at = at + Duration::from_secs(24 * HOUR);
        }
    }

    /// Whether the watcher is restarted just as a job is about to report.
    pub(super) fn is_struck(&mut self) -> bool {
        let often = match self.plan.climate {
            Climate::Stormy | Climate::Daily => 8,
            Climate::Quiet => 1,
            Climate::Steps => 0,
        };
        !self.calm && self.rng.permille(often)
    }

    /// Whether nobody watched a monitor's partition at some time of this stretch.
    pub(super) fn was_away(&self, monitor: usize, stretch: (Timestamp, Timestamp)) -> bool {
        let partition = crate::PartitionId(self.plan.monitors[monitor].partition);
        let skew = Duration::from_millis(self.plan.skew.unsigned_abs());
        self.store.life(partition).was_away(self.now, stretch, skew)
    }

    /// All nodes restart together, for at least as long as a report is tried: it is lost.
    pub(super) fn restart_during(&mut self, tries: Duration) {
        let most = *self.rng.pick(&[20, 120, 600, 3600]);
        let length = tries + Duration::from_secs(20) + self.rng.secs(0, most);
        if self.now + length + Duration::from_secs(60) >= self.plan.calm_from() {
            return;
        }
        for node in 0..self.nodes.len() {
            let crashes = self.rng.percent(70);
            self.fault(if crashes { Fault::Crash(node, length) } else { Fault::Stop(node, length) });
        }
    }

    fn some_fault(&mut self, longest: Duration) -> Fault {
        let rng = &mut self.rng;
        let node = rng.index(self.plan.nodes);
        let most = *rng.pick(&[2, 8, 30, 120, 900, 3600]);
        let length = rng.secs(1, most).min(longest);
        if self.plan.climate == Climate::Steps && rng.percent(60) {
            return Fault::Clock(0, rng.between(-48 * 3600, 48 * 3600) * 1000);
        }
        match rng.below(100) {
            0..22 => Fault::Crash(node, length),
            22..30 => Fault::Stop(node, length),
            30..48 => Fault::Nap(node, length, rng.percent(40)),
            48..58 => {
                let skew = self.plan.skew;
                Fault::Clock(node, rng.between(-skew, skew))
            }
            58..66 => Fault::StoreDown(length),
            66..90 => {
                let mut often = |most| rng.below(most);
                let weather = Weather {
                    unavailable: often(200),
                    unknown: often(200),
                    delayed: often(150),
                    repeated: often(200),
                    network: often(200),
                };
                Fault::Weather(weather, length * 4)
            }
            _ => Fault::Cut(node, length),
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        if self.calm && !matches!(fault, Fault::Start(_) | Fault::Fair) {
            return;
        }
        match fault {
            Fault::Crash(node, length) if self.nodes[node].up => {
                self.note(Deed::Crash);
                self.tell_node(node, || format!("crashes, for {length:?}"));
                self.end_life(node);
                self.after(length, Event::Fault(Fault::Start(node)));
            }
            Fault::Stop(node, length) if self.nodes[node].up && self.nodes[node].naps_until <= self.now => {
                self.note(Deed::Stop);
                self.tell_node(node, || format!("stops in order, for {length:?}"));
                self.stop_node(node);
                self.end_life(node);
                self.after(length, Event::Fault(Fault::Start(node)));
            }
            Fault::Crash(..) | Fault::Stop(..) => {}
            Fault::Start(node) if !self.nodes[node].up => self.start_node(node),
            Fault::Start(_) => {}
            Fault::Nap(node, length, suspended) => self.nap(node, length, suspended),
            Fault::Clock(node, error) => self.set_clock(node, error),
            Fault::StoreDown(length) => {
                self.note(Deed::StoreDown);
                self.store.refuses_until = self.now + length;
                self.tell(Default::default(), || format!("the store refuses everything for {length:?}"));
            }
            Fault::Weather(weather, length) => {
                self.note(Deed::Weather);
                self.weather = weather;
                self.tell(Default::default(), || format!("for {length:?}: {weather:?}"));
                self.after(length, Event::Fault(Fault::Fair));
            }
            Fault::Fair => self.weather = Weather::default(),
            Fault::Cut(node, length) => {
                self.note(Deed::Cut);
                self.nodes[node].cut_until = self.now + length;
                self.tell_node(node, || format!("does not reach the store for {length:?}"));
            }
            Fault::FarEnd(end) => self.change_mood(end),
            Fault::Calm => self.calm_down(),
        }
    }

    fn nap(&mut self, node: usize, length: Duration, suspended: bool) {
        // What is frozen is not frozen anew: it would wake before its first nap ends.
        if !self.nodes[node].up || self.nodes[node].naps_until > self.now {
            return;
        }
        self.note(Deed::Nap);
        self.tell_node(node, || {
            format!("is frozen for {length:?}{}", if suspended { ", with its machine" } else { "" })
        });
        self.nodes[node].naps_until = self.now + length;
        self.nodes[node].clock.wake(self.now);
        if suspended {
            self.nodes[node].clock.suspend(self.now, length);
            // By the clocks it is as if the wall clock were set forward.
            self.store.note_step(self.now, length);
        }
    }

    fn set_clock(&mut self, node: usize, error: i64) {
        let before = self.nodes[node].clock.error(self.now);
        let step = error - before;
        self.note(if step > 0 { Deed::ClockForward } else { Deed::ClockBack });
        self.nodes[node].clock.set(error);
        self.store.note_step(self.now, Duration::from_millis(step.unsigned_abs()));
        self.tell_node(node, || format!("its wall clock steps by {step} ms, and is {error} ms ahead now"));
        self.nodes[node].seats.iter_mut().for_each(|seat| seat.due_at = Timestamp::MIN);
        self.look(node);
    }

    fn calm_down(&mut self) {
        self.calm = true;
        self.weather = Weather::default();
        self.store.refuses_until = Timestamp::MIN;
        self.tell(Default::default(), || "no more faults".to_owned());
        for node in 0..self.nodes.len() {
            self.nodes[node].cut_until = Timestamp::MIN;
            self.nodes[node].naps_until = self.nodes[node].naps_until.min(self.now);
            self.nodes[node].clock.wake(self.now);
            if !self.nodes[node].up {
                self.start_node(node);
            }
        }
        self.far_ends.iter_mut().for_each(super::receiver::FarEnd::calm_down);
    }
}
