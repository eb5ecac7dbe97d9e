//! Acknowledged means stored (S8.3): kill -9 in a stream of heartbeats.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use serde_json::json;
use support::{Server, client, folder, within};

const MONITORS: usize = 8;
/// Per monitor, before the kill.
const AT_LEAST: usize = 20;

#[tokio::test]
async fn every_acknowledged_heartbeat_survives_kill_9() {
    let folder = folder();
    let mut server = Server::start(folder.path(), &[]).await;
    let wishes: Vec<_> = (0..MONITORS).map(|n| json!({"slug": format!("m{n}"), "schedule": {"every": "1h"}})).collect();
    let made = server.api("POST", "/api/monitors/batch", Some(json!(wishes))).await;
    assert!((200..300).contains(&made.status), "{}", made.text);

    let acknowledged = Arc::new(Mutex::new(vec![Vec::new(); MONITORS]));
    let mut streams = tokio::task::JoinSet::new();
    for n in 0..MONITORS {
        let url = server.path(&format!("/ping/{}", server.token(&format!("m{n}")).await));
        let acknowledged = acknowledged.clone();
        streams.spawn(async move {
            let client = client();
            // The limit of heartbeats per minute ends it where the kill does not.
            for beat in 0..500 {
                match client.get(format!("{url}?msg=beat-{beat}")).send().await {
                    Ok(answer) if answer.status().is_success() => acknowledged.lock().expect("lock")[n].push(beat),
                    Ok(answer) => panic!("beat {beat} was answered {}", answer.status()),
                    Err(_) => return,
                }
            }
        });
    }
    let enough = || acknowledged.lock().expect("lock").iter().all(|beats| beats.len() >= AT_LEAST);
    within("a stream of heartbeats", async {
        while !enough() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    server.signal("KILL").await;
    assert_eq!(server.ended().await, None, "killed, not ended");
    within("the streams end", streams.join_all()).await;

    let again = Server::start(folder.path(), &[]).await;
    for n in 0..MONITORS {
        let kept = kept_beats(&again, &format!("m{n}")).await;
        for beat in &acknowledged.lock().expect("lock")[n] {
            assert!(kept.contains(&format!("beat-{beat}")), "beat {beat} of m{n} was acknowledged and is lost");
        }
        // One more may have been stored whose answer the kill cut off.
        assert!(kept.len() <= acknowledged.lock().expect("lock")[n].len() + 1);
    }
    again.stop().await;
}

/// The messages of every kept heartbeat of a monitor.
async fn kept_beats(server: &Server, slug: &str) -> HashSet<String> {
    let mut kept = HashSet::new();
    let mut cursor = String::new();
    loop {
        let page = server.look(&format!("/api/monitors/{slug}/pings?limit=50{cursor}")).await;
        for ping in page["items"].as_array().expect("items") {
            kept.insert(ping["message"].as_str().expect("a message").to_owned());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return kept,
        }
    }
}
