//! Two hours of an operator's life, told on virtual time over a real database, a real mail relay and a real webhook.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, reason = "a part of it is used here")]
#[path = "../../notify-email/tests/support/smtp.rs"]
mod smtp;
mod story;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use heartbeat_engine::{
    Clock, DeliveryState, Engine, Filter, HistoryItem, HistoryQuery, MonitorSpec, Ping, PutMode, Schedule, Signal,
    StatusWord, Timestamp,
};
use heartbeat_notify_email::EmailNotifier;
use heartbeat_notify_webhook::WebhookNotifier;
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};
use serde_json::Value;
use story::{Story, records};
use tokio::net::TcpListener;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const JOBS: u32 = 1_000;
/// Those that die while nobody watches.
const DEAD: [u32; 3] = [17, 333, 998];

/// A real webhook receiver: what came, and at which instant of the story.
#[derive(Clone, Default)]
struct Hook {
    received: Arc<Mutex<Vec<(Timestamp, Value)>>>,
}

impl Hook {
    async fn listen(&self, clock: impl Clock + Clone) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received = self.received.clone();
        let take = move |body: Bytes| {
            received.lock().unwrap().push((clock.now(), serde_json::from_slice(&body).unwrap()));
            async {}
        };
        tokio::spawn(axum::serve(listener, Router::new().fallback(take)).into_future());
        url
    }

    fn of_type(&self, kind: &str) -> Vec<(Timestamp, Value)> {
        self.received.lock().unwrap().iter().filter(|(_, message)| message["type"] == kind).cloned().collect()
    }
}

fn slug_of(message: &Value) -> String {
    message["data"]["monitor"]["slug"].as_str().unwrap().to_owned()
}

fn header(mail: &smtp::Mail, name: &str) -> String {
    mail.content.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
}

async fn watch(story: &Story, file: &Path, hook: &str) -> Engine {
    let storage = SqliteStorage::open(file, SqliteOptions::new()).unwrap();
    let notifier = WebhookNotifier::builder(hook).allow_private(true).build().unwrap();
    Engine::builder(storage).clock(story.clock.clone()).notifier("hook", story.channel(notifier)).spawn().await.unwrap()
}

/// The job reports every hour, each in a second of its own.
fn job(n: u32) -> String {
    format!("job-{n}")
}

async fn report(engine: &Engine, n: u32) {
    engine.ping(job(n).as_str(), Ping::new(Signal::Success)).await.unwrap();
}

/// An hour in which each of these jobs reports once, at its own second.
async fn an_hour_of_reports(story: &Story, engine: &Engine, from: Timestamp, jobs: impl Iterator<Item = u32>) {
    for n in jobs {
        story.pass_until(engine, from + Duration::from_millis(u64::from(n) * 3_600)).await;
        report(engine, n).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_watcher_is_stopped_for_two_hours_and_nobody_is_alarmed_but_for_the_three_that_stopped() {
    let story = Story::begin("2026-11-20T08:00:00Z");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("heartbeat.db");
    let hook = Hook::default();
    let url = hook.listen(story.clock.clone()).await;

    // At eight a thousand jobs are made that report once an hour, with ten minutes of grace; all of them do.
    let first = watch(&story, &file, &url).await;
    let wishes = (0..JOBS).map(|n| {
        let mut spec = MonitorSpec::new(job(n), Schedule::every(HOUR).unwrap());
        spec.grace = heartbeat_engine::Grace::Fixed(10 * MINUTE);
        spec.channels = vec!["hook".to_owned()];
        (spec, PutMode::Upsert)
    });
    assert!(first.put_many(wishes).await.iter().all(Result::is_ok));
    an_hour_of_reports(&story, &first, story.now(), 0..JOBS).await;

    // At nine the watcher is stopped for two hours. The jobs go on, and what they report is lost. Three of them die.
    let stopped_at = story.now();
    first.shutdown(MINUTE).await.unwrap();
    drop(first);
    story.nobody_watches(2 * HOUR).await;
    let back_at = story.now();
    let engine = watch(&story, &file, &url).await;

    // One message tells of the absence, and nothing else is told.
    story.until("the absence is told", || !hook.of_type("watcher.outage").is_empty()).await;
    // From now on the healthy ones report again, each at its own second.
    an_hour_of_reports(&story, &engine, back_at, (0..JOBS).filter(|n| !DEAD.contains(n))).await;
    assert_eq!(hook.received.lock().unwrap().len(), 1, "no monitor alerts: {:?}", hook.received.lock().unwrap());
    let (_, absence) = hook.of_type("watcher.outage").remove(0);
    let text = absence["data"]["message"].as_str().unwrap();
    assert!(text.contains("1000 monitors") && text.contains(&stopped_at.to_string()[..16]), "{text}");

    // The next deadline of those that are silent is one period and grace after the return (S6.2): there they are found.
    let deadline = back_at + HOUR + 10 * MINUTE;
    story.pass_until(&engine, deadline).await;
    assert!(hook.of_type("monitor.down").is_empty(), "nobody is down before the deadline has passed");
    let next_hour = back_at + 2 * HOUR;
    for n in (0..JOBS).filter(|n| !DEAD.contains(n)) {
        report(&engine, n).await;
    }
    story.pass_until(&engine, deadline + Duration::from_millis(1)).await;
    story.until("the three are told", || hook.of_type("monitor.down").len() == DEAD.len()).await;
    story.pass_until(&engine, next_hour).await;

    let down = hook.of_type("monitor.down");
    let found: HashSet<String> = down.iter().map(|(_, message)| slug_of(message)).collect();
    assert_eq!((down.len(), found), (DEAD.len(), DEAD.into_iter().map(job).collect()));
    for (told_at, message) in &down {
        assert_eq!(message["data"]["incident"]["opened_at"].as_str().unwrap(), deadline.to_string());
        assert!(told_at.since(deadline) <= Duration::from_millis(10), "told at {told_at}, deadline {deadline} (S8.5)");
    }
    assert_eq!(hook.received.lock().unwrap().len(), 1 + DEAD.len());
    let healthy = engine.list(&Filter { status: Some(StatusWord::Up), ..Filter::default() }, usize::MAX).items.len();
    assert_eq!(healthy, JOBS as usize - DEAD.len());
    engine.shutdown(MINUTE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_mail_relay_refuses_for_an_hour_while_the_webhook_is_prompt_and_then_each_mail_comes_once() {
    let story = Story::begin("2026-11-20T12:00:00Z");
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::default();
    let url = hook.listen(story.clock.clone()).await;
    // Nothing listens at the relay's address: connections are refused.
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mail = EmailNotifier::builder(format!("smtp://{relay}"))
        .from("Heartbeat <heartbeat@example.org>")
        .to("ops@example.org")
        .allow_private(true)
        .build()
        .unwrap();
    let engine =
        Engine::builder(SqliteStorage::open(folder.path().join("heartbeat.db"), SqliteOptions::new()).unwrap())
            .clock(story.clock.clone())
            .notifier("hook", WebhookNotifier::builder(&url).allow_private(true).build().unwrap())
            .notifier("mail", mail)
            .watcher_channels(vec!["hook".to_owned()])
            .spawn()
            .await
            .unwrap();

    // Three jobs fall silent within the hour; one of them comes back in it.
    let slugs = ["backup", "sync", "report"];
    for (slug, minutes) in slugs.into_iter().zip([5, 20, 40]) {
        let mut spec = MonitorSpec::new(slug, Schedule::every(minutes * MINUTE).unwrap());
        spec.grace = heartbeat_engine::Grace::Fixed(MINUTE);
        spec.channels = vec!["hook".to_owned(), "mail".to_owned()];
        engine.put(spec, PutMode::Upsert).await.unwrap();
    }
    let began_at = story.now();
    for (count, minutes) in [6, 21, 41].into_iter().enumerate() {
        let deadline = began_at + minutes * MINUTE;
        story.pass_until(&engine, deadline + Duration::from_millis(1)).await;
        story.until("the webhook is told", || hook.of_type("monitor.down").len() == count + 1).await;
        let (told_at, message) = hook.of_type("monitor.down").remove(count);
        assert_eq!(slug_of(&message), slugs[count]);
        assert!(told_at.since(deadline) <= Duration::from_millis(10), "the webhook is prompt: {told_at}");
    }
    engine.ping("backup", Ping::new(Signal::Success)).await.unwrap();
    story.until("the webhook hears of the recovery", || !hook.of_type("monitor.recovered").is_empty()).await;
    // From then on the job reports, and the relay refuses on.
    story.pass_until(&engine, began_at + 45 * MINUTE).await;
    engine.pause("backup", true).await.unwrap();
    story.pass_until(&engine, began_at + HOUR).await;
    let failing = hook.of_type("channel.failing");
    assert_eq!(failing.len(), 1, "after five minutes that is told once, by the channel that works (S7.4): {failing:?}");

    // The relay is back at the same address.
    let relay = smtp::Sink::listen(&relay.to_string(), smtp::Options::default()).await.unwrap();
    story.pass_until(&engine, began_at + HOUR + 10 * MINUTE).await;
    story.until("the mails arrive", || relay.mails().len() >= 4).await;
    story.pass_until(&engine, began_at + 2 * HOUR).await;

    let mails = relay.mails();
    let subjects: Vec<String> = mails.iter().map(|mail| header(mail, "Subject: ")).collect();
    assert_eq!(mails.len(), 4, "each once: {subjects:?}");
    let ids: HashSet<String> = mails.iter().map(|mail| header(mail, "Message-ID: ")).collect();
    assert_eq!(ids.len(), 4, "no mail came twice");
    let of_backup: Vec<_> = subjects.iter().filter(|subject| subject.contains("backup")).collect();
    assert!(of_backup[0].contains("down") && !of_backup[1].contains("down"), "in order: {of_backup:?}");
    // Nothing is left over: whatever was owed is delivered.
    let owed =
        engine.history(&HistoryQuery::Notifications { state: None, incident: None, before: None }, 100).await.unwrap();
    for item in owed.items {
        let HistoryItem::Notification(entry) = item else { panic!("{item:?}") };
        assert_eq!(entry.delivery.state, DeliveryState::Delivered, "{entry:?}");
    }
    assert!(records(&engine).len() == 3 && engine.metrics().dead == 0);
    engine.shutdown(MINUTE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn s7_4_case_31_a_login_is_refused_for_an_hour_and_then_each_mail_comes_once() {
    let story = Story::begin("2026-11-20T12:00:00Z");
    let folder = tempfile::tempdir().unwrap();
    // Somebody changes the password, and tells the relay an hour later than us.
    let options = smtp::Options {
        login: Some(("heartbeat".to_owned(), "new".to_owned())),
        mechanisms: "PLAIN",
        ..smtp::Options::default()
    };
    let relay = smtp::Sink::listen("127.0.0.1:0", options).await.unwrap();
    relay.answer("AUTH", smtp::Answer::Say("535 5.7.8 wrong user or password".to_owned()));
    let mail = EmailNotifier::builder(format!("smtp://heartbeat:new@{}", relay.address()))
        .from("Heartbeat <heartbeat@example.org>")
        .to("ops@example.org")
        .allow_private(true)
        .build()
        .unwrap();
    let storage = SqliteStorage::open(folder.path().join("heartbeat.db"), SqliteOptions::new()).unwrap();
    let engine = Engine::builder(storage)
        .clock(story.clock.clone())
        .notifier("mail", story.channel(mail))
        .spawn()
        .await
        .unwrap();
    for (slug, minutes) in [("backup", 5), ("sync", 20)] {
        let mut spec = MonitorSpec::new(slug, Schedule::every(minutes * MINUTE).unwrap());
        spec.grace = heartbeat_engine::Grace::Fixed(MINUTE);
        spec.channels = vec!["mail".to_owned()];
        engine.put(spec, PutMode::Upsert).await.unwrap();
    }

    let began_at = story.now();
    story.pass_until(&engine, began_at + 10 * MINUTE).await;
    engine.ping("backup", Ping::new(Signal::Success)).await.unwrap();
    engine.pause("backup", true).await.unwrap();
    story.pass_until(&engine, began_at + HOUR).await;
    assert!(relay.mails().is_empty() && relay.commands().iter().any(|line| line.starts_with("AUTH")));
    assert_eq!(engine.metrics().dead, 0, "somebody will mend it");

    relay.behave();
    story.pass_until(&engine, began_at + HOUR + 10 * MINUTE).await;
    let mails = relay.mails();
    let subjects: Vec<String> = mails.iter().map(|mail| header(mail, "Subject: ")).collect();
    assert_eq!(mails.len(), 3, "each once: {subjects:?}");
    let ids: HashSet<String> = mails.iter().map(|mail| header(mail, "Message-ID: ")).collect();
    assert_eq!(ids.len(), 3, "no mail came twice");
    let of_backup: Vec<_> = subjects.iter().filter(|subject| subject.contains("backup")).collect();
    assert!(of_backup[0].contains("[down]") && of_backup[1].contains("[up]"), "in order: {of_backup:?}");
    engine.shutdown(MINUTE).await.unwrap();
}
