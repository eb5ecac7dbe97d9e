//! The rules of a monitor once more, slow and plain: everything is replayed from the whole history. Times are minutes.
#![allow(dead_code, unreachable_pub)]

mod quiet;
mod silence;

use quiet::{Quiet, joined};
use silence::Silence;

/// When the job is expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    Every(i64),
    /// Minutes of each day, UTC.
    Daily(Vec<i64>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slack {
    Minutes(i64),
    EndOfDay,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    pub plan: Plan,
    pub slack: Slack,
    pub early: i64,
    pub failure_threshold: u32,
    pub recovery_threshold: u32,
    pub max_runtime: Option<i64>,
    pub first_ping: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Success,
    Start,
    Fail,
    Log,
    Report,
    /// A success whose value is outside its limits.
    BadValue,
}

#[derive(Clone, Debug)]
pub enum Happening {
    Ping {
        said: Said,
        run: Option<u8>,
        claim: Option<i64>,
    },
    Look,
    Pause {
        manual: bool,
    },
    Resume,
    Wish(Wish),
    /// The watcher was away from this minute until now.
    Outage(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    New,
    Up,
    Down,
    Paused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Down,
    Recovered,
    Closed,
    Report,
}

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Awaited {
    pub occurrence: i64,
    pub deadline: i64,
    pub excused: bool,
}

#[derive(Clone, Debug)]
struct Run {
    id: Option<u8>,
    began: i64,
    limit: Option<i64>,
}

/// How the monitor stands.
#[derive(Clone, Debug)]
pub struct Model {
    wish: Wish,
    pub word: Word,
    manual: bool,
    armed: bool,
    pub failures: u32,
    pub successes: u32,
    latest: i64,
    silence: Option<Silence>,
    runs: Vec<Run>,
    /// Ended runs with an id, and whether they overran.
    ended: Vec<(u8, bool)>,
    nameless_overran: bool,
    pub incidents: Vec<(i64, Option<i64>)>,
    pub told: Vec<Told>,
    /// Outages so far, and all maintenance windows.
    outages: Vec<(i64, i64)>,
    windows: Vec<(i64, i64)>,
    /// Both, those that overlap as one; those that ended by `seen` were looked at.
    quiet: Vec<Quiet>,
    seen: i64,
    now: i64,
}

/// The state after the whole history, as it stands at the time of its last happening.
pub fn replay(wish: &Wish, created: i64, windows: &[(i64, i64)], history: &[(i64, Happening)]) -> Model {
    let mut model = Model {
        wish: wish.clone(),
        word: Word::New,
        manual: false,
        armed: false,
        failures: 0,
        successes: 0,
        latest: created,
        silence: None,
        runs: Vec::new(),
        ended: Vec::new(),
        nameless_overran: false,
        incidents: Vec::new(),
        told: Vec::new(),
        outages: Vec::new(),
        windows: windows.to_vec(),
        quiet: joined(&[], windows),
        seen: created,
        now: created,
    };
    if !wish.first_ping {
        model.begin(created, false);
    }
    for (now, happening) in history {
        if let Happening::Outage(from) = happening {
            model.outages.push((*from, *now));
            model.quiet = joined(&model.outages, windows);
        }
        model.now = *now;
        model.pass_time_until(*now);
        model.happen(*now, happening);
    }
    model
}

impl Model {
    fn awaited(&self) -> Option<Awaited> {
        self.silence.map(|silence| silence.awaited)
    }

    /// What is awaited, with a deadline that waits for the end of a window.
    pub fn shown(&self) -> Option<Awaited> {
        let mut awaited = self.awaited()?;
        let waits = self.counts_silence() && awaited.deadline < self.now;
        if let Some(quiet) =
            self.quiet.iter().find(|quiet| waits && quiet.lasts(self.now) && quiet.hides(awaited.deadline))
        {
            awaited.deadline = quiet.to;
        }
        Some(awaited)
    }

    pub fn runs(&self) -> Vec<Option<u8>> {
        self.runs.iter().map(|run| run.id).collect()
    }

    fn counts_silence(&self) -> bool {
        matches!(self.word, Word::New | Word::Up) || (self.word == Word::Down && self.successes > 0)
    }

    /// Everything before `now`, minute by minute: the ends of stretches with windows, overruns, then the deadline, then the
    /// beginning of an outage.
    fn pass_time_until(&mut self, now: i64) {
        let begin =
            [self.awaited().map(|awaited| awaited.deadline), self.runs.iter().filter_map(|run| run.limit).min()]
                .into_iter()
                .flatten()
                .chain(self.unseen().map(|quiet| quiet.from))
                .min();
        for minute in begin.unwrap_or(now)..now {
            self.pass_windows(minute);
            while let Some(index) = self.runs.iter().position(|run| run.limit.is_some_and(|limit| limit <= minute)) {
                let run = self.runs.remove(index);
                let limit = run.limit.unwrap_or(minute);
                let quiet = self.quiet.iter().any(|quiet| quiet.lasts(minute) && quiet.hides(limit));
                self.close(&run, !quiet);
                if !quiet {
                    self.fail(limit);
                }
            }
            self.judge_silence(minute, minute);
            while let Some(outage) = self.unseen().filter(|quiet| !quiet.windows && quiet.from <= minute) {
                self.pass(outage);
            }
        }
        self.pass_windows(now);
        self.judge_silence(now - 1, now);
    }

    fn unseen(&self) -> Option<Quiet> {
        self.quiet.iter().find(|quiet| quiet.to > self.seen).copied()
    }

    /// Stretches with windows count once they are over.
    fn pass_windows(&mut self, minute: i64) {
        while let Some(over) = self.unseen().filter(|quiet| quiet.windows && quiet.to <= minute) {
            self.pass(over);
        }
    }

    fn pass(&mut self, quiet: Quiet) {
        self.suffer(quiet);
        self.seen = quiet.to;
        let lost = |run: &Run| run.began < quiet.to && run.limit.is_some_and(|limit| limit > quiet.from);
        let (lost, kept) = std::mem::take(&mut self.runs).into_iter().partition::<Vec<_>, _>(lost);
        self.runs = kept;
        lost.iter().for_each(|run| self.close(run, false));
    }

    fn close(&mut self, run: &Run, overran: bool) {
        match run.id {
            Some(id) => self.ended.push((id, overran)),
            None => self.nameless_overran = overran,
        }
    }

    /// Judges the deadlines up to `upto`, as things stand at `minute`.
    fn judge_silence(&mut self, upto: i64, minute: i64) {
        while self.counts_silence()
            && let Some(awaited) = self.awaited().filter(|awaited| awaited.deadline <= upto)
            && !self.quiet.iter().any(|quiet| quiet.lasts(minute) && quiet.hides(awaited.deadline))
        {
            if awaited.excused {
                self.go_on();
            } else if self.word == Word::Down {
                self.successes = 0;
            } else {
                self.fail(awaited.deadline);
                if self.word != Word::Down {
                    self.go_on();
                }
            }
        }
    }

    fn fail(&mut self, at: i64) {
        self.failures += 1;
        self.successes = 0;
        if self.word != Word::Down && self.failures >= self.wish.failure_threshold {
            self.word = Word::Down;
            self.incidents.push((at.max(self.latest), None));
            self.told.push(Told::Down);
        }
    }

    fn happen(&mut self, now: i64, happening: &Happening) {
        match happening {
            Happening::Look | Happening::Outage(_) => {}
            Happening::Ping { said, run, claim } => self.ping(now, *said, *run, *claim),
            Happening::Pause { manual } => {
                self.manual = *manual;
                if self.word != Word::Paused {
                    self.end_incident(now, Told::Closed);
                    self.word = Word::Paused;
                    self.silence = None;
                    self.runs.clear();
                    self.failures = 0;
                    self.successes = 0;
                    self.latest = now;
                }
            }
            Happening::Resume => {
                if self.word == Word::Paused {
                    self.latest = now;
                    self.resume(now);
                }
            }
            Happening::Wish(wish) => self.edit(now, wish),
        }
    }

    fn resume(&mut self, now: i64) {
        self.word = Word::New;
        self.manual = false;
        if self.armed || !self.wish.first_ping {
            self.begin(now, false);
        }
    }

    fn end_incident(&mut self, now: i64, told: Told) {
        if self.word == Word::Down {
            if let Some(incident) = self.incidents.last_mut() {
                incident.1 = Some(now);
            }
            self.told.push(told);
        }
    }

    fn edit(&mut self, now: i64, wish: &Wish) {
        let before = std::mem::replace(&mut self.wish, wish.clone());
        let planned = before.plan != wish.plan || before.early != wish.early;
        if planned {
            self.latest = self.latest.max(now);
        }
        if self.word == Word::Paused {
            return;
        }
        if !self.armed {
            if !wish.first_ping {
                self.begin(now, false);
            }
        } else if planned {
            self.silence = None;
            self.begin(now, false);
        } else if before.slack != wish.slack {
            let Some(awaited) = self.awaited() else { return };
            let after = std::mem::replace(&mut self.wish, before);
            let (old_plain, old_grace) = (self.plain_deadline(awaited.occurrence), self.grace());
            self.wish = after;
            let again = if awaited.deadline == old_plain {
                self.plain_deadline(awaited.occurrence)
            } else {
                awaited.deadline - old_grace + self.grace()
            };
            let late = awaited.occurrence <= now;
            if let Some(silence) = &mut self.silence {
                silence.awaited.deadline = if late { again.max(awaited.deadline) } else { again };
            }
        }
    }

    fn ping(&mut self, now: i64, said: Said, run: Option<u8>, claim: Option<i64>) {
        let blocked = self.word == Word::Paused && self.manual;
        if said == Said::Log || blocked {
            return;
        }
        // Up to a minute off counts as now.
        let claim = claim.filter(|claim| (now - claim).abs() > 1);
        let at = claim.unwrap_or(now.max(self.latest));
        let good = matches!(said, Said::Success | Said::Report);
        let older = claim.is_some() && at < self.latest;
        let stale = claim.is_some() && good && self.own_deadline(at) <= now;
        if older || stale {
            if said != Said::Start {
                self.end_run(run, at);
            }
            if !older && !self.armed && self.word != Word::Paused {
                self.begin(now, false);
            }
        } else {
            self.take(now, at, said, run);
        }
        if said == Said::Report {
            self.told.push(Told::Report);
        }
    }

    /// A heartbeat that counts.
    fn take(&mut self, now: i64, at: i64, said: Said, run: Option<u8>) {
        if said == Said::Start && run.is_some() {
            let open = self.runs.iter().any(|open| open.id == run);
            if open || self.ended.iter().any(|(id, _)| Some(*id) == run) {
                return;
            }
        }
        if self.word == Word::Paused {
            self.resume(now);
        }
        // A deadline in the past follows from no heartbeat: the first of all arms at its arrival, a fail leaves it.
        let timely = self.own_deadline(at) > now;
        let (base, heard) = if timely { (at, true) } else { (now, false) };
        let moves = timely || !self.armed;
        match said {
            Said::Log => {}
            Said::Start => {
                if !self.armed {
                    self.begin(base, false);
                }
                if run.is_none() {
                    self.runs.retain(|open| open.id.is_some());
                }
                self.runs.push(Run { id: run, began: at, limit: self.wish.max_runtime.map(|length| now + length) });
            }
            Said::Success | Said::Report => {
                self.end_run(run, at);
                self.failures = 0;
                match self.word {
                    Word::Down => {
                        self.successes += 1;
                        if self.successes >= self.wish.recovery_threshold {
                            self.end_incident(now, Told::Recovered);
                            self.word = Word::Up;
                            self.successes = 0;
                        }
                    }
                    _ => self.word = Word::Up,
                }
                self.latest = self.latest.max(at);
                self.begin(base, heard);
            }
            Said::Fail | Said::BadValue => {
                let counted = self.end_run(run, at);
                self.latest = self.latest.max(at);
                if moves {
                    self.begin(base, heard);
                }
                if !counted && !self.in_window(now) {
                    self.fail(now);
                }
                if self.word == Word::New {
                    self.word = Word::Up;
                }
            }
        }
    }

    /// Ends the run that a heartbeat belongs to; says whether that had counted as an overrun.
    fn end_run(&mut self, run: Option<u8>, at: i64) -> bool {
        let place = if run.is_some() {
            self.runs.iter().position(|open| open.id == run)
        } else {
            let begun = |open: &Run| open.began <= at;
            let nameless = self.runs.iter().position(|open| open.id.is_none() && begun(open));
            let latest = self.runs.iter().filter(|open| begun(open)).map(|open| open.began).max();
            nameless.or_else(|| self.runs.iter().rposition(|open| Some(open.began) == latest))
        };
        if let Some(place) = place {
            match self.runs.remove(place).id {
                Some(id) => self.ended.push((id, false)),
                None => self.nameless_overran = false,
            }
            return false;
        }
        match run {
            Some(id) => {
                let overran = self.ended.contains(&(id, true));
                if !self.ended.iter().any(|(ended, _)| *ended == id) {
                    self.ended.push((id, false));
                }
                overran
            }
            None => std::mem::take(&mut self.nameless_overran),
        }
    }
}
