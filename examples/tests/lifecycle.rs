//! The server from its first start to its orderly end.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{KEY, Server, command, folder, run_to_end, settings, within};

#[tokio::test]
async fn the_first_start_shows_a_key_once_and_the_pasted_line_works() {
    let folder = folder();
    let mut first = Server::start_with(&mut command(folder.path())).await;
    first.read_banner_until("ping_url").await;
    let key = first.banner.lines().map(str::trim).find(|line| line.starts_with("hb_")).expect("a key").to_owned();
    let line = first.banner.lines().map(str::trim).find(|line| line.starts_with("curl ")).expect("a curl line");
    let pasted = tokio::process::Command::new("sh").args(["-c", &format!("{line} -sS --fail-with-body")]).output();
    let pasted = within("curl", pasted).await.expect("curl runs");
    let monitor: serde_json::Value = serde_json::from_slice(&pasted.stdout).expect("JSON");
    assert_eq!((&monitor["slug"], &monitor["status"]), (&"first-job".into(), &"new".into()), "{monitor}");
    let ping_url = monitor["ping_url"].as_str().expect("a ping URL");
    assert!(ping_url.starts_with(&first.url), "{ping_url}");
    let answer = first.get(ping_url.strip_prefix(&first.url).expect("the same server")).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "OK"));
    first.stop().await;

    let stored = std::fs::read(folder.path().join("heartbeat.db")).expect("the default database");
    assert!(!contains(&stored, key.as_bytes()), "only the hash of the key is stored");
    let second = Server::start_with(&mut command(folder.path())).await;
    assert!(!second.banner.contains("hb_"));
    let answer = second.send(second.request("GET", "/api/monitors/first-job").bearer_auth(&key)).await;
    assert_eq!((answer.status, answer.json()["ping_count"].as_u64()), (200, Some(1)), "{}", answer.text);
    second.stop().await;
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn health_is_asked_by_the_same_program() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--storage", "memory:"]).await;
    for path in ["/healthz", "/readyz", "/api/v3/status/"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    let health = ["health", "--url", &server.url];
    assert_eq!(run_to_end(command(folder.path()).args(health)).await.0, 0);
    let address = server.url.strip_prefix("http://").expect("an address").to_owned();
    let by_settings = run_to_end(command(folder.path()).arg("health").env("HEARTBEAT_LISTEN", &address)).await;
    assert_eq!(by_settings.0, 0, "{}", by_settings.1);
    let url = server.url.clone();
    server.stop().await;
    let (code, message) = run_to_end(command(folder.path()).args(["health", "--url", &url])).await;
    assert_eq!(code, 1);
    assert!(message.starts_with(&format!("error: {url}/readyz: ")), "{message}");
}

#[tokio::test]
async fn an_orderly_stop_finishes_what_was_begun() {
    let folder = folder();
    let mut server = Server::start(folder.path(), &[]).await;
    let made = server.api("POST", "/api/monitors", Some(serde_json::json!({"slug": "a", "schedule": {"every": "1h"}})));
    assert_eq!(made.await.status, 201);
    let token = server.token("a").await;
    // An idle connection must not hold the server up.
    let _idle = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("it listens");
    let path = format!("/ping/{token}");
    assert_eq!(server.get(&path).await.status, 200);
    server.signal("INT").await;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), server.ended()).await;
    assert_eq!(ended.expect("within 10 s"), Some(0));

    let again = Server::start(folder.path(), &[]).await;
    assert_eq!(again.look("/api/monitors/a").await["ping_count"], 1);
    again.stop().await;
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_the_stop_up() {
    use tokio::io::AsyncWriteExt;
    let folder = folder();
    let mut server = Server::start(folder.path(), &["--storage", "memory:"]).await;
    let mut stuck = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("it listens");
    let head = format!(
        "POST /api/monitors HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n{{"
    );
    stuck.write_all(head.as_bytes()).await.expect("sent");
    // The answer to another request shows that the first one was taken before the signal.
    assert_eq!(server.get("/healthz").await.status, 200);
    server.signal("TERM").await;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), server.ended()).await;
    assert_eq!(ended.expect("within 10 s"), Some(0));
}

#[tokio::test]
async fn systemd_is_told() {
    let folder = folder();
    let socket = folder.path().join("notify");
    let listener = tokio::net::UnixDatagram::bind(&socket).expect("a socket");
    let next = async || {
        let mut buffer = [0; 256];
        let length = within("a message", listener.recv(&mut buffer)).await.expect("received");
        String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
    };
    let mut process = command(folder.path());
    let process = process.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000").args(["--storage", "memory:"]);
    let mut server = Server::start_with(process).await;
    assert_eq!(next().await, "READY=1");
    for _ in 0..3 {
        assert_eq!(next().await, "WATCHDOG=1");
    }
    server.signal("TERM").await;
    while next().await != "STOPPING=1" {}
    assert_eq!(server.ended().await, Some(0));
}

#[tokio::test]
async fn what_the_file_declares_is_made_updated_kept_and_released() {
    let folder = folder();
    let declare = |every: &str, more: &str| {
        let text = format!(
            "timezone = \"Asia/Shanghai\"\n[[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"https://example.org/h\"\n\
             [[monitor]]\nname = \"Cert sync\"\nschedule = {{ every = \"{every}\" }}\nchannels = [\"ops\"]\n{more}"
        );
        settings(folder.path(), &text)
    };
    let backup = "[[monitor]]\nslug = \"backup\"\nschedule = { at = [\"16:05\"] }\ngrace = \"end_of_day\"\n";
    let file = declare("120m", backup);
    let arguments = ["--config", file.to_str().expect("a path")];
    let first = Server::start(folder.path(), &arguments).await;
    let (sync, daily) = (first.look("/api/monitors/cert-sync").await, first.look("/api/monitors/backup").await);
    assert_eq!((&sync["schedule"]["every"], &sync["version"]), (&"2h".into(), &1.into()), "{sync}");
    assert_eq!(daily["schedule"]["timezone"], "Asia/Shanghai", "the zone of the file where a schedule names none");
    assert_eq!(sync["declared_in"], "heartbeat.toml");
    let refused = first.api("DELETE", "/api/monitors/cert-sync", None).await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(refused.text.contains("heartbeat.toml"), "{}", refused.text);
    first.stop().await;

    let second = Server::start(folder.path(), &arguments).await;
    let same = second.look("/api/monitors/cert-sync").await;
    for field in ["id", "token", "version", "updated_at", "expected_at"] {
        assert_eq!(same[field], sync[field], "{field}: an unchanged one is untouched (S3.9)");
    }
    second.stop().await;

    declare("3h", "");
    let third = Server::start(folder.path(), &arguments).await;
    let changed = third.look("/api/monitors/cert-sync").await;
    assert_eq!((&changed["schedule"]["every"], &changed["version"]), (&"3h".into(), &2.into()));
    assert_eq!(changed["id"], sync["id"]);
    let kept = third.look("/api/monitors/backup").await;
    assert_eq!(kept["declared_in"], serde_json::Value::Null, "no file declares it any more");
    assert_eq!(third.api("DELETE", "/api/monitors/backup", None).await.status, 204);
    third.stop().await;
}

#[tokio::test]
async fn check_version_and_help_need_no_store() {
    let folder = folder();
    let file = settings(folder.path(), "[[monitor]]\nslug = \"a\"\nschedule = { every = \"5m\" }\n");
    let output = command(folder.path()).arg("--check").arg("--config").arg(&file).output().await.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let declared = "0 channels, 0 routes, 1 monitor and 0 maintenance windows";
    assert_eq!(text, format!("the configuration is right; it declares {declared}\n"));
    assert!(output.status.success());
    for flag in ["--version", "--help"] {
        let output = command(folder.path()).arg(flag).output().await.expect("it runs");
        assert!(output.status.success() && output.stdout.starts_with(b""), "{flag}");
        assert!(String::from_utf8_lossy(&output.stdout).to_lowercase().contains("heartbeat"), "{flag}");
    }
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("readable").flatten().map(|f| f.file_name()).collect();
    assert_eq!(files, ["heartbeat.toml"], "nothing was made");
}

#[tokio::test]
async fn a_chosen_admin_key_is_the_key_and_logs_can_be_json() {
    let folder = folder();
    let mut process = command(folder.path());
    let process = process.env("HEARTBEAT_ADMIN_KEY", KEY).env("HEARTBEAT_LOG", "info").args([
        "--storage",
        "memory:",
        "--log-format",
        "json",
    ]);
    let mut server = Server::start_with(process.stderr(std::process::Stdio::piped())).await;
    assert!(!server.banner.contains(KEY));
    assert_eq!(server.api("GET", "/api/monitors", None).await.status, 200);
    server.signal("TERM").await;
    let log = server.log().await;
    assert_eq!(server.ended().await, Some(0));
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert!(log.contains("stopping") && !log.contains(KEY), "{log}");
}
