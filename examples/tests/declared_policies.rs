//! Maintenance windows, routes and dependencies that a settings file declares.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use support::{Server, command, folder, run_to_end, settings};

const CHANNEL: &str = "[[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"https://example.org/h\"\n";

fn monitor(slug: &str, depends_on: &str) -> String {
    format!("[[monitor]]\nslug = \"{slug}\"\nschedule = {{ every = \"1h\" }}\ndepends_on = [{depends_on}]\n")
}

#[tokio::test]
async fn they_are_made_updated_kept_and_released() {
    let folder = folder();
    let arguments = ["--config", "heartbeat.toml"];
    let declare = |after: &str, length: &str, more: &str| {
        let policies = format!(
            "[[route]]\nname = \"night\"\nchannels = [\"ops\"]\nafter = \"{after}\"\n\
             [[maintenance]]\nname = \"weekly\"\nmonitors = [\"a\"]\nschedule = {{ at = [\"22:00\"], days = [\"sun\"] }}\n\
             length = \"{length}\"\n{more}"
        );
        settings(folder.path(), &format!("{CHANNEL}{}{policies}", monitor("a", "")));
    };
    declare("10m", "2h", "[[maintenance]]\nname = \"past\"\nall = true\nfrom = 2020-01-01T00:00:00Z\nfor = \"1h\"\n");
    let first = Server::start(folder.path(), &arguments).await;
    let window = first.look("/api/maintenance/weekly").await;
    assert_eq!((&window["title"], &window["declared_in"]), (&json!("weekly"), &json!("heartbeat.toml")), "{window}");
    assert_eq!((&window["length"], &window["monitors_covered"]), (&json!("2h"), &json!(1)));
    assert_eq!(first.look("/api/maintenance/past").await["status"], "over");
    let wish = json!({"all": true, "for": "1h"});
    for (method, path, body) in [
        ("PUT", "/api/maintenance/weekly", Some(wish)),
        ("DELETE", "/api/maintenance/weekly", None),
        ("PUT", "/api/routes/night", Some(json!({"channels": ["ops"]}))),
        ("DELETE", "/api/routes/night", None),
    ] {
        let refused = first.api(method, path, body).await;
        assert_eq!(refused.status, 409, "{}", refused.text);
        assert!(refused.text.contains("heartbeat.toml"), "{}", refused.text);
    }
    first.stop().await;

    declare("20m", "3h", "");
    let second = Server::start(folder.path(), &arguments).await;
    assert_eq!(second.look("/api/maintenance/weekly").await["length"], "3h");
    assert_eq!(second.look("/api/routes/night").await["after"], "20m");
    let past = second.api("GET", "/api/maintenance/past", None).await;
    assert_eq!(past.status, 404, "one that explains nothing any more goes when no file declares it");
    second.stop().await;

    settings(folder.path(), CHANNEL);
    let third = Server::start(folder.path(), &arguments).await;
    assert_eq!(third.look("/api/routes/night").await["declared_in"], json!(null), "no file declares it any more");
    assert_eq!(third.api("DELETE", "/api/routes/night", None).await.status, 204);
    assert_eq!(third.look("/api/maintenance/weekly").await["declared_in"], json!(null));
    assert_eq!(third.api("PUT", "/api/monitors/a", Some(json!({"schedule": {"every": "2h"}}))).await.status, 200);
    third.stop().await;
}

#[tokio::test]
async fn monitors_may_depend_on_ones_declared_further_down() {
    let folder = folder();
    let arguments = ["--config", "heartbeat.toml"];
    settings(
        folder.path(),
        &[monitor("leaf", "\"branch\""), monitor("branch", "\"root\""), monitor("root", "")].concat(),
    );
    let first = Server::start(folder.path(), &arguments).await;
    let leaf = first.look("/api/monitors/leaf").await;
    assert_eq!(leaf["depends_on"], json!(["branch"]));
    assert_eq!(first.look("/api/monitors/branch").await["depends_on"], json!(["root"]));
    first.stop().await;

    let again = Server::start(folder.path(), &arguments).await;
    assert_eq!(again.look("/api/monitors/leaf").await["version"], leaf["version"], "an unchanged one is untouched");
    again.stop().await;

    // The other way round: on the way there is no circle.
    settings(
        folder.path(),
        &[monitor("leaf", ""), monitor("branch", "\"leaf\""), monitor("root", "\"branch\"")].concat(),
    );
    let turned = Server::start(folder.path(), &arguments).await;
    assert_eq!(turned.look("/api/monitors/root").await["depends_on"], json!(["branch"]));
    assert_eq!(turned.look("/api/monitors/leaf").await["depends_on"], json!([]));
    turned.stop().await;
}

#[tokio::test]
async fn a_circle_by_way_of_the_store_is_refused_with_its_place() {
    let folder = folder();
    let arguments = ["--config", "heartbeat.toml"];
    settings(folder.path(), &monitor("a", ""));
    let first = Server::start(folder.path(), &arguments).await;
    let stored = json!({"schedule": {"every": "1h"}, "depends_on": ["a"]});
    assert_eq!(first.api("PUT", "/api/monitors/stored", Some(stored)).await.status, 201);
    first.stop().await;

    settings(folder.path(), &monitor("a", "\"stored\""));
    let check = command(folder.path()).args(arguments).arg("--check").output().await.expect("it runs");
    let note = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(
        check.status.success() && note.contains("monitor `stored` is not declared; it must be in the store"),
        "{note}"
    );
    let mut process = command(folder.path());
    let process = process.args(arguments).args(["--listen", "127.0.0.1:0"]).env("HEARTBEAT_LOG", "off");
    let (code, message) = run_to_end(process).await;
    assert_eq!(code, 2, "{message}");
    assert!(message.starts_with("error: heartbeat.toml, line 4, [[monitor]] depends_on.0: "), "{message}");
}

#[tokio::test]
async fn the_limit_of_bodies_is_set_in_the_file() {
    let folder = folder();
    settings(folder.path(), &format!("ping_body_limit = 5\n{}", monitor("a", "")));
    let server = Server::start(folder.path(), &["--config", "heartbeat.toml"]).await;
    let token = server.token("a").await;
    let request = server.request("POST", &format!("/ping/{token}")).body("more than five");
    assert_eq!(server.send(request).await.status, 200);
    assert_eq!(server.api("GET", "/api/monitors/a/pings/1/body", None).await.text, "more ");
    server.stop().await;
}

#[tokio::test]
async fn a_window_that_covers_every_occurrence_of_a_monitor_is_told_with_a_warning() {
    let folder = folder();
    let job = |slug: &str, hour: u32| {
        format!("[[monitor]]\nslug = \"{slug}\"\nschedule = {{ at = [\"{hour:02}:30\"] }}\ntags = [\"{slug}\"]\n")
    };
    let window = "[[maintenance]]\nname = \"night\"\ntags = [\"nightly\", \"daily\"]\n\
                  schedule = { at = [\"02:00\"] }\nlength = \"2h\"\n";
    settings(folder.path(), &[job("nightly", 2), job("daily", 12), job("other", 2), window.to_owned()].concat());
    let arguments = ["--config", "heartbeat.toml", "--check"];
    let check = command(folder.path()).args(arguments).output().await.expect("it runs");
    let told = String::from_utf8_lossy(&check.stderr).into_owned();
    let warning = "warning: heartbeat.toml, line 13, [[maintenance]]: covers every occurrence of `nightly`: its silence is never found\n";
    assert_eq!((check.status.code(), told.as_str()), (Some(0), warning));
}
