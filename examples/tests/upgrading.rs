//! A database that the first version left behind is opened by a server that is sent heartbeats meanwhile, and killed in the
//! middle of bringing it to the present version, again and again.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heartbeat_engine::Token;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use support::{KEY, Server, client, command, folder, settings, within};
use tokio::process::Child;
use tokio::task::JoinSet;

/// Beside the one of the fixture.
const MONITORS: u32 = 5_000;
/// Of these monitors heartbeats come all the time.
const STREAMS: u32 = 8;
/// Per stream, before the last kill.
const AT_LEAST: usize = 20;
const LOOK: Duration = Duration::from_millis(2);

fn token(n: u32) -> String {
    format!("token-of-an-old-monitor-{n}")
}

/// The database of version 1 as it was kept, and many more monitors like the one in it, which are up.
fn old_database(path: &Path) {
    let mut connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute_batch(include_str!("../../storage-sqlite/tests/fixtures/v1.sql")).unwrap();
    let transaction = connection.transaction().unwrap();
    for n in 0..MONITORS {
        let id: [u8; 16] = [[7; 4], n.to_be_bytes(), [7; 4], [7; 4]].concat().try_into().expect("16 bytes");
        let name = uuid(&id);
        for (sql, text) in [
            (
                "INSERT INTO monitors SELECT ?1, partition, 2, wake_at,
                 json_set(health, '$.state', 'up', '$.failures', 0, '$.incident', json('null')) FROM monitors LIMIT 1",
                None,
            ),
            (
                "INSERT INTO specs SELECT ?1, json_set(monitor, '$.id', ?2, '$.token', json_object('current', ?3, 'retiring', NULL),
                 '$.spec.slug', 'old-' || ?4, '$.spec.channels', json('[]')) FROM specs LIMIT 1",
                Some(name),
            ),
        ] {
            let mut statement = transaction.prepare_cached(sql).unwrap();
            match text {
                None => statement.execute(params![id]),
                Some(name) => statement.execute(params![id, name, token(n), n]),
            }
            .unwrap();
        }
        let names =
            [(0, format!("old-{n}").into_bytes()), (1, Token::new(token(n)).unwrap().hash().as_bytes().to_vec())];
        for (kind, value) in names {
            transaction.execute("INSERT INTO names VALUES (?1, ?2, ?3)", params![kind, value, id]).unwrap();
        }
        transaction
            .execute("INSERT INTO pings SELECT ?1, n, entry, body FROM pings WHERE monitor = X'01010101010101010000000000000001'", [id])
            .unwrap();
    }
    transaction.commit().unwrap();
}

fn uuid(id: &[u8; 16]) -> String {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// How many monitors are still in the tables of an older version; `None` before and after that.
fn left(path: &Path) -> Option<u32> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).ok()?;
    let count = connection.query_row("SELECT count(*) FROM monitors_2", [], |row| row.get(0));
    count.optional().ok().flatten()
}

/// Heartbeats of some monitors to one address, whoever listens there.
struct Streams {
    ended: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<Vec<usize>>>>,
    refused: Arc<Mutex<usize>>,
    tasks: JoinSet<()>,
}

impl Streams {
    fn start(url: &str) -> Self {
        let acknowledged = Arc::new(Mutex::new(vec![Vec::new(); STREAMS as usize]));
        let (ended, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
        let mut tasks = JoinSet::new();
        for n in 0..STREAMS {
            let url = format!("{url}/ping/{}", token(n));
            let (ended, acknowledged, refused) = (ended.clone(), acknowledged.clone(), refused.clone());
            tasks.spawn(async move {
                let client = client();
                for beat in 0.. {
                    match client.get(format!("{url}?msg=beat-{beat}")).send().await {
                        Ok(answer) if answer.status() == 200 => {
                            acknowledged.lock().expect("lock")[n as usize].push(beat);
                        }
                        Ok(answer) if answer.status() == 503 => *refused.lock().expect("lock") += 1,
                        Ok(answer) => panic!("beat {beat} was answered {}", answer.status()),
                        // Nobody listens, or it was killed.
                        Err(_) => tokio::time::sleep(LOOK).await,
                    }
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    // A job does not report without a pause either.
                    tokio::time::sleep(LOOK).await;
                }
            });
        }
        Self { ended, acknowledged, refused, tasks }
    }

    fn least(&self) -> usize {
        self.acknowledged.lock().expect("lock").iter().map(Vec::len).min().unwrap_or(0)
    }

    async fn end(self) -> Vec<Vec<usize>> {
        self.ended.store(true, Ordering::Relaxed);
        within("the streams end", self.tasks.join_all()).await;
        assert!(*self.refused.lock().expect("lock") > 0, "heartbeats came while the server was loading");
        std::mem::take(&mut self.acknowledged.lock().expect("lock"))
    }
}

fn start(folder: &Path, listen: &str) -> Child {
    let settings = settings(folder, "pings_per_minute = 0\n");
    let mut command = command(folder);
    command.env("HEARTBEAT_ADMIN_KEY", KEY).args(["--listen", listen, "--config"]).arg(settings);
    command.spawn().expect("the server starts")
}

async fn kill(mut server: Child) {
    assert_eq!(server.try_wait().expect("it can be asked"), None, "it runs still");
    server.kill().await.expect("it is killed");
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_database_is_upgraded_under_load_though_the_server_is_killed_in_the_middle() {
    let folder = folder();
    let file = folder.path().join("heartbeat.db");
    old_database(&file);
    // Free a moment ago: the same address for every server, so that the streams find them.
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let streams = Streams::start(&format!("http://{listen}"));

    for part in [0.9, 0.6, 0.2] {
        let server = start(folder.path(), &listen);
        let some = (f64::from(MONITORS) * part) as u32;
        until("some monitors are moved", || left(&file).is_some_and(|left| left < some)).await;
        kill(server).await;
        assert!(left(&file).is_some_and(|left| left > 0), "killed in the middle");
    }
    let server = start(folder.path(), &listen);
    until("heartbeats are taken", || streams.least() >= AT_LEAST).await;
    kill(server).await;
    let acknowledged = streams.end().await;

    let again = Server::start(folder.path(), &[]).await;
    assert_eq!(left(&file), None, "nothing is left in the old tables");
    let metrics = again.get("/metrics").await.text;
    let monitors = metrics.lines().filter(|line| line.starts_with("heartbeat_monitors{"));
    let monitors: f64 = monitors.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum();
    assert_eq!(monitors, f64::from(MONITORS) + 1.0);
    for (n, beats) in acknowledged.iter().enumerate() {
        all_are_there(&again, &format!("old-{n}"), beats).await;
    }
    all_are_there(&again, &format!("old-{}", MONITORS - 1), &[]).await;
    again.stop().await;
}

/// The two heartbeats of the old database, and those that were acknowledged, of which the newest are kept.
async fn all_are_there(server: &Server, slug: &str, beats: &[usize]) {
    let count = server.look(&format!("/api/monitors/{slug}")).await["ping_count"].as_u64().expect("a count");
    assert!(count >= 2 + beats.len() as u64, "{slug}: {count} heartbeats; 2 and {} were acknowledged", beats.len());
    let page = server.look(&format!("/api/monitors/{slug}/pings?limit=100")).await;
    let items = page["items"].as_array().expect("items");
    let kept: HashSet<&str> = items.iter().filter_map(|ping| ping["message"].as_str()).collect();
    for beat in beats.iter().rev().take(90) {
        assert!(kept.contains(format!("beat-{beat}").as_str()), "beat {beat} of {slug} was acknowledged and is lost");
    }
    if count <= 100 {
        let oldest: Vec<u64> = items.iter().rev().take(2).map(|ping| ping["n"].as_u64().expect("a number")).collect();
        assert_eq!(oldest, [1, 2], "{slug}");
    }
}
