//! A wrong configuration: exit status 2 and one message that names file, line and key.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{command, folder, run_to_end, settings};

/// What `--check` and a start say about a settings file; both must say the same.
async fn refused(text: &str) -> String {
    let folder = folder();
    settings(folder.path(), text);
    let arguments = ["--config", "heartbeat.toml", "--listen", "127.0.0.1:0"];
    let (code, message) = run_to_end(command(folder.path()).args(arguments).arg("--check")).await;
    assert_eq!(code, 2, "{message}");
    let (code, started) = run_to_end(command(folder.path()).args(arguments).env("HEARTBEAT_LOG", "off")).await;
    assert_eq!((code, &started), (2, &message));
    assert!(!folder.path().join("heartbeat.db").exists(), "nothing was made");
    assert_eq!(message.lines().count(), 1, "one message: {message}");
    message
}

#[tokio::test]
async fn names_file_line_and_key() {
    let monitor = "[[monitor]]\nslug = \"a\"\n";
    let channel = "[[channel]]\nname = \"ops\"\nkind = \"webhook\"\n";
    for (text, place, part) in [
        // Broken TOML.
        ("listen = \"127.0.0.1:0\"\n[[monitor]\n", "line 2", "is not TOML"),
        // Unknown settings and sections.
        ("\n\nlisten_to = \"x\"\n", "line 3, listen_to", "no such setting"),
        ("[servers]\na = 1\n", "line 1, servers", "no such section"),
        (
            &format!("{monitor}schedule = {{ every = \"5m\" }}\ngrce = \"5m\"\n"),
            "line 4, [[monitor]] grce",
            "there are",
        ),
        (&format!("{monitor}schedule = {{ evry = \"5m\" }}\n"), "line 3, [[monitor]] schedule.evry", ""),
        (&format!("{channel}url = \"https://example.org/\"\nurrl = \"x\"\n"), "line 5, [[channel]] urrl", ""),
        // Bad values.
        ("storage = \"redis://localhost/first\"\n", "line 1, storage", "the database is a number"),
        ("timezone = \"Mars\"\n", "line 1, timezone", "Mars"),
        (&format!("{monitor}schedule = {{ every = \"5x\" }}\n"), "line 3, [[monitor]] schedule", "5x"),
        (&format!("{monitor}schedule = {{ every = \"5m\" }}\ngrace = \"soon\"\n"), "line 4, [[monitor]] grace", "soon"),
        (monitor, "line 1, [[monitor]] schedule", "missing"),
        // A cron expression that never fires (S2.7).
        (
            &format!("{monitor}schedule = {{ cron = \"0 0 31 2 *\", timezone = \"UTC\" }}\n"),
            "line 3, [[monitor]] schedule",
            "0 0 31 2 *",
        ),
        // Channels.
        (&format!("{channel}url = \"not a url\"\n"), "line 4, [[channel]] url", ""),
        ("[[channel]]\nname = \"ops\"\nkind = \"pager\"\n", "line 3, [[channel]] kind", "there are webhook, email"),
        (
            &format!("{monitor}schedule = {{ every = \"5m\" }}\nchannels = [\n  \"ops\",\n]\n"),
            "line 5, [[monitor]] channels.0",
            "there is no channel `ops`",
        ),
        ("[self]\nchannels = [\"ops\"]\n", "line 2, [self] channels.0", "there is no channel `ops`"),
        (
            &format!("{channel}url = \"https://example.org/\"\nfallback = \"mail\"\n"),
            "line 5, [[channel]] fallback",
            "there is no channel `mail`",
        ),
        (&format!("{channel}url = \"https://example.org/\"\nbrust = 5\n"), "line 5, [[channel]] brust", "`burst`"),
        // What monitors depend on.
        (
            &format!("{monitor}schedule = {{ every = \"5m\" }}\ndepends_on = [\"b\"]\n"),
            "line 4, [[monitor]] depends_on.0",
            "there is no monitor `b`; declare it",
        ),
        (
            &format!(
                "{monitor}schedule = {{ every = \"5m\" }}\ndepends_on = [\"b\"]\n\
                 [[monitor]]\nslug = \"b\"\nschedule = {{ every = \"5m\" }}\ndepends_on = [\"a\"]\n"
            ),
            "line 4, [[monitor]] depends_on.0",
            "depends on itself: `a` on `b` on `a` (and 1 more)",
        ),
        (
            &format!("{monitor}schedule = {{ every = \"5m\" }}\nflap_limit = {{ incidents = 1, within = \"1h\" }}\n"),
            "line 4, [[monitor]] flap_limit.incidents",
            "2 to 100",
        ),
        // Maintenance windows and routes.
        ("[[maintenance]]\nname = \"w\"\nall = true\nfor = \"1h\"\n", "line 1, [[maintenance]] from", "is missing"),
        (
            "[[maintenance]]\nname = \"w\"\nall = true\nschedule = { every = \"1h\" }\nlength = \"5m\"\n",
            "line 4, [[maintenance]] schedule.every",
            "times of the day",
        ),
        (
            "[[maintenance]]\nname = \"w\"\nmonitors = [\"lost\"]\nschedule = { at = [\"22:00\"] }\nlength = \"5m\"\n",
            "line 3, [[maintenance]] monitors.0",
            "there is no monitor `lost`",
        ),
        ("[[maintenance]]\nname = \"w\"\nfrom = 2026-11-20T22:00:00\n", "line 3, [[maintenance]] from", "offset"),
        ("[[route]]\nname = \"r\"\n", "line 1, [[route]] channels", "is missing"),
        (
            "[[route]]\nname = \"r\"\nchannels = [\"ops\"]\n",
            "line 3, [[route]] channels.0",
            "there is no channel `ops`",
        ),
        (
            &format!(
                "{channel}url = \"https://example.org/\"\n[[route]]\nname = \"r\"\nchannels = [\"ops\"]\nafter = \"x\"\n"
            ),
            "line 8, [[route]] after",
            "duration",
        ),
        // The same name twice.
        (
            &format!("{monitor}schedule = {{ every = \"5m\" }}\n{monitor}schedule = {{ every = \"5m\" }}\n"),
            "line 5, [[monitor]] slug",
            "declared already, on line 1",
        ),
    ] {
        let message = refused(text).await;
        assert!(message.starts_with(&format!("error: heartbeat.toml, {place}")), "{text}\n{message}");
        assert!(message.contains(part), "{text}\n{message}");
    }
}

#[tokio::test]
async fn a_channel_may_be_in_the_store_but_must_be_somewhere() {
    let folder = folder();
    let arguments = ["--config", "heartbeat.toml"];
    settings(folder.path(), "");
    let server = support::Server::start(folder.path(), &arguments).await;
    let channel = serde_json::json!({"kind": "webhook", "url": "https://example.org/hook"});
    let made = server.api("PUT", "/api/channels/stored", Some(channel)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    server.stop().await;

    let monitor = "[[monitor]]\nslug = \"a\"\nschedule = { every = \"5m\" }\n";
    settings(folder.path(), &format!("{monitor}channels = [\"stored\"]\n"));
    let server = support::Server::start(folder.path(), &arguments).await;
    assert_eq!(server.look("/api/monitors/a").await["channels"], serde_json::json!(["stored"]));
    server.stop().await;

    settings(folder.path(), &format!("{monitor}channels = [\"stored\", \"lost\"]\n"));
    let mut process = command(folder.path());
    let process = process.args(arguments).args(["--listen", "127.0.0.1:0"]).env("HEARTBEAT_LOG", "off");
    let (code, message) = run_to_end(process).await;
    assert_eq!(code, 2);
    let place = "error: heartbeat.toml, line 4, [[monitor]] channels.1: there is no channel `lost`";
    assert!(message.starts_with(place), "{message}");
}

#[tokio::test]
async fn names_the_variable_or_flag() {
    let folder = folder();
    for (variable, value) in [
        ("HEARTBEAT_ADMIN_KEY", "too-short"),
        ("HEARTBEAT_LISTEN", "nowhere"),
        ("HEARTBEAT_STORAGE", "rediss://user:secret@example.org/first"),
        ("HEARTBEAT_PUBLIC_URL", "example.org"),
    ] {
        let (code, message) = run_to_end(command(folder.path()).env(variable, value)).await;
        assert_eq!(code, 2, "{message}");
        assert!(message.starts_with(&format!("error: {variable}: ")), "{message}");
        assert!(!message.contains("secret") && !message.contains("too-short"), "{message}");
    }
    let (code, message) = run_to_end(command(folder.path()).args(["--storage", "disk"])).await;
    assert!(code == 2 && message.starts_with("error: --storage: `disk`"), "{message}");
    let (code, message) = run_to_end(command(folder.path()).args(["--config", "missing.toml"])).await;
    assert!(code == 2 && message.starts_with("error: missing.toml: cannot be read: "), "{message}");
    let (code, _) = run_to_end(command(folder.path()).arg("--frobnicate")).await;
    assert_eq!(code, 2);
}
