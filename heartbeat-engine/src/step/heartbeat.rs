//! What a heartbeat does (S4).

use std::time::Duration;

use crate::step::Taken;
use crate::step::advance::{AHEAD_MAX, Failure, IN_WINDOW};
use crate::step::{ClaimedTimeError, Draft};
use crate::{Cause, Closing, Effect, NotificationKind, Ping, PingEntry, Pursuit, Signal, State, Timestamp, routing};

/// How old a claimed time may be (S4.8).
const CLAIM_AGE_MAX: Duration = Duration::from_secs(90 * 86_400);

/// The time that a heartbeat stands for.
#[derive(Clone, Copy)]
struct Moment {
    at: Timestamp,
    /// Whether the sender's time made it differ from the arrival.
    claimed: bool,
}

impl Draft<'_> {
    /// Takes a heartbeat that arrived at `now`; what was due before is applied first.
    ///
    /// # Errors
    /// When its claimed time is out of range (S4.8); then nothing has changed.
    pub fn ping(&mut self, ping: &Ping, now: Timestamp) -> Result<Taken, ClaimedTimeError> {
        let moment = moment(ping, now)?;
        self.advance(now);
        self.health.ping_count += 1;
        // The clocks of nodes differ: a heartbeat without a claimed time is never older (S6.7).
        let at = if moment.claimed { moment.at } else { now.max(self.health.latest_at) };
        let cause = self.value_fault(ping);
        let signal = if cause.is_some() { Signal::Fail } else { ping.signal };
        let mut entry = self.entry(ping, signal, at, now);
        entry.effect = self.decide(ping, Moment { at, ..moment }, cause.as_deref(), &mut entry, now);
        self.tell_report(ping, &entry, now);
        Ok(self.keep_ping(entry))
    }

    fn decide(
        &mut self,
        ping: &Ping,
        moment: Moment,
        fault: Option<&str>,
        entry: &mut PingEntry,
        now: Timestamp,
    ) -> Effect {
        let signal = entry.signal;
        let at = moment.at;
        if self.health.state == State::Paused && self.health.manual_resume {
            return if signal == Signal::Log { Effect::Noted } else { Effect::Ignored };
        }
        if signal == Signal::Log {
            return Effect::Noted;
        }
        let older = moment.claimed && at < self.health.latest_at;
        let stale = !older
            && matches!(signal, Signal::Success | Signal::Report)
            && moment.claimed
            && !self.leaves_time(at, now);
        if older || stale {
            if signal != Signal::Start {
                entry.run_duration = self.end_run(ping, at).duration;
            }
            if stale && !self.health.armed && self.health.state != State::Paused {
                self.arm(now, false);
            }
            return Effect::Older;
        }
        if signal == Signal::Start && self.knows_run(ping.run) {
            return Effect::Noted;
        }
        if self.health.state == State::Paused {
            self.resume_by_heartbeat(now);
        }
        match signal {
            Signal::Start => {
                if !self.health.armed {
                    self.arm_first(at, false, now);
                }
                self.start_run(ping.run, at, now);
                Effect::Counted
            }
            Signal::Success | Signal::Report => {
                entry.run_duration = self.end_run(ping, at).duration;
                self.succeed(at, now, entry);
                Effect::Counted
            }
            Signal::Fail => {
                let ended = self.end_run(ping, at);
                entry.run_duration = ended.duration;
                self.reported(at, now);
                if ended.counted_already {
                    self.come_alive(now, "reports a failure that counted as an overrun already");
                    return Effect::Noted;
                }
                if self.in_maintenance(now).is_some() {
                    self.fail_in_window(fault, entry, now);
                    return Effect::Noted;
                }
                entry.effect = Effect::Counted;
                self.fail_by_heartbeat(fault, entry, now);
                Effect::Counted
            }
            Signal::Log => Effect::Noted,
        }
    }

    fn succeed(&mut self, at: Timestamp, now: Timestamp, entry: &PingEntry) {
        self.health.failures = 0;
        if self.health.state == State::Down {
            self.health.successes += 1;
            if self.health.successes >= self.monitor.spec.recovery_threshold {
                self.recover(now, entry);
            }
        }
        self.come_alive(now, "first heartbeat");
        self.reported(at, now);
    }

    /// The job did report at `at`: the deadline moves (S4.1, S4.3).
    fn reported(&mut self, at: Timestamp, now: Timestamp) {
        self.health.latest_at = self.health.latest_at.max(at);
        if !self.health.armed {
            self.arm_first(at, true, now);
        } else if self.leaves_time(at, now) {
            self.arm(at, true);
        }
    }

    /// Begins to expect with the first heartbeat: with its arrival, where the time that it stands for would make it late
    /// already (S4.8).
    fn arm_first(&mut self, at: Timestamp, heard: bool, now: Timestamp) {
        if self.leaves_time(at, now) {
            self.arm(at, heard);
        } else {
            self.arm(now, false);
        }
    }

    /// Whether the deadline that a heartbeat at `at` alone would leave is still to come at `now`, its arrival. A miss in
    /// the past follows from no heartbeat (S4.8).
    fn leaves_time(&self, at: Timestamp, now: Timestamp) -> bool {
        at >= now || self.own_deadline(at) > now
    }

    /// A new monitor is up with its first success, fail or report (S3.8).
    fn come_alive(&mut self, now: Timestamp, reason: &str) {
        if self.health.state == State::New {
            self.note(State::Up, now, now, reason.to_owned());
        }
    }

    fn recover(&mut self, now: Timestamp, entry: &PingEntry) {
        let Some(mut incident) = self.health.incident.take() else { return };
        incident.closed_at = Some(now.max(incident.opened_at));
        incident.closing = Some(Closing::Recovered);
        self.health.successes = 0;
        self.health.pursuit = Pursuit::default();
        self.has_changed(now);
        let message = routing::recovered_message(&self.monitor, &incident);
        self.note(State::Up, now, now, "recovered".to_owned());
        let told = incident.told.clone();
        self.owe(NotificationKind::Recovered, &told, now, &message, Some(&incident), Some(entry));
        self.keep_incident(*incident);
    }

    fn fail_by_heartbeat(&mut self, fault: Option<&str>, entry: &PingEntry, now: Timestamp) {
        let (cause, detail) = cause_of(fault, entry);
        let message = routing::sentence(&self.monitor, format_args!("is down: {detail}"));
        self.fail(Failure { cause, at: now, detail, message: &message, ping: Some(entry) }, now);
        self.come_alive(now, "first heartbeat");
    }

    /// A failure in a maintenance window is recorded and changes no count (S5.3).
    fn fail_in_window(&mut self, fault: Option<&str>, entry: &PingEntry, now: Timestamp) {
        let (cause, detail) = cause_of(fault, entry);
        self.come_alive(now, "first heartbeat");
        self.note(self.health.state, now, now, format!("{cause}: {detail} ({IN_WINDOW})"));
    }

    /// A message that somebody must see goes out at once (S4.5): a report's, or that the service became degraded.
    fn tell_report(&mut self, ping: &Ping, entry: &PingEntry, now: Timestamp) {
        let became_degraded = ping.degraded && !self.is_degraded() && entry.effect == Effect::Counted;
        if entry.effect == Effect::Ignored || !(ping.signal == Signal::Report || became_degraded) {
            return;
        }
        let said = match (ping.message.as_deref().map(str::trim).filter(|text| !text.is_empty()), became_degraded) {
            (Some(text), true) => format!("is degraded: {text}"),
            (None, true) => "is degraded".to_owned(),
            (Some(text), false) => format!("reports: {text}"),
            (None, false) => "reports".to_owned(),
        };
        let message = routing::sentence(&self.monitor, format_args!("{said}"));
        let channels = self.channels_for_reports();
        self.owe(NotificationKind::Report, &channels, now, &message, None, Some(entry));
    }

    /// What is wrong with the value of a success (S4.9).
    fn value_fault(&self, ping: &Ping) -> Option<String> {
        let value = ping.value.filter(|_| matches!(ping.signal, Signal::Success | Signal::Report))?;
        let spec = &self.monitor.spec;
        let below = spec.value_min.filter(|min| value < *min).map(|min| format!("value {value} is below {min}"));
        below.or_else(|| spec.value_max.filter(|max| value > *max).map(|max| format!("value {value} is above {max}")))
    }

    /// The deadline that a success at `at` alone would leave (S4.8).
    fn own_deadline(&self, at: Timestamp) -> Timestamp {
        let spec = &self.monitor.spec;
        spec.schedule.deadline(spec.schedule.awaited_after(at, spec.early), spec.grace)
    }

    fn entry(&self, ping: &Ping, signal: Signal, at: Timestamp, now: Timestamp) -> PingEntry {
        PingEntry {
            n: self.health.ping_count,
            arrived_at: now,
            at,
            signal,
            effect: Effect::Counted,
            run: ping.run,
            run_duration: None,
            message: ping.message.clone(),
            body: ping.body.clone(),
            body_cut: ping.body_cut,
            value: ping.value,
            duration: ping.duration,
            exit_status: ping.exit_status,
            claimed_at: ping.claimed_at,
            source: ping.source.clone(),
            user_agent: ping.user_agent.clone(),
            degraded: ping.degraded,
        }
    }
}

fn cause_of(fault: Option<&str>, entry: &PingEntry) -> (Cause, String) {
    match fault {
        Some(fault) => (Cause::Value, fault.to_owned()),
        None => (Cause::Failed, routing::failed_detail(entry)),
    }
}

fn moment(ping: &Ping, now: Timestamp) -> Result<Moment, ClaimedTimeError> {
    match ping.claimed_at {
        None => Ok(Moment { at: now, claimed: false }),
        Some(at) if at > now + AHEAD_MAX || at < now - CLAIM_AGE_MAX => Err(ClaimedTimeError),
        Some(at) if at >= now - AHEAD_MAX => Ok(Moment { at: now, claimed: false }),
        Some(at) => Ok(Moment { at, claimed: true }),
    }
}
