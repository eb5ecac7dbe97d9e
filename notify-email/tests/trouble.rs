//! What goes wrong at a relay, and what the outbox is told.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod support;

use std::time::Duration;

use heartbeat_engine::{Attempt, DeliveryError, Notifier};
use heartbeat_notify_email::EmailNotifier;
use support::smtp::{Answer, ON_CONNECT, ON_CONTENT, Options, Sink};
use support::{attempt, notification, now, sink};

fn to(sink: &Sink, names: &[&str]) -> EmailNotifier {
    let mut builder = EmailNotifier::builder(format!("smtp://{}", sink.address())).from("heartbeat@example.org");
    for name in names {
        builder = builder.to(format!("{name}@example.org"));
    }
    builder.build().unwrap()
}

fn say(line: &str) -> Answer {
    Answer::Say(line.to_owned())
}

fn recipients(sink: &Sink) -> Vec<String> {
    sink.mails().into_iter().flat_map(|mail| mail.to).collect()
}

#[tokio::test]
async fn one_refused_recipient_does_not_hold_back_the_others() {
    let sink = sink(Options::default()).await;
    sink.answer("RCPT TO:<gone@", say("550 5.1.1 no such user"));
    let mail = to(&sink, &["first", "gone", "last"]);
    let receipt = mail.deliver(&notification(), attempt()).await.unwrap();
    assert_eq!(receipt.refused_recipients.len(), 1);
    let (recipient, reason) = &receipt.refused_recipients[0];
    assert_eq!(recipient, "gone@example.org");
    assert!(reason.contains("550") && reason.contains("no such user"), "{reason}");
    assert_eq!(recipients(&sink), ["first@example.org", "last@example.org"]);
    assert!(sink.mails().iter().all(|mail| mail.to.len() == 1), "one transaction each");
}

#[tokio::test]
async fn when_all_are_refused_it_is_refused() {
    let sink = sink(Options::default()).await;
    sink.answer("RCPT", say("550 5.1.1 no such user"));
    let error = to(&sink, &["a", "b"]).deliver(&notification(), attempt()).await.unwrap_err();
    let DeliveryError::Refused { reason } = error else { panic!("{error:?}") };
    assert!(reason.contains("a@example.org") && reason.contains("b@example.org"), "{reason}");

    // At the content too: with one recipient to a transaction, it is about that recipient.
    sink.behave();
    sink.answer(ON_CONTENT, say("554 5.7.1 spam"));
    let error = to(&sink, &["a"]).deliver(&notification(), attempt()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_transient_refusal_is_tried_again_for_that_recipient_alone() {
    let sink = sink(Options::default()).await;
    sink.answer("RCPT TO:<busy@", say("451 4.7.1 greylisted"));
    sink.answer("RCPT TO:<gone@", say("550 5.1.1 no such user"));
    let mail = to(&sink, &["first", "gone", "busy", "last"]);
    let error = mail.deliver(&notification(), attempt()).await.unwrap_err();
    let DeliveryError::Retry { reason, recipients_done, .. } = error else { panic!("{error:?}") };
    assert!(reason.contains("greylisted") && reason.contains("gone@example.org"), "{reason}");
    let mut done = recipients_done.clone();
    done.sort();
    assert_eq!(done, ["first@example.org", "gone@example.org", "last@example.org"]);

    sink.behave();
    let second = Attempt::new(2, now(), Duration::from_secs(30)).sparing(&recipients_done);
    mail.deliver(&notification(), second).await.unwrap();
    assert_eq!(recipients(&sink), ["first@example.org", "last@example.org", "busy@example.org"]);

    let all: Vec<_> = ["first", "gone", "busy", "last"].map(|name| format!("{name}@example.org")).into();
    mail.deliver(&notification(), Attempt::new(3, now(), Duration::from_secs(30)).sparing(&all)).await.unwrap();
    assert_eq!(sink.mails().len(), 3, "nobody is left to be told");
}

#[tokio::test]
async fn trouble_before_a_recipient_is_named_is_retried() {
    for (command, answer, words) in [
        (ON_CONNECT, say("554 5.7.1 go away"), "554"),
        (ON_CONNECT, Answer::Close, "no connection"),
        ("EHLO", say("421 4.3.2 closing"), "421"),
        ("MAIL", say("550 5.7.1 sender rejected"), "sender was refused"),
        ("MAIL", say("gibberish"), "sender was refused"),
        ("RCPT", say("530 5.7.0 authentication required"), "530"),
        ("RCPT", Answer::Close, "incomplete"),
        ("DATA", say("451 4.3.0 disk full"), "disk full"),
        (ON_CONTENT, say("452 4.2.2 mailbox full"), "mailbox full"),
    ] {
        let sink = sink(Options::default()).await;
        sink.answer(command, answer);
        let error = to(&sink, &["a", "b"]).deliver(&notification(), attempt()).await.unwrap_err();
        let DeliveryError::Retry { reason, recipients_done, .. } = &error else { panic!("{command}: {error:?}") };
        assert!(reason.contains(words), "{command}: {reason}");
        assert!(recipients_done.is_empty() && sink.mails().is_empty(), "{command}");
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_retried() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = EmailNotifier::builder(format!("smtp://{address}")).from("a@example.org").to("b@example.org");
    let error = gone.build().unwrap().deliver(&notification(), attempt()).await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Retry { reason, .. } if reason.contains("no connection")), "{error:?}");
}

#[tokio::test]
async fn silence_after_the_content_leaves_it_unknown() {
    for answer in [Answer::Hang, Answer::Close] {
        let sink = sink(Options::default()).await;
        sink.answer(ON_CONTENT, answer);
        let short = Attempt::new(1, now(), Duration::from_secs(2));
        let error = to(&sink, &["a"]).deliver(&notification(), short).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Unknown { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_relay_that_hangs_keeps_what_was_done_before() {
    let sink = sink(Options::default()).await;
    sink.answer("RCPT TO:<slow@", Answer::Hang);
    let short = Attempt::new(1, now(), Duration::from_secs(2));
    let error = to(&sink, &["first", "slow", "last"]).deliver(&notification(), short).await.unwrap_err();
    let DeliveryError::Retry { reason, recipients_done, .. } = error else { panic!("{error:?}") };
    assert!(reason.contains("did not answer in time"), "{reason}");
    assert_eq!(recipients_done, ["first@example.org"]);

    sink.behave();
    sink.answer(ON_CONNECT, Answer::Hang);
    let error = to(&sink, &["a"]).deliver(&notification(), short).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Retry { .. }), "{error:?}");
}

#[tokio::test]
async fn an_attempt_that_is_dropped_half_way_spoils_nothing() {
    let sink = sink(Options::default()).await;
    let mail = to(&sink, &["a"]);
    mail.deliver(&notification(), attempt()).await.unwrap();
    sink.answer("DATA", Answer::Hang);
    let owed = notification();
    let dropped = tokio::select! {
        outcome = mail.deliver(&owed, attempt()) => Some(outcome),
        () = async {
            // The first mail's DATA is among the commands already.
            while sink.commands().iter().filter(|line| line.starts_with("DATA")).count() < 2 {
                tokio::task::yield_now().await;
            }
        } => None,
    };
    assert!(dropped.is_none(), "{dropped:?}");
    sink.behave();
    mail.deliver(&owed, attempt()).await.unwrap();
    assert_eq!((sink.mails().len(), sink.connections()), (2, 2));
}
