//! What handles tell each other when answers get lost, when somebody stays away, and when Redis loses what it had.

use heartbeat_engine::testing::fixtures::{
    batch, monitor_id, next, notification, notification_id, remove, write_document,
};
use heartbeat_engine::{Batch, MonitorId, News, Outcome, Storage, StorageError};
use heartbeat_storage_redis::RedisStorage;
use serde_json::json;

use super::proxy::{Proxy, Rule};
use super::support::Server;
use super::{commit, hear, make, open};

const STREAM: &str = "{heartbeat:0}:news";

async fn begin(storage: &RedisStorage) -> String {
    storage.news(None).await.unwrap().position
}

/// All that is behind a position, which moves on.
async fn read(storage: &RedisStorage, position: &mut String) -> News {
    let mut all = News::default();
    loop {
        let news = storage.news(Some(position)).await.unwrap();
        position.clone_from(&news.position);
        all.monitors.extend(news.monitors);
        all.owed.extend(news.owed);
        all.documents.extend(news.documents);
        all.missed |= news.missed;
        if !news.more {
            return all;
        }
    }
}

fn versions(news: &News) -> Vec<(MonitorId, u64)> {
    news.monitors.iter().map(|told| (told.monitor, told.version.0)).collect()
}

async fn owe(storage: &RedisStorage, n: u64) {
    storage.commit(&Batch { notifications: vec![notification(n)], ..batch([]) }).await.unwrap();
}

#[tokio::test]
async fn a_commit_whose_answer_got_lost_is_told_once() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let (storage, other) = (open(&proxy.url(), "").await, open(&server.url(), "").await);
    let mut job = make(&storage, 1).await;
    let mut position = begin(&other).await;
    for version in 2..10 {
        proxy.set(Rule::LoseAnswer("EVALSHA"));
        hear(&storage, &mut job).await;
        assert!(proxy.is_done());
        assert_eq!(versions(&read(&other, &mut position).await), [(job.id(), version)]);
    }
    for n in 0..5_u64 {
        proxy.set(Rule::LoseAnswer("{heartbeat:documents}:done"));
        let documents = vec![write_document("key", &n.to_string(), None, Some(json!(n)))];
        let applied = storage.commit(&Batch { documents, ..batch([]) }).await.unwrap();
        assert_eq!(applied.documents, [Outcome::Committed]);
        assert!(proxy.is_done());
        assert_eq!(read(&other, &mut position).await.documents, ["key"]);
    }
    // Reading is asked again, too.
    hear(&storage, &mut job).await;
    let reader = open(&proxy.url(), "").await;
    proxy.set(Rule::LoseAnswer("XRANGE"));
    assert_eq!(versions(&read(&reader, &mut position).await), [(job.id(), 10)]);
    assert!(proxy.is_done());
}

#[tokio::test]
async fn a_batch_that_changes_nothing_tells_nothing() {
    let server = Server::start();
    let storage = open(&server.url(), "").await;
    let job = make(&storage, 1).await;
    let told = || server.ask::<u64>(&["XLEN", STREAM]).unwrap();
    assert_eq!(told(), 1);
    let stale = next(&next(&job, |_, _| ()), |_, _| ());
    assert!(matches!(commit(&storage, &batch([remove(&stale)])).await, Ok(Outcome::Conflict { .. })));
    storage.commit(&batch([])).await.unwrap();
    assert_eq!(told(), 1);
}

#[tokio::test]
async fn who_stayed_away_for_longer_than_news_is_kept_is_told() {
    let server = Server::start();
    let (storage, other) = (open(&server.url(), "").await, open(&server.url(), "").await);
    owe(&storage, 1).await;
    let (mut away, mut there) = (begin(&other).await, begin(&other).await);
    for n in 2..=300 {
        owe(&storage, n).await;
        if n == 200 {
            let told = read(&other, &mut there).await;
            assert!(!told.missed && told.owed.len() == 199, "{told:?}");
        }
    }
    // As if the others were too old.
    server.tell(&["XTRIM", STREAM, "MAXLEN", "100"]);
    let told = read(&other, &mut there).await;
    assert!(!told.missed, "what was forgotten was read before");
    assert_eq!(told.owed, (201..=300).map(notification_id).collect::<Vec<_>>());
    assert!(read(&other, &mut away).await.missed);
    owe(&storage, 301).await;
    server.tell(&["XTRIM", STREAM, "MAXLEN", "0"]);
    for position in [&mut away, &mut there] {
        assert!(read(&other, position).await.missed, "one that was not read is forgotten");
    }
    owe(&storage, 302).await;
    for position in [&mut away, &mut there] {
        let told = read(&other, position).await;
        assert_eq!((told.missed, told.owed), (false, vec![notification_id(302)]));
    }
    server.tell(&["XTRIM", STREAM, "MAXLEN", "0"]);
    assert!(!read(&other, &mut there).await.missed, "all that is forgotten was read");
}

#[tokio::test]
async fn old_news_is_forgotten() {
    let server = Server::start();
    let storage = open(&server.url(), "").await;
    // Of 1970, and more than lie in one node of a stream.
    for n in 1..=1000_u32 {
        server.tell(&["XADD", STREAM, &format!("{n}-0"), "n", &n.to_string(), "w", "x", "b", ""]);
    }
    server.tell(&["SET", "{heartbeat:0}:news-last", "1000"]);
    for n in 1..=64 {
        owe(&storage, n).await;
    }
    let left: u64 = server.ask(&["XLEN", STREAM]).unwrap();
    assert!((64..300).contains(&left), "{left} are left");
}

#[tokio::test]
async fn news_goes_on_when_redis_was_restarted() {
    let mut server = Server::durable();
    let (storage, other) = (open(&server.url(), "").await, open(&server.url(), "").await);
    let mut job = make(&storage, 1).await;
    let mut position = begin(&other).await;
    hear(&storage, &mut job).await;
    server.kill();
    server.restart();
    hear(&storage, &mut job).await;
    let told = read(&other, &mut position).await;
    assert_eq!((versions(&told), told.missed), (vec![(monitor_id(1), 2), (monitor_id(1), 3)], false));
}

#[tokio::test]
async fn a_redis_that_lost_what_it_told_is_found_out() {
    let mut server = Server::start();
    let (storage, other) = (open(&server.url(), "").await, open(&server.url(), "").await);
    for n in 1..=5 {
        owe(&storage, n).await;
    }
    let mut position = begin(&other).await;
    // It comes back with nothing.
    server.kill();
    server.restart();
    assert!(read(&other, &mut position).await.missed);
    assert!(!read(&other, &mut position).await.missed, "it is told once");
    // A primary that took over lacks the newest entry that was read, and wrote others since.
    for n in 1..=5 {
        owe(&storage, n).await;
    }
    read(&other, &mut position).await;
    let newest: Vec<(String, Vec<String>)> = server.ask(&["XREVRANGE", STREAM, "+", "-", "COUNT", "1"]).unwrap();
    server.tell(&["XDEL", STREAM, &newest[0].0]);
    server.tell(&["DECR", "{heartbeat:0}:news-last"]);
    for n in 6..=8 {
        owe(&storage, n).await;
    }
    assert!(read(&other, &mut position).await.missed);
    owe(&storage, 9).await;
    assert_eq!(read(&other, &mut position).await.owed, [notification_id(9)]);
    for nowhere in ["", "here", "1-1:1", "1-1:1,1-1:1,1-1:1", "1-x:1,0-0:0", "9999999999999-0:99,0-0:0"] {
        let news = other.news(Some(nowhere)).await.unwrap();
        assert!(news.missed && news.owed.is_empty(), "{nowhere}: {news:?}");
        assert_eq!(news.position, position);
    }
}

#[tokio::test]
async fn damaged_news_is_told_and_breaks_nothing() {
    let server = Server::start();
    let storage = open(&server.url(), "").await;
    make(&storage, 1).await;
    let position = begin(&storage).await;
    let number: u64 = server.ask(&["GET", "{heartbeat:0}:news-last"]).unwrap();
    let number = (number + 1).to_string();
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let head = |letter: &str| [letter.as_bytes(), &[7; 24]].concat();
    let parts = [
        b"x".to_vec(),
        head("P"),
        [&head("P")[..], &[0, 0, 0, 9]].concat(),
        [&head("C")[..], &[0, 0, 0, 3], b"abc"].concat(),
        [&head("C")[..], &[0, 0, 0, 24], &[0; 24]].concat(),
        head("R"),
        [&head("R")[..], &[0; 4], b"w", &[0, 0, 0, 2], b"{}"].concat(),
        b"R1".to_vec(),
        [b"c", &[0, 0, 0, 2][..], b"{}"].concat(),
        [b"c", &[255; 4][..]].concat(),
        b"n12345".to_vec(),
        [b"d", &[0, 0, 0, 1][..], &[255]].concat(),
    ];
    let entries = parts
        .into_iter()
        .map(|parts| vec![(&b"n"[..], number.clone().into_bytes()), (b"w", b"x".to_vec()), (b"b", parts)]);
    let others =
        [vec![(&b"n"[..], b"x".to_vec()), (b"w", b"x".to_vec()), (b"b", Vec::new())], vec![(b"n", b"1".to_vec())]];
    for entry in entries.chain(others) {
        let mut add = redis::cmd("XADD");
        add.arg(STREAM).arg("*");
        for (field, value) in &entry {
            add.arg(*field).arg(&value[..]);
        }
        let id: String = add.query(&mut connection).unwrap();
        server.tell(&["INCR", "{heartbeat:0}:news-last"]);
        let answer = storage.news(Some(&position)).await;
        assert!(matches!(answer, Err(StorageError::Corrupt(_))), "{entry:?}: {answer:?}");
        server.tell(&["XDEL", STREAM, &id]);
        server.tell(&["DECR", "{heartbeat:0}:news-last"]);
    }
    for (key, value) in [(STREAM, "1"), ("{heartbeat:0}:news-last", "many")] {
        server.tell(&["SET", key, value]);
        let answer = storage.news(Some(&position)).await;
        assert!(matches!(answer, Err(StorageError::Corrupt(_))), "{key}: {answer:?}");
        server.tell(&["DEL", key]);
    }
}
