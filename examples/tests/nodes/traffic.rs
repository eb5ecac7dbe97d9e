//! Heartbeats of many jobs to random servers, each of which is sent again elsewhere when it was not taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::support::{Server, client};

/// How many monitors are kept busy.
pub(crate) const BUSY: usize = 8;
/// How long a job waits for an answer.
const PATIENCE: Duration = Duration::from_millis(700);

/// What was sent for a monitor.
#[derive(Default)]
struct Sent {
    acknowledged: AtomicU64,
    /// Nobody knows whether these were taken.
    unanswered: AtomicU64,
}

/// Sends until it is stopped.
pub(crate) struct Traffic {
    sent: Arc<Vec<Sent>>,
    stops: Arc<AtomicBool>,
    jobs: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Begins to send to these servers; every monitor was heard when this returns.
    pub(crate) async fn begin(servers: &[&Server]) -> Self {
        let sent: Arc<Vec<Sent>> = Arc::new((0..BUSY).map(|_| Sent::default()).collect());
        let stops = Arc::new(AtomicBool::new(false));
        let mut jobs = Vec::new();
        for number in 0..BUSY {
            let token = servers[0].token(&format!("busy-{number}")).await;
            let urls: Vec<String> = servers.iter().map(|server| server.path(&format!("/ping/{token}"))).collect();
            let (sent, stops) = (sent.clone(), stops.clone());
            jobs.push(tokio::spawn(async move {
                let client = client();
                let mut turn = number;
                while !stops.load(Ordering::Relaxed) {
                    send(&client, &urls, &mut turn, &sent[number]).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }));
        }
        let traffic = Self { sent, stops, jobs };
        traffic.until_each_is_heard().await;
        traffic
    }

    /// Waits until every monitor is heard once more.
    pub(crate) async fn until_each_is_heard(&self) {
        let before: Vec<u64> = self.acknowledged().collect();
        while self.acknowledged().zip(&before).any(|(now, before)| now == *before) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn acknowledged(&self) -> impl Iterator<Item = u64> {
        self.sent.iter().map(|sent| sent.acknowledged.load(Ordering::Relaxed))
    }

    /// Ends, and makes sure that what was acknowledged is there, and that no monitor went down.
    pub(crate) async fn end(self, server: &Server) {
        self.stops.store(true, Ordering::Relaxed);
        for job in self.jobs {
            job.await.expect("the job ends");
        }
        for (number, sent) in self.sent.iter().enumerate() {
            let slug = format!("busy-{number}");
            let seen = server.look(&format!("/api/monitors/{slug}")).await;
            let stored = seen["ping_count"].as_u64().expect("a number");
            let acknowledged = sent.acknowledged.load(Ordering::Relaxed);
            let most = acknowledged + sent.unanswered.load(Ordering::Relaxed);
            assert!((acknowledged..=most).contains(&stored), "{acknowledged} to {most} were taken: {seen}");
            assert_eq!(crate::site::incidents(server, &slug).await, 0, "a false alert: {seen}");
        }
    }
}

/// Sends one heartbeat, to one server after the other until one takes it.
async fn send(client: &reqwest::Client, urls: &[String], turn: &mut usize, sent: &Sent) {
    // Whom it asks first is as good as random.
    *turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    let first = (*turn >> 33) % urls.len();
    for url in urls[first..].iter().chain(&urls[..first]) {
        match client.post(url).timeout(PATIENCE).send().await {
            Ok(answer) if answer.status() == 200 => {
                sent.acknowledged.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // It was refused, or nobody listens.
            Ok(answer) if answer.status() == 503 => sent.unanswered.fetch_add(1, Ordering::Relaxed),
            Ok(answer) => panic!("{}", answer.status()),
            Err(_) => sent.unanswered.fetch_add(1, Ordering::Relaxed),
        };
    }
}
