//! Heartbeat's router nested in somebody's axum application, under `/heartbeat`.
//!
//! `nested_axum [ADDRESS:PORT]` listens on 127.0.0.1:3000 unless told.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use heartbeat_engine::Engine;
use heartbeat_http::{HttpSettings, ensure_admin_key, router};
use heartbeat_notify_webhook::WebhookKind;
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let storage = SqliteStorage::open("nested.db", SqliteOptions::default())?;
    let engine = Engine::builder(storage).channel_kind(WebhookKind::new()).spawn().await?;
    if let Some(key) = ensure_admin_key(&engine).await? {
        println!("admin key: {}", key.reveal());
    }

    let listener = TcpListener::bind(std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:3000")).await?;
    let address = listener.local_addr()?;
    let mut settings = HttpSettings::default();
    settings.public_url = format!("http://{address}/heartbeat");

    let own = Router::new().route("/", get(|| async { "the application itself" }));
    let application = own.nest("/heartbeat", router(engine.clone(), settings));

    println!("listening on http://{address}/heartbeat");
    let stop = async {
        // Without Ctrl-C it runs for ever.
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, application).with_graceful_shutdown(stop).await?;
    engine.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
