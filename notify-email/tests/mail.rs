//! What a mail says, and how it travels: plain, STARTTLS, TLS, with a login.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod support;

use heartbeat_engine::{DeliveryError, DigestItem, NotificationKind, Notifier, StatusWord};
use heartbeat_notify_email::{EmailBuilder, EmailNotifier};
use support::parse::Parsed;
use support::smtp::{Answer, Options, Sink};
use support::{attempt, digest, notification, now, sink, tls};

fn to_ops(url: String) -> EmailBuilder {
    EmailNotifier::builder(url).from("Heartbeat <heartbeat@example.org>").to("Öps <ops@example.org>")
}

fn url(scheme: &str, sink: &Sink) -> String {
    format!("{scheme}://{}", sink.address())
}

#[tokio::test]
async fn a_mail_tells_what_happened() {
    let sink = sink(Options::default()).await;
    let owed = notification();
    let mail = to_ops(url("smtp", &sink)).build().unwrap();
    let receipt = mail.deliver(&owed, attempt()).await.unwrap();
    assert_eq!(receipt.answer.as_deref(), Some("250 2.0.0 queued"));

    let mails = sink.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(
        (mails[0].from.as_str(), mails[0].to.as_slice()),
        ("heartbeat@example.org", &["ops@example.org".to_owned()][..])
    );
    let parsed = Parsed::of(&mails[0].content);
    assert_eq!(parsed.header("subject"), "[down] cert-sync: no heartbeat since 06:05, expected every 2 h");
    assert_eq!(parsed.header("message-id"), format!("<{}@example.org>", owed.id));
    assert_eq!(parsed.header("date"), "Fri, 20 Nov 2026 08:10:01 +0000");
    assert_eq!(parsed.header("auto-submitted"), "auto-generated");
    assert_eq!(parsed.header("from"), "Heartbeat <heartbeat@example.org>");
    assert_eq!(parsed.header("to"), "Öps <ops@example.org>");

    let parts = parsed.parts();
    assert!(parts[0].header("content-type").starts_with("text/plain"));
    assert!(parts[1].header("content-type").starts_with("text/html"));
    let (plain, html) = (parts[0].text(), parts[1].text());
    for words in [
        "cert-sync is down: no heartbeat since 06:05, expected every 2 h",
        "missed: expected 08:05, grace 5 min",
        "2026-11-20 08:10:00 UTC",
        "success at 2026-11-20 06:05:00 UTC",
        "critical",
        "1 min 30 s",
        &owed.id.to_string(),
    ] {
        assert!(plain.contains(words), "{words} is not in {plain}");
        assert!(html.contains(words), "{words} is not in {html}");
    }
    assert!(plain.contains("zertifikate für <example.org> erneuert . end"), "{plain}");
    assert!(html.contains("zertifikate für &lt;example.org&gt; erneuert"), "{html}");
    assert!(html.contains("cert, &lt;b&gt;") && !html.contains("<b>"), "{html}");
}

#[tokio::test]
async fn what_follows_a_going_down_has_words_and_colours_of_its_own() {
    let sink = sink(Options::default()).await;
    let mail = to_ops(url("smtp", &sink)).build().unwrap();
    let cases = [
        (NotificationKind::Reminder, "is still down after 3 h: the job failed", "reminder", "#b91c1c"),
        (NotificationKind::Escalated, "is still down after 3 h and nobody has acknowledged it", "escalated", "#b91c1c"),
        (NotificationKind::Flapping, "is flapping: it went down 5 times within 1 h", "flapping", "#b45309"),
        (NotificationKind::Settled, "is not flapping any more: it is up since 08:00", "settled", "#374151"),
    ];
    for (kind, told, _, _) in &cases {
        let mut owed = notification();
        (owed.kind, owed.message) = (*kind, format!("cert-sync {told}"));
        mail.deliver(&owed, attempt()).await.unwrap();
    }
    for ((_, told, word, colour), mail) in cases.iter().zip(sink.mails()) {
        let parsed = Parsed::of(&mail.content);
        let subject = format!("[{word}] cert-sync {told}").replace(" is flapping: ", ": ");
        assert_eq!(parsed.header("subject"), subject, "what the word says is not said again");
        assert!(!parsed.header("references").is_empty(), "it is in the thread of its incident");
        let html = parsed.parts()[1].text();
        assert!(html.contains(&format!("background:{colour}")) && html.contains(&word.to_uppercase()), "{html}");
    }

    let mut grouped = digest(12, 12);
    let items = &mut grouped.digest.as_mut().unwrap().items;
    items.iter_mut().for_each(|item| item.kind = NotificationKind::Settled);
    items[3].kind = NotificationKind::Flapping;
    grouped.message = "12 messages: 1 monitor.flapping, 11 monitor.settled".to_owned();
    mail.deliver(&grouped, attempt()).await.unwrap();
    let parsed = Parsed::of(&sink.mails()[4].content);
    assert_eq!(parsed.header("subject"), "[digest] 12 messages: 1 flapping, 11 settled");
    assert!(parsed.parts()[1].text().contains("background:#b45309"), "the gravest of them");
}

#[tokio::test]
async fn a_digest_has_a_row_for_each_message() {
    let sink = sink(Options::default()).await;
    let mail = to_ops(url("smtp", &sink)).build().unwrap();
    let mut owed = digest(12, 12);
    let watcher = DigestItem {
        kind: NotificationKind::WatcherOutage,
        monitor: None,
        incident: None,
        message: "the watcher was away for 10 min".to_owned(),
    };
    owed.digest.as_mut().unwrap().items[11] = watcher;
    mail.deliver(&owed, attempt()).await.unwrap();
    mail.deliver(&digest(300, 200), attempt()).await.unwrap();

    let [all, cut] = [0, 1].map(|i| Parsed::of(&sink.mails()[i].content));
    assert_eq!(all.header("subject"), "[digest] 12 messages: 8 down, 4 up");
    assert_eq!(all.header("references"), "", "it belongs to no single incident");
    let (plain, html) = (all.parts()[0].text(), all.parts()[1].text());
    let head = "12 messages: 8 down, 4 up\n\n\
                down            job <0>   no heartbeat since 06:05, expected every 2 h\n\
                down            job <1>   no heartbeat since 06:05, expected every 2 h\n\
                up              job <2>   up again after 5 min\n";
    assert!(plain.starts_with(head), "{plain}");
    assert!(plain.contains("\nwatcher outage  the watcher was away for 10 min\n\n-- \nHeartbeat"), "{plain}");
    assert!(!plain.contains("more") && !plain.contains("list says better"), "{plain}");
    let row =
        |text: &str| html.split("<tr>").find(|row| row.contains(text)).unwrap_or_else(|| panic!("{text}: {html}"));
    assert!(row("job &lt;1&gt;").contains(">no heartbeat since 06:05, expected every 2 h<"), "{html}");
    assert!(row("job &lt;1&gt;").contains(">down<") && row("job &lt;2&gt;").contains(">up<"), "{html}");
    assert!(row("the watcher was away").contains(">watcher outage<"), "{html}");
    assert!(!html.contains("job <") && !html.contains("list says better"), "{html}");

    assert_eq!(cut.header("subject"), "[digest] 300 messages: 200 down, 100 up");
    let (plain, html) = (cut.parts()[0].text(), cut.parts()[1].text());
    assert_eq!(plain.lines().filter(|line| line.contains("job <")).count(), 200);
    assert_eq!(html.matches("job &lt;").count(), 200);
    assert!(plain.contains("\nand 100 more\n") && html.contains(">and 100 more<"), "{plain}");
}

#[tokio::test]
async fn the_mails_of_an_incident_make_a_thread() {
    let sink = sink(Options::default()).await;
    let mail = to_ops(url("smtp", &sink)).build().unwrap();
    let down = notification();
    let mut up = notification();
    up.kind = NotificationKind::Recovered;
    up.id = heartbeat_engine::NotificationId::named(&[b"up"]);
    up.message = "cert-sync is up again after 10 min".to_owned();
    up.incident.as_mut().unwrap().closed_at = Some("2026-11-20T08:20:00Z".parse().unwrap());
    up.monitor.as_mut().unwrap().status = StatusWord::Up;
    mail.deliver(&down, attempt()).await.unwrap();
    mail.deliver(&up, attempt()).await.unwrap();

    let [down, up] = [0, 1].map(|i| Parsed::of(&sink.mails()[i].content));
    assert_eq!(up.header("subject"), "[up] cert-sync is up again after 10 min");
    assert_ne!(down.header("message-id"), up.header("message-id"));
    assert_eq!(down.header("references"), up.header("references"));
    assert!(down.header("references").contains("incident-"));
    assert!(up.parts()[0].text().contains("2026-11-20 08:20:00 UTC, after 10 min"));
    assert_eq!(sink.connections(), 1, "the second mail takes the first one's connection");
}

#[tokio::test]
async fn goes_over_tls_from_the_start_with_a_login() {
    let (pem, tls) = tls();
    let login = Some(("ops@example.org".to_owned(), "p:w/ü".to_owned()));
    let sink = sink(Options { tls: Some(tls), implicit_tls: true, login, mechanisms: "PLAIN LOGIN" }).await;
    let url = format!("smtps://ops%40example.org:p%3Aw%2F%C3%BC@{}", sink.address());
    let mail = to_ops(url).root_certificates(pem.as_bytes()).build().unwrap();
    mail.deliver(&notification(), attempt()).await.unwrap();
    let mails = sink.mails();
    assert!(mails[0].encrypted);
    assert_eq!(mails[0].user.as_deref(), Some("ops@example.org"));
}

#[tokio::test]
async fn goes_over_starttls_with_the_login_mechanism() {
    let (pem, tls) = tls();
    let login = Some(("u".to_owned(), "p".to_owned()));
    let sink = sink(Options { tls: Some(tls), implicit_tls: false, login, mechanisms: "LOGIN" }).await;
    for starttls in ["required", "opportunistic"] {
        let url = format!("smtp://u:p@{}?starttls={starttls}", sink.address());
        let mail = to_ops(url).root_certificates(pem.as_bytes()).build().unwrap();
        mail.deliver(&notification(), attempt()).await.unwrap();
    }
    assert!(sink.mails().iter().all(|mail| mail.encrypted && mail.user.is_some()) && sink.mails().len() == 2);
}

#[tokio::test]
async fn without_the_starttls_it_requires_nothing_is_sent() {
    let sink = sink(Options::default()).await;
    let mail = to_ops(format!("smtp://{}?starttls=required", sink.address())).build().unwrap();
    let error = mail.deliver(&notification(), attempt()).await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Retry { reason, .. } if reason.contains("no STARTTLS")), "{error:?}");
    assert!(sink.commands().iter().all(|line| line.starts_with("EHLO") || line.starts_with("QUIT")));

    let mail = to_ops(format!("smtp://{}?starttls=opportunistic", sink.address())).build().unwrap();
    mail.deliver(&notification(), attempt()).await.unwrap();
    assert!(!sink.mails()[0].encrypted);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (_, tls) = tls();
    let sink = sink(Options { tls: Some(tls), implicit_tls: true, ..Options::default() }).await;
    let mail = to_ops(url("smtps", &sink)).build().unwrap();
    let error = mail.deliver(&notification(), attempt()).await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Retry { reason, .. } if reason.contains("certificate")), "{error:?}");
    assert!(sink.mails().is_empty());
}

#[tokio::test]
async fn a_wrong_password_can_be_mended_and_is_not_told() {
    let login = Some(("u".to_owned(), "right".to_owned()));
    let sink = sink(Options { login, mechanisms: "PLAIN", ..Options::default() }).await;
    let mail = to_ops(format!("smtp://u:hunter2@{}", sink.address())).build().unwrap();
    let error = mail.deliver(&notification(), attempt()).await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Retry { reason, .. } if reason.contains("login: 535")), "{error:?}");
    assert!(!format!("{error:?}{mail:?}").contains("hunter2"));

    let anonymous = to_ops(url("smtp", &sink)).build().unwrap();
    let error = anonymous.deliver(&notification(), attempt()).await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Retry { reason, .. } if reason.contains("530")), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced() {
    let sink = sink(Options::default()).await;
    let mail = to_ops(url("smtp", &sink)).build().unwrap();
    mail.deliver(&notification(), attempt()).await.unwrap();
    sink.answer("NOOP", Answer::Close);
    mail.deliver(&notification(), attempt()).await.unwrap();
    assert_eq!((sink.mails().len(), sink.connections()), (2, 2));
    sink.behave();
    sink.answer("NOOP", Answer::Hang);
    mail.deliver(&notification(), attempt()).await.unwrap();
    assert_eq!((sink.mails().len(), sink.connections()), (3, 3));

    sink.behave();
    let later = heartbeat_engine::Attempt::new(1, now() + std::time::Duration::from_secs(60), attempt().timeout);
    mail.deliver(&notification(), later).await.unwrap();
    assert_eq!((sink.mails().len(), sink.connections()), (4, 4), "an old connection is not used again");
}
