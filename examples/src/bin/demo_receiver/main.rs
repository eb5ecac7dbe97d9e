//! Receives what a Heartbeat server sends, by SMTP and by HTTP, and prints each message as one line of JSON.
//!
//! The first line says where it listens: `{"http":"127.0.0.1:41234","smtp":"127.0.0.1:41235"}`. It is for the
//! demonstration and the tests; it takes everything from everybody and keeps nothing.

mod smtp;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use clap::Parser;
use heartbeat_engine::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Where webhooks are taken
    #[arg(long, default_value = "127.0.0.1:0")]
    http: String,
    /// Where mail is taken
    #[arg(long, default_value = "127.0.0.1:0")]
    smtp: String,
}

/// Prints a line; a reader that has gone away ends the program.
fn print(line: &Value) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let clock = Arc::new(SystemClock::new());
    let (http, mail) = (TcpListener::bind(&arguments.http).await?, TcpListener::bind(&arguments.smtp).await?);
    print(&json!({"http": http.local_addr()?.to_string(), "smtp": mail.local_addr()?.to_string()}));
    tokio::spawn(smtp::serve(mail, clock.clone()));
    let receive = move |uri: Uri, headers: HeaderMap, body: Bytes| {
        print(&webhook(clock.now().as_millis(), &uri, &headers, &body));
        async { StatusCode::NO_CONTENT }
    };
    axum::serve(http, Router::new().fallback(receive)).await
}

fn webhook(at_ms: i64, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Value {
    let headers: BTreeMap<_, _> =
        headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))).collect();
    let body = serde_json::from_slice(body).unwrap_or_else(|_| json!(String::from_utf8_lossy(body)));
    json!({"received": "webhook", "at_ms": at_ms, "path": uri.path(), "headers": headers, "body": body})
}
