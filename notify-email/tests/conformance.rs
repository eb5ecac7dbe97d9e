//! The promises of a notifier, kept towards a real mail server.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod support;

use std::sync::Arc;

use heartbeat_engine::NotificationId;
use heartbeat_engine::testing::{Behaviour, FarEnd, NotifierHarness};
use heartbeat_notify_email::EmailNotifier;
use support::parse::Parsed;
use support::sink;
use support::smtp::{Answer, Mail, ON_CONTENT, Options, Sink};

const USER: &str = "ops";
const PASSWORD: &str = "hunter2";
/// `\0ops\0hunter2`, as AUTH PLAIN sends it, and the password as LOGIN does.
const SENT: [&str; 2] = ["AG9wcwBodW50ZXIy", "aHVudGVyMg=="];

/// Where in the dialogue the server misbehaves.
#[derive(Clone, Copy)]
enum Step {
    /// Before the content: at the recipient, or at the first command where it says nothing at all.
    Envelope,
    /// After the content.
    Content,
}

struct Relay {
    sink: Sink,
    step: Step,
}

impl FarEnd for Relay {
    fn behave(&self, behaviour: Behaviour) {
        let (first, judged) = match self.step {
            Step::Envelope => ("MAIL", "RCPT"),
            Step::Content => (ON_CONTENT, ON_CONTENT),
        };
        let say = |code: &str| Answer::Say(format!("{code} for {USER} {PASSWORD} {} {}", SENT[0], SENT[1]));
        self.sink.behave();
        match behaviour {
            Behaviour::Accept => {}
            Behaviour::Refuse => self.sink.answer(judged, say("550 5.1.1 no")),
            Behaviour::Fail => self.sink.answer(judged, say("451 4.3.0 later")),
            Behaviour::Hang => self.sink.answer(first, Answer::Hang),
            Behaviour::Disconnect => self.sink.answer(first, Answer::Close),
            other => panic!("{other:?} is new"),
        }
    }

    fn taken(&self) -> Vec<NotificationId> {
        self.sink.mails().iter().map(id).collect()
    }

    fn attempts(&self) -> usize {
        match self.step {
            Step::Envelope => self.sink.commands().iter().filter(|line| line.starts_with("MAIL")).count(),
            Step::Content => self.sink.contents(),
        }
    }
}

/// The id of a mail: what stands before the `@` of its `Message-ID`.
fn id(mail: &Mail) -> NotificationId {
    let header = Parsed::of(&mail.content).header("message-id");
    header.trim_start_matches('<').split('@').next().unwrap().parse().unwrap()
}

struct Harness(Step);

impl NotifierHarness for Harness {
    type Notifier = EmailNotifier;
    type FarEnd = Relay;

    async fn start(&self) -> (Arc<EmailNotifier>, Relay) {
        let login = Some((USER.to_owned(), PASSWORD.to_owned()));
        let sink = sink(Options { login, mechanisms: "PLAIN", ..Options::default() }).await;
        let builder = EmailNotifier::builder(format!("smtp://{USER}:{PASSWORD}@{}", sink.address()));
        let mail = builder.from("Heartbeat <heartbeat@example.org>").to("ops@example.org").build().unwrap();
        (Arc::new(mail), Relay { sink, step: self.0 })
    }

    fn secrets(&self) -> Vec<String> {
        [PASSWORD, SENT[0], SENT[1]].map(str::to_owned).into()
    }
}

mod trouble_before_the_content {
    heartbeat_engine::notifier_suite!(super::Harness(super::Step::Envelope));
}

mod trouble_after_the_content {
    heartbeat_engine::notifier_suite!(super::Harness(super::Step::Content));
}
