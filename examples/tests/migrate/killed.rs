//! A migration that is killed again and again ends with everything once, and a migration back with what there was.

use std::cell::RefCell;
use std::path::Path;

use heartbeat_storage_redis::{RedisOptions, RedisStorage};
use tokio::process::Child;

use crate::filled::{assert_same, contents, fill, of_file};
use crate::redis_server::Server;
use crate::support::{folder, run_to_end, send_signal, within};
use crate::{migrate, migrate_command};

const MONITORS: u64 = 1500;
const PARTITIONS: u16 = 4;

/// Looks into the target while it is written.
struct Looker(RefCell<redis::Connection>);

impl Looker {
    fn new(redis: &Server) -> Self {
        Self(redis::Client::open(redis.url()).unwrap().get_connection().unwrap().into())
    }

    /// How many monitors are there.
    fn written(&self) -> u64 {
        let mut pipeline = redis::pipe();
        for partition in 0..PARTITIONS {
            pipeline.cmd("ZCARD").arg(format!("{{moved:{partition}}}:ids"));
        }
        pipeline.query::<Vec<u64>>(&mut *self.0.borrow_mut()).unwrap().into_iter().sum()
    }

    /// What the note in the target says.
    fn note(&self) -> String {
        let mut command = redis::cmd("HGET");
        command.arg("{moved:documents}:kind:migration").arg("here");
        command.query::<Option<String>>(&mut *self.0.borrow_mut()).unwrap().unwrap_or_default()
    }
}

/// Waits until something is so, or the process ended before; says whether it runs on.
async fn until(child: &mut Child, is_so: impl Fn() -> bool) -> bool {
    let waiting = async {
        loop {
            if child.try_wait().expect("a process").is_some() {
                return false;
            }
            if is_so() {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    within("the migration gets on", waiting).await
}

async fn kill(mut child: Child) {
    send_signal("KILL", child.id()).await;
    assert_eq!(child.wait().await.expect("it ends").code(), None);
}

async fn assert_verified(folder: &Path, from: &str, to: &str) {
    let (code, table, error) = migrate(folder, &["--from", from, "--to", to, "--verify"]).await;
    assert_eq!(code, 0, "{error}");
    assert_eq!((table.matches("  yes\n").count(), table.matches("  NO\n").count()), (11, 0), "{table}");
}

#[tokio::test]
async fn killed_at_any_point_it_goes_on_and_everything_is_there_once() {
    let (folder, redis) = (folder(), Server::start());
    let file = folder.path().join("source.db");
    fill(&file, MONITORS).await;
    let before = of_file(&file).await;
    let url = format!("{}?prefix=moved&partitions={PARTITIONS}", redis.url());
    let arguments = ["--from", "sqlite:source.db", "--to", &url];
    let target = Looker::new(&redis);
    for part in 0..3 {
        let mut child = migrate_command(folder.path(), &arguments).spawn().expect("it starts");
        assert!(
            until(&mut child, || target.written() > part * MONITORS / 4).await,
            "it ended before it could be killed"
        );
        kill(child).await;
        assert!(target.written() < MONITORS && target.note().contains("\"stage\":\"monitors\""), "{}", target.note());
    }
    // Whoever starts on what is there only half is sent away, and what was begun does not go on from something else.
    let mut server = crate::support::command(folder.path());
    let (code, error) = run_to_end(server.args(["--storage", &url, "--listen", "127.0.0.1:0"])).await;
    assert_eq!(code, 1, "{error}");
    let wanted = "run `heartbeat-server migrate --from sqlite:source.db --to redis://127.0.0.1:";
    assert!(error.contains("was not finished") && error.contains(wanted), "{error}");
    fill(&folder.path().join("other.db"), 3).await;
    let (code, _, error) = migrate(folder.path(), &["--from", "sqlite:other.db", "--to", &url]).await;
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("holds an unfinished migration from sqlite:source.db"), "{error}");

    let mut passed = String::new();
    for stage in ["changes", "incidents", "notifications", "rest", "comparison"] {
        let mut child = migrate_command(folder.path(), &arguments).spawn().expect("it starts");
        let later = || !passed.contains(stage) && !target.note().contains(&format!("\"stage\":\"{stage}\""));
        if until(&mut child, || !later()).await {
            kill(child).await;
        }
        passed.push_str(&target.note());
    }
    let (code, table, error) = migrate(folder.path(), &arguments).await;
    assert_eq!(code, 0, "{error}");
    assert!(table.contains("everything is in redis://"), "{table}");
    let storage = RedisStorage::open(RedisOptions::parse(&url).unwrap()).await.unwrap();
    assert_same(&before, &contents(&storage).await);
    assert!(before == of_file(&file).await, "the source was changed");
    let (code, told, _) = migrate(folder.path(), &arguments).await;
    assert_eq!(code, 0);
    assert!(told.contains("was moved") && told.contains("already"), "{told}");
    assert_verified(folder.path(), "sqlite:source.db", &url).await;

    // A Redis that went away may have lost what came last, before both were compared.
    redis.tell(&["HSET", "{moved:documents}:kind:migration", "here", &target.note().replace("finished", "comparison")]);
    redis.tell(&["HDEL", "{moved:documents}:kind:route", "some"]);
    let (code, _, error) = migrate(folder.path(), &arguments).await;
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("error: documents: ") && error.contains("run this again"), "{error}");
    let (code, _, error) = migrate(folder.path(), &arguments).await;
    assert_eq!(code, 0, "{error}");
    assert_same(&before, &contents(&storage).await);
}

#[tokio::test]
async fn one_that_was_frozen_writes_nothing_once_another_one_has_taken_over() {
    let (folder, redis) = (folder(), Server::start());
    let file = folder.path().join("source.db");
    fill(&file, 1000).await;
    let url = format!("{}?prefix=moved&partitions={PARTITIONS}", redis.url());
    let arguments = ["--from", "sqlite:source.db", "--to", &url];
    let target = Looker::new(&redis);
    // A file is locked by who reads it, so the one that takes over has a copy.
    std::fs::copy(&file, folder.path().join("copy.db")).unwrap();
    let mut frozen = migrate_command(folder.path(), &arguments).spawn().expect("it starts");
    assert!(until(&mut frozen, || target.written() > 0).await, "it ended before it could be frozen");
    send_signal("STOP", frozen.id()).await;
    let (code, _, error) = migrate(folder.path(), &["--from", "sqlite:copy.db", "--to", &url]).await;
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("going on with what was begun"), "{error}");
    send_signal("CONT", frozen.id()).await;
    assert_eq!(within("the frozen one ends", frozen.wait()).await.expect("it ends").code(), Some(1));
    assert!(target.note().contains("\"stage\":\"finished\""), "{}", target.note());
    assert_verified(folder.path(), "sqlite:copy.db", &url).await;
}

#[tokio::test]
async fn there_and_back_again_is_what_it_was_and_what_was_changed_is_found() {
    let (folder, redis) = (folder(), Server::start());
    fill(&folder.path().join("a.db"), 300).await;
    let [one, other] = ["one&partitions=1", "other&partitions=16"].map(|to| format!("{}?prefix={to}", redis.url()));
    let ways = [("sqlite:a.db", &one[..]), (&one, &other), (&other, "sqlite:b.db"), ("sqlite:b.db", "sqlite:c.db")];
    for (from, to) in ways {
        let (code, table, error) = migrate(folder.path(), &["--from", from, "--to", to]).await;
        assert_eq!(code, 0, "{from} {to}: {error}");
        assert!(table.contains("\nheartbeats "), "{table}");
        assert_verified(folder.path(), "sqlite:a.db", to).await;
    }
    assert_same(&of_file(&folder.path().join("a.db")).await, &of_file(&folder.path().join("c.db")).await);

    let keys: Vec<Vec<u8>> = redis.ask(&["KEYS", "{one:0}:*"]).unwrap();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let of = |what: &str| {
        let begin = format!("{{one:0}}:{what}:");
        keys.iter().find(|key| key.starts_with(begin.as_bytes()) && key.len() == begin.len() + 16).unwrap()
    };
    let hours = of("hours");
    let kept: Vec<u8> = redis::cmd("DUMP").arg(hours).query(&mut connection).unwrap();
    let () = redis::cmd("DEL").arg(hours).query(&mut connection).unwrap();
    assert_differs(folder.path(), &one, "counted hours").await;
    let () = redis::cmd("RESTORE").arg(hours).arg(0).arg(kept).query(&mut connection).unwrap();
    assert_verified(folder.path(), "sqlite:a.db", &one).await;
    let () =
        redis::cmd("HSET").arg("{one:documents}:kind:route").arg("some").arg("3 {}").query(&mut connection).unwrap();
    assert_differs(folder.path(), &one, "documents").await;
    let () = redis::cmd("RPOP").arg(of("pings")).query(&mut connection).unwrap();
    assert_differs(folder.path(), &one, "heartbeats").await;
}

async fn assert_differs(folder: &Path, to: &str, kind: &str) {
    let (code, _, error) = migrate(folder, &["--from", "sqlite:a.db", "--to", to, "--verify"]).await;
    assert_eq!(code, 1, "{error}");
    assert!(error.contains(&format!("error: {kind}: sqlite:a.db and redis://")), "{error}");
    assert!(error.contains("  NO\n"), "{error}");
}
