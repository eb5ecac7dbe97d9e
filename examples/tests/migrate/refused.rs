//! What a migration refuses, and what it says.

use serde_json::json;

use crate::filled::fill;
use crate::migrate;
use crate::redis_server;
use crate::support::{KEY, Server, command, folder};

#[tokio::test]
async fn what_is_in_use_or_not_empty_is_refused() {
    let (folder, redis) = (folder(), redis_server::Server::start());
    fill(&folder.path().join("filled.db"), 2).await;
    let target = format!("{}?prefix=used&partitions=2", redis.url());
    let refused = async |from: &str, to: &str, parts: &[&str]| {
        let (code, out, error) = migrate(folder.path(), &["--from", from, "--to", to]).await;
        assert_eq!((code, &out[..]), (1, ""), "{from} {to}: {error}");
        parts.iter().for_each(|part| assert!(error.contains(part), "{error}"));
    };
    let on_file = Server::start(folder.path(), &["--storage", "sqlite:used.db"]).await;
    on_file.until_status("/readyz", 200).await;
    refused("sqlite:used.db", &target, &["error: --from: ", "is in use by process"]).await;
    refused("sqlite:filled.db", "sqlite:used.db", &["error: --to: ", "is in use by process"]).await;
    on_file.stop().await;
    refused("sqlite:used.db", "sqlite:new.db", &["error: --from: sqlite:used.db is empty"]).await;
    refused("sqlite:missing.db", &target, &["error: --from: there is no file `missing.db`"]).await;

    let mut on_redis = command(folder.path());
    on_redis.env("HEARTBEAT_ADMIN_KEY", KEY).env("HEARTBEAT_NODE", "alpha").args(["--storage", &target]);
    let mut on_redis = Server::start_with(&mut on_redis).await;
    on_redis.until_status("/readyz", 200).await;
    let wish = json!({"slug": "job", "schedule": {"every": "1h"}});
    assert_eq!(on_redis.api("POST", "/api/monitors", Some(wish)).await.status, 201);
    let in_use = ["?prefix=used is in use: `alpha", "holds the lease of partition"];
    refused(&target, "sqlite:new.db", &[&["error: --from: redis://127.0.0.1:"], &in_use[..]].concat()).await;
    refused("sqlite:filled.db", &target, &[&["error: --to: redis://127.0.0.1:"], &in_use[..]].concat()).await;
    on_redis.signal("TERM").await;
    assert_eq!(on_redis.ended().await, Some(0));
    let full = ["error: --to: ", "is not empty: it holds 1 monitor", "--verify compares"];
    refused("sqlite:filled.db", &target, &full).await;
    let (code, _, error) =
        migrate(folder.path(), &["--from", "sqlite:filled.db", "--to", "sqlite:none.db", "--verify"]).await;
    assert_eq!(code, 1);
    assert!(error.contains("--to: there is no such file"), "{error}");
    assert!(!folder.path().join("none.db").exists(), "--verify makes nothing");
}

#[tokio::test]
async fn wrong_urls_are_named_by_their_flag_and_repeat_no_password() {
    let folder = folder();
    for (from, to, parts) in [
        ("memory:", "redis://h", ["error: --from: ", "memory: is gone with its server"]),
        ("sqlite:a.db", "memory:", ["error: --to: ", "memory: is gone with its server"]),
        ("sqlite:a.db", "sqlite:./a.db", ["error: --to: ", "is the same storage as --from"]),
        ("redis://u:secret@h/1", "redis://h/1?timeout_ms=9", ["error: --to: ", "is the same storage as --from"]),
        ("rediz://u:secret@h", "redis://h", ["error: --from: ", "`rediz:`"]),
        ("sqlite:a.db", "redis://u:secret@h/x", ["error: --to: ", "the database is a number"]),
        ("sqlite:a.db", "redis://u:secret@h?partitions=0", ["error: --to: ", "`partitions` is `0`"]),
    ] {
        std::fs::write(folder.path().join("a.db"), "").unwrap();
        let (code, out, error) = migrate(folder.path(), &["--from", from, "--to", to]).await;
        assert_eq!((code, &out[..]), (2, ""), "{error}");
        parts.iter().for_each(|part| assert!(error.contains(part), "{error}"));
        assert!(!error.contains("secret"), "{error}");
    }
    let (code, _, error) = migrate(folder.path(), &["--from", "sqlite:a.db"]).await;
    assert_eq!(code, 2);
    assert!(error.contains("--to <URL>"), "{error}");
}
