//! One server on a disk that the test spoils, with heartbeats that are remembered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_examples::crash::{
    Api, Beat, Failure, Fate, Ledger, Pace, Process, Program, Random, Receiver, Role, Sender, Streams,
};
use heartbeat_examples::crash::{Watched, World};
use serde_json::json;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// A job that reports far more often than it must.
const PROMPT: &str = "prompt";

/// A slow stream that goes on through every fault.
pub(crate) const SLOW: Pace = Pace { beats_max: 10_000, pause_ms_max: 500, body_bytes: 0, until_gone: false };

pub(crate) struct Rig {
    program: Program,
    folder: PathBuf,
    pub(crate) process: Option<Process>,
    pub(crate) world: World,
    pub(crate) ledger: Ledger,
    pub(crate) random: Random,
    receiver: Receiver,
    streams: Option<Streams>,
    prober: Option<Sender>,
    names: u32,
}

pub(crate) fn program() -> Program {
    Program::new(Path::new(env!("CARGO_BIN_EXE_heartbeat-server"))).expect("an HTTP client")
}

/// A broken promise ends the test with its account.
pub(crate) fn kept<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| panic!("{failure}"))
}

impl Rig {
    /// A server on `heartbeat.db` in this folder, as the program reaches it.
    pub(crate) async fn start(program: Program, folder: &Path, seed: u64) -> Self {
        let receiver = kept(Receiver::start(seed).await);
        receiver.heal_all();
        let process = kept(kept(program.start(folder)).ready().await);
        let mut world = kept(World::make(&process.api, &receiver.hook("rig")).await);
        let wish = json!({"slug": PROMPT, "schedule": {"every": "5s"}, "grace": "3s", "channels": ["each"]});
        let made = kept(process.api.send("POST", "/api/monitors", Some(wish)).await);
        let made: serde_json::Value = serde_json::from_str(&made.text).expect("JSON");
        let token = made["token"].as_str().expect("a token").to_owned();
        world.monitors.insert(PROMPT.to_owned(), Watched { role: Role::Steady, token });
        Self {
            program,
            folder: folder.to_owned(),
            process: Some(process),
            world,
            ledger: Ledger::default(),
            random: Random::new(seed),
            receiver,
            streams: None,
            prober: None,
            names: 0,
        }
    }

    pub(crate) fn api(&self) -> Api {
        self.process.as_ref().expect("it runs").api.clone()
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("stream-{}", self.names)
    }

    pub(crate) fn stream(&mut self, pace: Pace) {
        let (api, name) = (self.api(), self.name());
        self.streams = Some(Streams::start(&api, &self.world, &name, &mut self.random, pace));
    }

    pub(crate) async fn end_streams(&mut self) {
        if let Some(streams) = self.streams.take() {
            self.ledger.sent(kept(streams.stop().await));
        }
        self.prober = None;
    }

    /// Sends one heartbeat now.
    pub(crate) async fn probe(&mut self) -> Beat {
        if self.prober.is_none() {
            let name = self.name();
            self.prober = Some(Sender::new(&self.api(), "steady-0", &self.world.monitors["steady-0"], name));
        }
        let beat = self.prober.as_mut().expect("it was just made").report().await;
        self.ledger.sent(vec![beat.clone()]);
        beat
    }

    /// Waits until a heartbeat has this fate.
    pub(crate) async fn probe_until(&mut self, fate: Fate) {
        let began = tokio::time::Instant::now();
        loop {
            let beat = self.probe().await;
            if beat.fate == fate {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "no heartbeat becomes {fate:?}; the last one was {beat:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// While its disk is spoilt: heartbeats get 503 with `Retry-After`, `/readyz` names the store, and reads work.
    pub(crate) async fn expect_unavailable(&mut self) {
        self.probe_until(Fate::Unavailable).await;
        let ready = kept(self.api().send("GET", "/readyz", None).await);
        assert_eq!(ready.status, 503, "{}", ready.text);
        assert!(ready.text.contains(r#""store":"unavailable""#), "{}", ready.text);
        assert!(ready.headers.contains_key("retry-after"));
        for path in ["/healthz", "/api/monitors", "/api/incidents", "/api/monitors/steady-0/pings"] {
            let answer = kept(self.api().send("GET", path, None).await);
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        }
    }

    /// Its disk is well again: the same process takes heartbeats again.
    pub(crate) async fn expect_recovery(&mut self) {
        self.probe_until(Fate::Acknowledged).await;
        let ready = kept(self.api().send("GET", "/readyz", None).await);
        assert_eq!(ready.status, 200, "{}", ready.text);
    }

    /// Everything that was promised so far.
    pub(crate) async fn check(&mut self) {
        self.end_streams().await;
        let api = self.api();
        kept(self.ledger.check(&api, &self.world).await);
    }

    pub(crate) async fn kill(&mut self) {
        kept(self.process.take().expect("it runs").kill().await);
        self.end_streams().await;
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = Some(kept(kept(self.program.start(&self.folder)).ready().await));
    }

    /// The end: a kill, a start, a last look.
    pub(crate) async fn kill_and_check(mut self) -> Ledger {
        self.kill().await;
        self.start_again().await;
        self.check().await;
        kept(self.process.take().expect("it runs").stop().await);
        self.receiver.heal_all();
        self.ledger
    }
}
