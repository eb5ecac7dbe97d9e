//! A server goes on in Redis where it stopped in SQLite.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{KEY, Receiver, Server, command, folder, settings, within};
use crate::{migrate, redis_server};

const SLUGS: [&str; 5] = ["every", "daily", "cron", "silent", "failed"];

/// Whether a message tells this of a monitor.
fn tells(message: &Value, kind: &str, slug: &str) -> bool {
    message["body"]["type"] == kind && message["body"]["data"]["monitor"]["slug"] == slug
}

async fn make(server: &Server, path: &str, body: Value) -> Value {
    let answer = server
        .api(if path.contains("/api/monitors") || path == "/api/keys" { "POST" } else { "PUT" }, path, Some(body))
        .await;
    assert!((200..300).contains(&answer.status), "{path}: {}", answer.text);
    if answer.text.is_empty() { Value::Null } else { answer.json() }
}

/// One of everything: an open incident, a closed one, one of a removed monitor, what was told, what never will be, and what still is
/// to be.
async fn live(server: &Server, receiver: &mut Receiver) {
    let channels = json!(["hook", "mail"]);
    let schedules = [
        ("every", json!({"every": "1h"})),
        ("daily", json!({"at": ["22:00"], "timezone": "Europe/Berlin"})),
        ("cron", json!({"cron": "*/30 8-18 * * MON-FRI"})),
        ("failed", json!({"every": "1h"})),
        ("removed", json!({"every": "1h"})),
    ];
    for (slug, schedule) in schedules {
        let wish = json!({"slug": slug, "schedule": schedule, "channels": channels, "tags": ["t"], "description": "ä"});
        make(server, "/api/monitors", wish).await;
    }
    let silent = json!({"slug": "silent", "schedule": {"every": "1s"}, "grace": "1s", "arm": "first_ping",
                        "channels": ["hook"], "remind_every": "1h"});
    make(server, "/api/monitors", silent).await;
    for slug in ["every", "every", "daily", "cron", "silent", "failed/fail", "removed/fail", "every/start", "every/log"]
    {
        let (slug, signal) = slug.split_once('/').map_or((slug, ""), |(slug, signal)| (slug, signal));
        let url = format!("/ping/{}/{signal}", server.token(slug).await);
        let request = server.request("POST", url.trim_end_matches('/')).body(format!("said by {slug}"));
        assert_eq!(server.send(request).await.status, 200);
    }
    for slug in ["silent", "failed", "removed"] {
        receiver.until(&format!("{slug} is down"), |message| tells(message, "monitor.down", slug)).await;
    }
    let failed = format!("/ping/{}", server.token("failed").await);
    assert_eq!(server.get(&failed).await.status, 200);
    receiver.until("failed recovers", |message| tells(message, "monitor.recovered", "failed")).await;
    assert_eq!(server.api("DELETE", "/api/monitors/removed", None).await.status, 204);
    receiver.until("removed is closed", |message| tells(message, "monitor.closed", "removed")).await;

    let window = json!({"monitors": ["daily"], "schedule": {"at": ["22:00"], "days": ["sun"]}, "length": "2h"});
    make(server, "/api/maintenance/weekly", window).await;
    make(server, "/api/routes/night", json!({"channels": ["hook"], "tags": ["t"], "after": "30m"})).await;
    make(server, "/api/keys", json!({"name": "reader", "scope": "read"})).await;
    // Nobody listens there: what one is owed is given up with the channel, what the other is owed waits.
    for name in ["gone", "dark"] {
        let channel = json!({"kind": "webhook", "url": "http://127.0.0.1:1/x", "allow_private": true});
        make(server, &format!("/api/channels/{name}"), channel).await;
        make(server, "/api/monitors", json!({"slug": name, "schedule": {"every": "1h"}, "channels": [name]})).await;
        let url = format!("/ping/{}/fail", server.token(name).await);
        assert_eq!(server.get(&url).await.status, 200);
    }
    until_notifications(server, "pending", 2).await;
    make_patch(server, "gone").await;
    assert_eq!(server.api("DELETE", "/api/channels/gone", None).await.status, 204);
    until_notifications(server, "dead", 1).await;
    // Mail and webhooks of the others are delivered.
    until_notifications(server, "pending", 1).await;
}

async fn make_patch(server: &Server, slug: &str) {
    let answer = server.api("PATCH", &format!("/api/monitors/{slug}"), Some(json!({"channels": ["hook"]}))).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

async fn until_notifications(server: &Server, state: &str, count: usize) {
    let found = async {
        while list(&server.look(&format!("/api/notifications?state={state}")).await).len() != count {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    within(&format!("{count} {state} notifications"), found).await;
}

/// The things of a list, by their ids or names.
fn list(answer: &Value) -> Vec<Value> {
    let items = answer["items"].as_array().or(answer.as_array()).unwrap_or_else(|| panic!("no list: {answer}"));
    let mut items = items.clone();
    items.sort_by_key(|item| format!("{} {}", item["id"], item["name"]));
    items
}

/// What the API says of everything that does not depend on the hour.
async fn said(server: &Server) -> BTreeMap<String, Value> {
    let mut said = BTreeMap::new();
    for slug in SLUGS.into_iter().chain(["gone", "dark"]) {
        let path = format!("/api/monitors/{slug}");
        let mut monitor = server.look(&path).await;
        assert!(monitor["version"].is_u64(), "{monitor}");
        let url = monitor["ping_url"].as_str().and_then(|url| url.strip_prefix(&server.url)).expect("its ping URL");
        monitor["ping_url"] = url.into();
        said.insert(path.clone(), monitor);
        for part in ["pings", "events", "counts?per=hour", "counts?per=day"] {
            let path = format!("{path}/{part}");
            said.insert(path.clone(), server.look(&path).await);
        }
    }
    let n = said["/api/monitors/every/pings"]["items"][0]["n"].as_u64().expect("a number");
    let body = format!("/api/monitors/every/pings/{n}/body");
    said.insert(body.clone(), json!(server.api("GET", &body, None).await.text));
    for path in
        ["incidents", "maintenance", "routes", "keys", "notifications?state=delivered", "notifications?state=dead"]
    {
        let path = format!("/api/{path}");
        let items = list(&server.look(&path).await);
        assert!(!items.is_empty(), "{path}");
        said.insert(path, items.into());
    }
    let pending = list(&server.look("/api/notifications?state=pending").await);
    let ids = pending.iter().map(|item| item["id"].clone()).collect();
    said.insert("pending".to_owned(), ids);
    let mut channels = list(&server.look("/api/channels").await);
    for channel in &mut channels {
        // How it fares is known to the process alone.
        let channel = channel.as_object_mut().expect("an object");
        channel.retain(|field, _| !["failing_since", "last_error"].contains(&field.as_str()));
    }
    said.insert("channels".to_owned(), channels.into());
    said
}

async fn on_redis(folder: &Path, url: &str, file: &str) -> Server {
    let mut command = command(folder);
    command.env("HEARTBEAT_ADMIN_KEY", KEY).args(["--storage", url, "--config", file]);
    let server = Server::start_with(&mut command).await;
    server.until_status("/readyz", 200).await;
    server
}

#[tokio::test]
async fn a_server_goes_on_in_redis_with_everything_that_it_had() {
    let (folder, redis, mut receiver) = (folder(), redis_server::Server::durable(), Receiver::start().await);
    let file = settings(folder.path(), &receiver.channels());
    let file = file.to_str().expect("a path");
    let server = Server::start(folder.path(), &["--config", file]).await;
    live(&server, &mut receiver).await;
    let before = said(&server).await;
    let silent = format!("/ping/{}", server.token("silent").await);
    server.stop().await;
    assert_kinds_are_known(folder.path());

    let url = redis.url();
    let (code, table, error) = migrate(folder.path(), &["--from", "sqlite:heartbeat.db", "--to", &url]).await;
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("7 of 7 monitors"), "{error}");
    assert!(table.contains("everything is in redis://"), "{table}");
    let server = on_redis(folder.path(), &url, file).await;
    let after = said(&server).await;
    for (path, before) in &before {
        assert_eq!(&after[path], before, "{path}");
    }
    assert_eq!(server.get(&silent).await.status, 200);
    receiver.until("silent recovers", |message| tells(message, "monitor.recovered", "silent")).await;
    let every = format!("/ping/{}", server.token("every").await);
    assert_eq!(server.get(&every).await.status, 200);
    let pings = server.look("/api/monitors/every/pings").await;
    let newest = |pings: &Value| pings["items"][0]["n"].as_u64().expect("a number");
    assert_eq!(newest(&pings), newest(&before["/api/monitors/every/pings"]) + 1);
    // It may fall silent once more: that is another incident.
    let pause = Some(json!({"manual_resume": true}));
    assert_eq!(server.api("POST", "/api/monitors/silent/pause", pause).await.status, 200);
    let incident = list(&before["/api/incidents"])
        .into_iter()
        .find(|incident| incident["monitor"]["slug"] == "silent" || incident["slug"] == "silent")
        .expect("an incident of the silent one");
    server.stop().await;
    for kind in ["monitor.down", "monitor.recovered"] {
        let of_it = |message: &Value| {
            message["body"]["type"] == kind && message["body"]["data"]["incident"]["id"] == incident["id"]
        };
        assert_eq!(receiver.count(of_it), 1, "{kind}");
    }
    for slug in ["failed", "removed", "every", "daily", "cron"] {
        let down = receiver.count(|message| tells(message, "monitor.down", slug));
        assert_eq!(down, usize::from(matches!(slug, "failed" | "removed")), "{slug}");
    }
}

/// A kind of documents that the migration does not know would stay behind.
fn assert_kinds_are_known(folder: &Path) {
    let connection = rusqlite::Connection::open(folder.join("heartbeat.db")).unwrap();
    let mut statement = connection.prepare("SELECT DISTINCT kind FROM documents ORDER BY kind").unwrap();
    let kinds: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(kinds, ["channel", "key", "maintenance", "route"]);
}
