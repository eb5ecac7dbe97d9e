//! Measures how long after its deadline a silent monitor's webhook arrives.
//!
//! The whole path on this machine: 100 monitors on SQLite whose deadlines are spread over 10 s, a webhook channel, and a
//! receiver on a real socket. It prints one line of JSON: milliseconds of (webhook received - deadline).

use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::{Router, routing::post};
use clap::Parser;
use heartbeat_engine::{
    ChannelSpec, Clock, Engine, Grace, Grouping, MonitorSpec, PutMode, Schedule, SystemClock, Timestamp,
};
use heartbeat_notify_webhook::WebhookKind;
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// How many monitors fall silent
    #[arg(long, default_value_t = 100)]
    monitors: u32,
    /// Over how many milliseconds their deadlines are spread
    #[arg(long, default_value_t = 10_000)]
    spread_ms: u64,
    /// The SQLite file; it must not exist yet
    #[arg(long, default_value = "alert-lag.db")]
    file: std::path::PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    if arguments.file.exists() {
        return Err(format!("{} exists already; name a new file with --file", arguments.file.display()).into());
    }
    let (received, mut arrivals) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, receiver(received)).await });

    let storage = SqliteStorage::open(&arguments.file, SqliteOptions::default())?;
    let engine = Engine::builder(storage).channel_kind(WebhookKind::new()).spawn().await?;
    let settings = json!({"url": url, "allow_private": true});
    let channel = ChannelSpec {
        kind: "webhook".to_owned(),
        settings,
        grouping: Grouping::NONE,
        fallback: None,
        declared_in: None,
    };
    engine.put_channel("hook", channel).await?;
    let mut wishes = Vec::new();
    for number in 0..arguments.monitors {
        let offset = arguments.spread_ms * u64::from(number) / u64::from(arguments.monitors.max(1));
        let mut spec = MonitorSpec::new(format!("m{number}"), Schedule::every(Duration::from_secs(2))?);
        spec.grace = Grace::Fixed(Duration::from_millis(offset));
        spec.channels = vec!["hook".to_owned()];
        wishes.push((spec, PutMode::Upsert));
    }
    for put in engine.put_many(wishes).await {
        put?;
    }

    let mut lags = Vec::new();
    let patience = Duration::from_millis(arguments.spread_ms) + Duration::from_secs(60);
    while lags.len() < arguments.monitors as usize {
        let (at, deadline): (Timestamp, Timestamp) =
            tokio::time::timeout(patience, arrivals.recv()).await?.ok_or("the receiver ended")?;
        lags.push(at.as_millis() - deadline.as_millis());
    }
    engine.shutdown(Duration::from_secs(5)).await?;
    println!("{}", summary(lags));
    Ok(())
}

/// Passes on when each webhook about a going down arrived, and the deadline that it tells.
fn receiver(received: mpsc::UnboundedSender<(Timestamp, Timestamp)>) -> Router {
    let clock = std::sync::Arc::new(SystemClock::new());
    let take = move |body: Bytes| {
        let at = clock.now();
        let told = serde_json::from_slice::<Value>(&body).ok();
        let deadline = told.as_ref().and_then(|told| told.pointer("/data/incident/opened_at")?.as_str()?.parse().ok());
        if let Some(deadline) = deadline {
            // After the last one nobody listens any more.
            let _ = received.send((at, deadline));
        }
        async { StatusCode::NO_CONTENT }
    };
    Router::new().route("/hook", post(take))
}

fn summary(mut lags: Vec<i64>) -> Value {
    lags.sort_unstable();
    let at = |part: f64| lags.get(((lags.len().max(1) - 1) as f64 * part).round() as usize).copied();
    json!({"webhooks": lags.len(), "min_ms": at(0.0), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0)})
}
