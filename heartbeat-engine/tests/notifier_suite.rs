//! The suite for notifiers passes one that keeps the promises and finds those that break one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex};
use std::thread;

use async_trait::async_trait;
use heartbeat_engine::testing::{Behaviour, Check, FarEnd, NotifierHarness, notifier_promises, run};
use heartbeat_engine::{Attempt, DeliveryError, Notification, NotificationId, Notifier, Receipt};

/// What a notifier does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    SaysItWasTaken,
    RetriesItself,
    TellsItsSecret,
    TellsItsSecretInReceipts,
    SparesEveryone,
    ChokesOnDigests,
    RefusesWhatMayPass,
    RetriesRefusals,
    GivesNewIds,
    PanicsOnLongTexts,
    LosesWhatComesAtOnce,
    IsStuckAfterADrop,
    GivesItsOwnIds,
    TakesABrokenLineForANo,
}

struct Desk {
    behaviour: Behaviour,
    taken: Vec<NotificationId>,
    attempts: usize,
    busy: bool,
}

/// A far end in the same process: a desk on which deliveries are put.
#[derive(Clone)]
struct Shared(Arc<Mutex<Desk>>);

impl FarEnd for Shared {
    fn behave(&self, behaviour: Behaviour) {
        self.0.lock().unwrap().behaviour = behaviour;
    }

    fn taken(&self) -> Vec<NotificationId> {
        self.0.lock().unwrap().taken.clone()
    }

    fn attempts(&self) -> usize {
        self.0.lock().unwrap().attempts
    }
}

struct Local {
    fault: Fault,
    far_end: Shared,
}

impl Local {
    async fn attempt(&self, id: NotificationId) -> Result<Receipt, DeliveryError> {
        let behaviour = {
            let mut desk = self.far_end.0.lock().unwrap();
            desk.attempts += 1;
            let busy = std::mem::replace(&mut desk.busy, true);
            if busy && self.fault == Fault::IsStuckAfterADrop { Behaviour::Hang } else { desk.behaviour }
        };
        let answer = match behaviour {
            Behaviour::Accept => {
                if self.fault == Fault::LosesWhatComesAtOnce {
                    let before = self.far_end.taken();
                    tokio::task::yield_now().await;
                    self.far_end.0.lock().unwrap().taken = before;
                }
                self.far_end.0.lock().unwrap().taken.push(id);
                Ok(Receipt::default())
            }
            Behaviour::Refuse => Err(DeliveryError::refused("no such recipient")),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Disconnect if self.fault == Fault::TakesABrokenLineForANo => {
                Err(DeliveryError::refused("nobody there"))
            }
            _ => Err(DeliveryError::retry("come back later")),
        };
        self.far_end.0.lock().unwrap().busy = false;
        answer
    }
}

#[async_trait]
impl Notifier for Local {
    async fn deliver(&self, notification: &Notification, attempt: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        assert!(self.fault != Fault::PanicsOnLongTexts || notification.message.len() < 65_536, "too long");
        let mut id = notification.id;
        if self.fault == Fault::GivesNewIds {
            id = NotificationId::named(&[id.as_bytes(), &attempt.number.to_be_bytes()]);
        }
        if self.fault == Fault::GivesItsOwnIds {
            id = NotificationId::named(&[id.as_bytes()]);
        }
        if self.fault == Fault::ChokesOnDigests && notification.digest.is_some() {
            return Err(DeliveryError::refused("too much at once"));
        }
        if self.fault == Fault::SparesEveryone && !attempt.recipients_done.is_empty() {
            return Ok(Receipt::default());
        }
        let first = self.attempt(id).await;
        match (self.fault, first) {
            (Fault::SaysItWasTaken, Err(_)) => Ok(Receipt::default()),
            (Fault::RetriesItself, Err(_)) => self.attempt(id).await,
            (Fault::SparesEveryone, Err(DeliveryError::Retry { reason, after, .. })) => {
                Err(DeliveryError::Retry { reason, after, recipients_done: vec!["everyone".to_owned()] })
            }
            (Fault::TellsItsSecretInReceipts, Ok(receipt)) => {
                Ok(Receipt { answer: Some("welcome, hunter2".to_owned()), ..receipt })
            }
            (Fault::TellsItsSecret, Err(error)) => Err(DeliveryError::refused(format!("{error} for hunter2"))),
            (Fault::RefusesWhatMayPass, Err(error)) => Err(DeliveryError::refused(error.to_string())),
            (Fault::RetriesRefusals, Err(error)) => Err(DeliveryError::retry(error.to_string())),
            (_, answer) => answer,
        }
    }
}

struct Harness(Fault);

impl NotifierHarness for Harness {
    type Notifier = Local;
    type FarEnd = Shared;

    async fn start(&self) -> (Arc<Local>, Shared) {
        let desk = Desk { behaviour: Behaviour::Accept, taken: Vec::new(), attempts: 0, busy: false };
        let far_end = Shared(Arc::new(Mutex::new(desk)));
        (Arc::new(Local { fault: self.0, far_end: far_end.clone() }), far_end)
    }

    fn secrets(&self) -> Vec<String> {
        vec!["hunter2".to_owned()]
    }
}

heartbeat_engine::notifier_suite!(Harness(Fault::None));

#[test]
fn every_fault_is_found_by_the_promise_that_it_breaks() {
    let expected = [
        (Fault::SaysItWasTaken, "a_refusal_is_refused"),
        (Fault::RetriesItself, "one_call_makes_one_attempt"),
        (Fault::TellsItsSecret, "no_outcome_tells_a_secret"),
        (Fault::TellsItsSecretInReceipts, "no_outcome_tells_a_secret"),
        (Fault::SparesEveryone, "trouble_that_passes_is_to_be_retried"),
        (Fault::RefusesWhatMayPass, "trouble_that_passes_is_to_be_retried"),
        (Fault::RetriesRefusals, "a_refusal_is_refused"),
        (Fault::GivesNewIds, "every_attempt_gives_the_same_id"),
        (Fault::PanicsOnLongTexts, "difficult_and_huge_messages_do_no_harm"),
        (Fault::LosesWhatComesAtOnce, "concurrent_deliveries_all_arrive"),
        (Fault::IsStuckAfterADrop, "a_hanging_far_end_is_left_when_the_time_is_over"),
        (Fault::IsStuckAfterADrop, "an_attempt_that_is_dropped_harms_nothing"),
        (Fault::ChokesOnDigests, "every_kind_of_notification_is_delivered"),
        (Fault::GivesItsOwnIds, "what_is_delivered_arrives_under_its_id"),
        (Fault::TakesABrokenLineForANo, "a_broken_connection_is_no_refusal"),
    ];
    let promises = notifier_promises::<Harness>();
    for (promise, _) in &promises {
        assert!(expected.iter().any(|(_, name)| name == promise), "no notifier breaks `{promise}`");
    }
    // Those that hang are found by waiting, so they wait together.
    thread::scope(|scope| {
        let checks = expected.map(|(fault, promise)| {
            let check: Check<Harness> = promises.iter().find(|(name, _)| *name == promise).expect("a promise").1;
            (fault, promise, scope.spawn(move || run(check(&Harness(fault)))))
        });
        for (fault, promise, check) in checks {
            assert!(check.join().is_err(), "{fault:?} breaks `{promise}`, but the suite did not find it");
        }
    });
}
