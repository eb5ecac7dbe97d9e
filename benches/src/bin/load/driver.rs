//! Drives the server over keep-alive connections, from one thread around `epoll`: it shares the processors with the
//! server, so it allocates nothing per request and makes two system calls for each.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::clock::Clock;
use crate::connection::{Connection, Flight, Received};
use crate::failure::{Failure, Outcome};
use crate::ledger::Ledger;
use crate::pace::Pace;
use crate::random::Random;
use crate::request::Request;
use crate::tally::Tally;
use crate::timer::Timer;

/// How long answers may take once nothing is sent any more.
const PATIENCE_NS: u64 = 30_000_000_000;
/// How often the driver looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);
const TIMER: Token = Token(usize::MAX >> 1);

/// A stretch of load of one kind.
#[derive(Debug)]
pub(crate) struct Slice<'a> {
    /// What is sent.
    pub(crate) request: &'a Request,
    /// For how long.
    pub(crate) length: Duration,
    /// How many per second, whatever the server does; without it, each connection sends as soon as it is answered.
    pub(crate) rate: Option<f64>,
    /// Ends it early, in good order.
    pub(crate) enough: &'a AtomicBool,
}

/// The connections and what they have learnt.
#[derive(Debug)]
pub(crate) struct Driver<'a> {
    poll: Poll,
    timer: Timer,
    clock: Clock,
    /// Each connection leads to one of them, in turn.
    addresses: Vec<SocketAddr>,
    /// For each of them the monitors whose heartbeats it gets; empty where each gets those of all.
    pub(crate) aims: Vec<Vec<u32>>,
    connections: Vec<Connection>,
    idle: VecDeque<usize>,
    random: Random,
    seed: u64,
    interrupted: &'a AtomicBool,
    /// What was acknowledged.
    pub(crate) ledger: Ledger,
}

/// When the next request of a slice may go.
struct Turn {
    pace: Option<Pace>,
    began: u64,
    end: u64,
}

impl Turn {
    /// The instant at which the next request was to go, if that has come.
    fn next(&mut self, now: u64) -> Option<u64> {
        if now >= self.end {
            return None;
        }
        match &mut self.pace {
            Some(pace) => pace.take(now - self.began).map(|due| due + self.began),
            None => Some(now),
        }
    }
}

impl<'a> Driver<'a> {
    /// Connections to servers; `seed` is that of the tokens.
    pub(crate) fn new(
        addresses: Vec<SocketAddr>,
        connections: usize,
        monitors: u32,
        seed: u64,
        interrupted: &'a AtomicBool,
    ) -> Outcome<Self> {
        let poll = Poll::new().map_err(Failure::of("epoll"))?;
        let timer = Timer::new(poll.registry(), TIMER).map_err(Failure::of("a timer"))?;
        let none = Request::get("", "/");
        Ok(Self {
            timer,
            poll,
            clock: Clock::start(),
            addresses,
            aims: Vec::new(),
            connections: (0..connections).map(|index| Connection::new(Token(index), none.clone())).collect(),
            idle: (0..connections).collect(),
            random: Random::new(seed ^ 0x5EED),
            seed,
            interrupted,
            ledger: Ledger::new(monitors),
        })
    }

    /// Turns to another server; what the connections had to the one before is over.
    pub(crate) fn turn_to(&mut self, address: SocketAddr) {
        self.addresses = vec![address];
        self.connections.iter_mut().for_each(Connection::close);
    }

    /// Drives one slice and waits for its answers. `at_end` is called when nothing is sent any more and answers are
    /// still under way.
    pub(crate) fn run(&mut self, slice: &Slice<'_>, at_end: impl FnOnce() -> Outcome<()>) -> Outcome<Tally> {
        let mut tally = Tally::new()?;
        let mut events = Events::with_capacity(self.connections.len() + 1);
        for connection in &mut self.connections {
            connection.request = slice.request.clone();
        }
        let began = self.clock.now();
        let length = u64::try_from(slice.length.as_nanos()).unwrap_or(u64::MAX);
        let pace = slice.rate.map(Pace::new);
        let tick = pace.as_ref().map_or(0, Pace::tick);
        self.timer.every(tick).map_err(Failure::of("a timer"))?;
        let mut turn = Turn { pace, began, end: began.saturating_add(length) };
        let (mut last_answer, mut at_end) = (began, Some(at_end));
        loop {
            self.fill(&mut turn)?;
            let now = self.clock.now();
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Failure::new("interrupted"));
            }
            if slice.enough.load(Ordering::Relaxed) {
                turn.end = turn.end.min(now);
            }
            if now >= turn.end {
                if let Some(at_end) = at_end.take() {
                    at_end()?;
                }
                if self.idle.len() == self.connections.len() {
                    break;
                }
                if now > turn.end.saturating_add(PATIENCE_NS) {
                    return Err(Failure::new("the server does not answer"));
                }
            }
            let left = Duration::from_nanos(turn.end.saturating_sub(now)).max(Duration::from_millis(1));
            match self.poll.poll(&mut events, Some(LOOK.min(left))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(Failure::of("epoll")(error)),
                _ => {}
            }
            for event in &events {
                if event.token() == TIMER {
                    self.timer.rearm();
                } else if self.serve(event.token().0, &mut turn, &mut tally)? {
                    last_answer = self.clock.now();
                }
            }
        }
        self.timer.every(0).map_err(Failure::of("a timer"))?;
        tally.elapsed = Duration::from_nanos(last_answer - began);
        tally.unsent = turn.pace.as_ref().map_or(0, |pace| pace.behind(turn.end - began));
        Ok(tally)
    }

    /// Gives free connections something to do.
    fn fill(&mut self, turn: &mut Turn) -> Outcome<()> {
        while let Some(index) = self.idle.front().copied() {
            let Some(intended) = turn.next(self.clock.now()) else { return Ok(()) };
            self.idle.pop_front();
            self.send(index, intended)?;
        }
        Ok(())
    }

    fn send(&mut self, index: usize, intended: u64) -> Outcome<()> {
        let connection = &mut self.connections[index];
        let server = index % self.addresses.len();
        let mut monitor = 0;
        if connection.request.is_heartbeat() {
            let aims = self.aims.get(server);
            let count = aims.map_or(self.ledger.monitors(), |aims| aims.len() as u32);
            let n = u32::try_from(self.random.below(count.into())).unwrap_or_default();
            monitor = aims.map_or(n, |aims| aims[n as usize]);
            connection.request.aim(self.seed, monitor);
        }
        let address = self.addresses[server];
        connection.send(self.poll.registry(), address, Flight { monitor, intended })
    }

    /// Takes what a connection has received, and sends the next request on it; says whether there was an answer.
    fn serve(&mut self, index: usize, turn: &mut Turn, tally: &mut Tally) -> Outcome<bool> {
        let connection = &mut self.connections[index];
        let received = if connection.flush() { connection.receive()? } else { Received::Closed };
        if received == Received::Nothing {
            return Ok(false);
        }
        // An idle connection that the server has closed.
        let Some(flight) = connection.flight.take() else { return Ok(false) };
        let is_heartbeat = connection.request.is_heartbeat();
        let now = self.clock.now();
        match received {
            Received::Answer(200..300) => {
                tally.answer(now.saturating_sub(flight.intended));
                if is_heartbeat {
                    self.ledger.acknowledge(flight.monitor);
                }
            }
            Received::Answer(status) => {
                tally.refuse(status);
                if is_heartbeat && status >= 500 {
                    self.ledger.doubt(flight.monitor);
                }
            }
            Received::Closed | Received::Nothing => {
                tally.lost += 1;
                if is_heartbeat {
                    self.ledger.doubt(flight.monitor);
                }
            }
        }
        match turn.next(now) {
            Some(intended) => self.send(index, intended)?,
            None => self.idle.push_back(index),
        }
        Ok(true)
    }
}
