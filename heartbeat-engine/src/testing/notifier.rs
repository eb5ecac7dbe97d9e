//! The promises of [`Notifier`], each as a check that panics when it is broken.
//!
//! `notifier_suite!(harness)` makes one `#[test]` of each. The harness starts a real far end, such as an HTTP or SMTP server
//! on a free port, whose behaviour the checks choose.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Check;
use super::fixtures::{self, DIFFICULT_TEXT, at, notification, notification_id};
use crate::{Attempt, DeliveryError, Digest, Notification, NotificationId, NotificationKind, Notifier, Receipt};

/// How a far end answers from now on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Behaviour {
    /// It takes everything.
    Accept,
    /// It refuses everything for good: HTTP 400, SMTP 550.
    Refuse,
    /// It has trouble that will pass: HTTP 503, SMTP 451.
    Fail,
    /// It takes the connection and never answers.
    Hang,
    /// It closes the connection instead of answering.
    Disconnect,
}

/// The other side of a notifier, as its test starts it.
pub trait FarEnd: Send + Sync + 'static {
    /// Answers in this way from now on.
    fn behave(&self, behaviour: Behaviour);

    /// What it took, in order: the ids of the notifications, as the notifier gave them. What hangs or breaks off is not
    /// taken.
    fn taken(&self) -> Vec<NotificationId>;

    /// How many deliveries were tried, taken or not; those that hang or break off count too, once they have got far
    /// enough to do so.
    fn attempts(&self) -> usize;
}

/// Starts far ends with notifiers that deliver to them.
pub trait NotifierHarness: Send + Sync {
    /// What is checked.
    type Notifier: Notifier;
    /// What it delivers to.
    type FarEnd: FarEnd;

    /// A far end that accepts everything, of which no other check knows, and its notifier.
    fn start(&self) -> impl Future<Output = (Arc<Self::Notifier>, Self::FarEnd)> + Send;

    /// Secrets in the notifier's settings, in every form in which they go over the wire: none may stand in an error or a
    /// receipt. The check is worth most where the far end's answers say them back.
    fn secrets(&self) -> Vec<String>;
}

/// Every promise of a [`Notifier`] by name, with its check.
#[must_use]
pub fn notifier_promises<H: NotifierHarness>() -> Vec<(&'static str, Check<H>)> {
    macro_rules! table {
        ($(($name:ident))*) => {
            vec![$((stringify!($name), |harness| Box::pin($name(harness)))),*]
        };
    }
    crate::__notifier_promises!([table][])
}

/// Makes one `#[test]` of each promise of a [`Notifier`](crate::Notifier). Its argument is an expression that makes a
/// [`NotifierHarness`](crate::testing::NotifierHarness); each test makes one of its own.
///
/// It wants the feature `testing` of this crate, in a `[dev-dependencies]` section.
#[macro_export]
macro_rules! notifier_suite {
    ($harness:expr) => {
        $crate::__notifier_promises!([$crate::__notifier_test] [$harness;]);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __notifier_test {
    ($harness:expr; $(($name:ident))*) => {
        $(
            #[test]
            fn $name() {
                $crate::testing::run($crate::testing::notifier::$name(&$harness));
            }
        )*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __notifier_promises {
    ([$($callback:tt)*] [$($argument:tt)*]) => {
        $($callback)*! { $($argument)*
            (what_is_delivered_arrives_under_its_id)
            (every_attempt_gives_the_same_id)
            (every_kind_of_notification_is_delivered)
            (difficult_and_huge_messages_do_no_harm)
            (a_refusal_is_refused)
            (trouble_that_passes_is_to_be_retried)
            (a_broken_connection_is_no_refusal)
            (a_hanging_far_end_is_left_when_the_time_is_over)
            (an_attempt_that_is_dropped_harms_nothing)
            (one_call_makes_one_attempt)
            (concurrent_deliveries_all_arrive)
            (no_outcome_tells_a_secret)
        }
    };
}

/// How long an attempt may take where the far end answers.
const PATIENT: Duration = Duration::from_secs(10);
/// How long an attempt may take where it does not.
const IMPATIENT: Duration = Duration::from_millis(300);

/// One attempt as the engine makes it: the future is dropped when its time is over.
async fn attempt(
    notifier: &impl Notifier,
    notification: &Notification,
    timeout: Duration,
) -> Option<Result<Receipt, DeliveryError>> {
    let attempt = Attempt::new(1, at(60), timeout);
    tokio::time::timeout(timeout, notifier.deliver(notification, attempt)).await.ok()
}

async fn delivered(notifier: &impl Notifier, notification: &Notification) {
    match attempt(notifier, notification, PATIENT).await {
        Some(Ok(_)) => (),
        other => panic!("{} must be delivered, not {other:?}", notification.kind),
    }
}

async fn failed(notifier: &impl Notifier, timeout: Duration) -> Option<DeliveryError> {
    match attempt(notifier, &notification(1), timeout).await {
        Some(Ok(receipt)) => panic!("the far end did not take it, but: {receipt:?}"),
        Some(Err(error)) => Some(error),
        None => None,
    }
}

fn alert(n: u64) -> Notification {
    fixtures::full_notification(n, &fixtures::incident(n, fixtures::monitor_id(n)))
}

/// What is delivered arrives once, with the notification's id.
pub async fn what_is_delivered_arrives_under_its_id<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    delivered(&*notifier, &alert(1)).await;
    assert_eq!(far_end.taken(), [notification_id(1)]);
}

/// A repeated attempt gives the same id, so that the far end can tell (S7.3).
pub async fn every_attempt_gives_the_same_id<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    for number in 1..=3 {
        let result = notifier.deliver(&alert(1), Attempt::new(number, at(i64::from(number)), PATIENT)).await;
        assert!(result.is_ok(), "attempt {number}: {result:?}");
    }
    assert_eq!(far_end.taken(), [notification_id(1); 3]);
}

/// Notifications of every kind can be delivered, with a monitor, incident and heartbeat and without, and a digest with
/// what it lists (S7.9).
pub async fn every_kind_of_notification_is_delivered<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    let kinds = [
        NotificationKind::Down,
        NotificationKind::Recovered,
        NotificationKind::Closed,
        NotificationKind::Reminder,
        NotificationKind::Escalated,
        NotificationKind::Flapping,
        NotificationKind::Settled,
        NotificationKind::Report,
        NotificationKind::WatcherOutage,
        NotificationKind::ChannelFailing,
        NotificationKind::Digest,
        NotificationKind::Test,
    ];
    for kind in kinds {
        delivered(&*notifier, &Notification { kind, ..alert(1) }).await;
        delivered(&*notifier, &Notification { kind, ..notification(2) }).await;
    }
    assert_eq!(far_end.taken().len(), 2 * kinds.len());
    delivered(&*notifier, &fixtures::full_digest(3, Digest::ITEMS_MAX)).await;
    assert_eq!(far_end.taken().last(), Some(&notification_id(3)));
}

/// No text makes it panic or hang; a text within reason is delivered, a huge one may be refused.
pub async fn difficult_and_huge_messages_do_no_harm<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    for message in ["", "\r\n.\r\n", "\0", "🫀", DIFFICULT_TEXT] {
        let mut alert = Notification { message: message.to_owned(), ..alert(1) };
        if let Some(monitor) = &mut alert.monitor {
            message.clone_into(&mut monitor.name);
            monitor.tags = vec![message.to_owned()];
        }
        delivered(&*notifier, &alert).await;
    }
    assert_eq!(far_end.taken().len(), 5);
    let huge = Notification { message: DIFFICULT_TEXT.repeat(10_000), ..alert(2) };
    match attempt(&*notifier, &huge, PATIENT).await {
        Some(Ok(_) | Err(DeliveryError::Refused { .. })) => (),
        other => panic!("a message of {} bytes is delivered or refused, not {other:?}", huge.message.len()),
    }
    delivered(&*notifier, &alert(3)).await;
    assert_eq!(far_end.taken().last(), Some(&notification_id(3)), "it works on");
}

/// What the far end refuses for good is [`DeliveryError::Refused`].
pub async fn a_refusal_is_refused<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    far_end.behave(Behaviour::Refuse);
    match failed(&*notifier, PATIENT).await {
        Some(DeliveryError::Refused { reason }) => assert!(!reason.is_empty(), "it says why"),
        other => panic!("the far end refused it, but: {other:?}"),
    }
    assert_eq!(far_end.taken(), []);
}

/// Trouble that will pass is [`DeliveryError::Retry`], and once it has passed, the next attempt arrives: it spares those
/// recipients alone that the error named.
pub async fn trouble_that_passes_is_to_be_retried<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    far_end.behave(Behaviour::Fail);
    let done = match failed(&*notifier, PATIENT).await {
        Some(DeliveryError::Retry { reason, recipients_done, .. }) => {
            assert!(!reason.is_empty(), "it says why");
            recipients_done
        }
        other => panic!("the far end has trouble that will pass, but: {other:?}"),
    };
    assert_eq!(far_end.taken(), []);
    far_end.behave(Behaviour::Accept);
    let second = Attempt::new(2, at(90), PATIENT).sparing(&done);
    let result = notifier.deliver(&notification(1), second).await;
    assert!(result.is_ok(), "the second attempt: {result:?}");
    assert_eq!(far_end.taken(), [notification_id(1)]);
}

/// A connection that breaks is a failure to be retried or of unknown outcome, never a refusal.
pub async fn a_broken_connection_is_no_refusal<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    // A connection that is kept from the first delivery breaks too.
    delivered(&*notifier, &notification(2)).await;
    far_end.behave(Behaviour::Disconnect);
    match failed(&*notifier, PATIENT).await {
        Some(DeliveryError::Retry { .. } | DeliveryError::Unknown { .. }) => (),
        other => panic!("the connection broke, but: {other:?}"),
    }
    far_end.behave(Behaviour::Accept);
    delivered(&*notifier, &notification(1)).await;
    assert_eq!(far_end.taken(), [notification_id(2), notification_id(1)]);
}

/// When the far end hangs, the attempt ends with an error or does not end; neither harms the next.
pub async fn a_hanging_far_end_is_left_when_the_time_is_over<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    far_end.behave(Behaviour::Hang);
    for _ in 0..3 {
        match failed(&*notifier, IMPATIENT).await {
            None | Some(DeliveryError::Retry { .. } | DeliveryError::Unknown { .. }) => (),
            other => panic!("the far end hangs, but: {other:?}"),
        }
    }
    far_end.behave(Behaviour::Accept);
    delivered(&*notifier, &notification(5)).await;
    assert!(far_end.taken().contains(&notification_id(5)));
}

/// An attempt can be dropped in the middle, long before its time is over, and the next works.
pub async fn an_attempt_that_is_dropped_harms_nothing<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    for round in 1..=3 {
        // A connection that is kept from an earlier round is in use when the attempt is dropped.
        far_end.behave(Behaviour::Hang);
        let before = far_end.attempts();
        let dropped = notification(10 + round);
        let given_up = tokio::select! {
            outcome = attempt(&*notifier, &dropped, PATIENT) => Some(outcome),
            () = tried(&far_end, before + 1) => None,
        };
        assert!(given_up.is_none(), "the far end hangs, but: {given_up:?}");
        far_end.behave(Behaviour::Accept);
        delivered(&*notifier, &notification(round)).await;
    }
    assert_eq!(far_end.taken(), [1, 2, 3].map(notification_id));
}

/// Waits until `count` deliveries were tried.
async fn tried(far_end: &impl FarEnd, count: usize) {
    while far_end.attempts() < count {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A call is one attempt: the outbox retries, the notifier does not, not even over a kept connection that breaks.
pub async fn one_call_makes_one_attempt<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    delivered(&*notifier, &notification(2)).await;
    let failures = [Behaviour::Fail, Behaviour::Refuse, Behaviour::Disconnect];
    for (before, behaviour) in failures.into_iter().enumerate() {
        far_end.behave(behaviour);
        failed(&*notifier, PATIENT).await;
        assert_eq!(far_end.attempts(), before + 2, "after {behaviour:?}");
    }
}

/// Many deliveries at once all arrive, each under its own id.
pub async fn concurrent_deliveries_all_arrive<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let notifier = Arc::clone(&notifier);
            tokio::spawn(async move { delivered(&*notifier, &alert(n)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let taken = far_end.taken();
    assert_eq!(taken.len(), 32);
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), (0..32).map(notification_id).collect());
}

/// No error and no receipt tells a secret of the settings, whatever the far end says back.
pub async fn no_outcome_tells_a_secret<H: NotifierHarness>(harness: &H) {
    let (notifier, far_end) = harness.start().await;
    for behaviour in [Behaviour::Accept, Behaviour::Refuse, Behaviour::Fail, Behaviour::Disconnect] {
        far_end.behave(behaviour);
        let told = match attempt(&*notifier, &notification(1), PATIENT).await {
            Some(Ok(receipt)) => format!("{receipt:?}"),
            Some(Err(error)) => format!("{error} {error:?}"),
            None => panic!("there is no outcome after {behaviour:?}"),
        };
        for secret in harness.secrets() {
            assert!(!told.contains(&secret), "the secret `{secret}` is told after {behaviour:?}: {told}");
        }
    }
}
