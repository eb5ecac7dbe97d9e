//! Streams of heartbeats over real sockets, each with a text of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::crash::api::Api;
use crate::crash::failure::Failure;
use crate::crash::random::Random;
use crate::crash::world::{Role, Watched, World};

/// What became of a heartbeat, as its sender sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was answered 200: it is stored.
    Acknowledged,
    /// It was answered 503; it may be stored where the store does not know itself.
    Unavailable,
    /// It was answered something else: it is not stored.
    Refused(u16),
    /// No answer came.
    Unanswered,
}

/// One heartbeat that was sent.
#[derive(Debug, Clone)]
pub struct Beat {
    /// The monitor.
    pub slug: String,
    /// Its text; no other heartbeat has the same.
    pub message: String,
    /// What it is kept as.
    pub signal: &'static str,
    /// What became of it.
    pub fate: Fate,
    /// A failure that was acknowledged right after a success that was: it must have taken the monitor down.
    pub takes_down: bool,
}

/// What a heartbeat says: the end of its URL, the query, and the signal that it is kept as.
pub(crate) type Saying = (&'static str, &'static str, &'static str);

pub(crate) const SUCCESS: Saying = ("", "", "success");
pub(crate) const START: Saying = ("/start", "", "start");
const FAIL: Saying = ("/fail", "", "fail");
const TOO_LARGE: Saying = ("", "&value=11", "fail");

/// Sends the heartbeats of one monitor, one after the other.
#[derive(Debug)]
pub struct Sender {
    client: reqwest::Client,
    url: String,
    slug: String,
    /// Distinguishes its messages from all others.
    name: String,
    sent: u32,
    surely_up: bool,
}

impl Sender {
    /// A sender whose messages begin with this name, which no other has.
    #[must_use]
    pub fn new(api: &Api, slug: &str, watched: &Watched, name: String) -> Self {
        let url = api.url(&format!("/ping/{}", watched.token));
        Self { client: api.client(), url, slug: slug.to_owned(), name, sent: 0, surely_up: false }
    }

    /// Sends a success.
    pub async fn report(&mut self) -> Beat {
        self.send(SUCCESS, 0).await
    }

    /// Sends something, with a body of so many bytes.
    pub(crate) async fn send(&mut self, (end, query, signal): Saying, body_bytes: usize) -> Beat {
        self.sent += 1;
        let message = format!("{}-{}", self.name, self.sent);
        let url = format!("{}{end}?msg={message}{query}", self.url);
        let fate = match self.client.post(url).body(vec![b'.'; body_bytes]).send().await {
            Ok(answer) => match answer.status().as_u16() {
                200 => Fate::Acknowledged,
                // A sender must be told when to come back.
                503 if answer.headers().contains_key("retry-after") => Fate::Unavailable,
                status => Fate::Refused(status),
            },
            Err(_) => Fate::Unanswered,
        };
        let acknowledged = fate == Fate::Acknowledged;
        let takes_down = acknowledged && end == FAIL.0 && self.surely_up;
        self.surely_up = match signal {
            "success" | "report" => acknowledged,
            "fail" => false,
            _ => self.surely_up,
        };
        Beat { slug: self.slug.clone(), message, signal, fate, takes_down }
    }
}

/// Streams that run until they are stopped or the server is gone.
#[derive(Debug)]
pub struct Streams {
    stopped: Arc<AtomicBool>,
    tasks: JoinSet<Vec<Beat>>,
}

/// How streams behave.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Most heartbeats of one stream.
    pub beats_max: u32,
    /// Longest pause between two heartbeats, in milliseconds.
    pub pause_ms_max: u64,
    /// Bytes of each heartbeat's body.
    pub body_bytes: usize,
    /// Whether a stream ends with the first heartbeat that finds nobody.
    pub until_gone: bool,
}

impl Streams {
    /// Starts streams for all monitors that report by themselves: two for each steady one, one for the others. `name`
    /// distinguishes their messages from those of other calls.
    #[must_use]
    pub fn start(api: &Api, world: &World, name: &str, random: &mut Random, pace: Pace) -> Self {
        let mut streams = Self { stopped: Arc::default(), tasks: JoinSet::new() };
        for (slug, watched) in world.of(&[Role::Steady, Role::Fickle, Role::Valued]) {
            let copies = if watched.role == Role::Steady { 2 } else { 1 };
            for copy in 0..copies {
                let sender = Sender::new(api, slug, watched, format!("{name}-{slug}-{copy}"));
                let (role, random, stopped) = (watched.role, random.fork(), streams.stopped.clone());
                streams.tasks.spawn(stream(sender, role, random, stopped, pace));
            }
        }
        streams
    }

    /// Stops them and gives what they sent.
    ///
    /// # Errors
    /// When one of them panicked.
    pub async fn stop(mut self) -> Result<Vec<Beat>, Failure> {
        self.stopped.store(true, Ordering::Relaxed);
        let mut beats = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            beats.extend(ended.map_err(|error| Failure::harness("a stream", &error))?);
        }
        Ok(beats)
    }
}

async fn stream(mut sender: Sender, role: Role, mut random: Random, stopped: Arc<AtomicBool>, pace: Pace) -> Vec<Beat> {
    let mut beats = Vec::new();
    while beats.len() < pace.beats_max as usize && !stopped.load(Ordering::Relaxed) {
        let beat = sender.send(saying(role, &mut random), pace.body_bytes).await;
        let gone = beat.fate == Fate::Unanswered;
        beats.push(beat);
        if gone && pace.until_gone {
            break;
        }
        let pause = Duration::from_micros(random.below(pace.pause_ms_max * 1000));
        tokio::time::sleep(pause).await;
    }
    beats
}

fn saying(role: Role, random: &mut Random) -> Saying {
    let drawn = random.below(100);
    match role {
        Role::Fickle => match drawn {
            0..12 => FAIL,
            12..17 => ("/report", "", "report"),
            17..22 => ("/log", "", "log"),
            22..27 => START,
            _ => SUCCESS,
        },
        Role::Valued if drawn < 12 => TOO_LARGE,
        Role::Valued => ("", "&value=3", "success"),
        Role::Steady | Role::Silent | Role::Overrun => SUCCESS,
    }
}
