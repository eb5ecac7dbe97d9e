//! Sends batches to `lua/commit.lua`, those of several partitions in one call where one Redis has them all: they share what a
//! call costs, which is more than what one heartbeat does. What comes while a call is under way waits for the next one.

use std::sync::{Arc, Mutex, PoisonError};

use heartbeat_engine::StorageError;
use redis::Cmd;
use tokio::sync::oneshot;

use crate::error;
use crate::link::{Failure, Link};
use crate::options::RedisLimits;
use crate::script::COMMIT;
use crate::store::Lanes;

/// A batch as the script takes it.
pub(crate) struct Share {
    /// The key of its partition's lease.
    pub(crate) lease: String,
    pub(crate) epoch: u64,
    /// The arguments behind its epoch.
    pub(crate) arguments: Vec<Vec<u8>>,
}

/// What the script answers to a share: a letter for each transition, and the versions that conflicts found.
pub(crate) struct Answer {
    pub(crate) letters: Vec<u8>,
    pub(crate) found: Vec<u8>,
}

type Reply = Result<Answer, StorageError>;

/// Takes batches, and sends them.
pub(crate) struct Rounds {
    /// Whether one call may have several partitions.
    together: bool,
    sender: Arc<Sender>,
}

struct Sender {
    link: Arc<Link>,
    lanes: Arc<Lanes>,
    limits: RedisLimits,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    shares: Vec<(Share, oneshot::Sender<Reply>)>,
    /// Whether somebody sends, and will take what waits.
    is_sent: bool,
}

impl Rounds {
    pub(crate) fn new(link: Arc<Link>, lanes: Arc<Lanes>, limits: RedisLimits, together: bool) -> Self {
        let sender = Arc::new(Sender { link, lanes, limits, waiting: Mutex::default() });
        Self { together, sender }
    }

    /// Writes a batch; it may be on its way for longer than its caller waits.
    pub(crate) async fn write(&self, share: Share) -> Reply {
        if !self.together {
            return self.sender.send(&[share]).await.map_err(|failure| written(&failure))?.remove(0);
        }
        let (reply, answer) = oneshot::channel();
        if self.sender.wait(share, reply) {
            // Others wait for the same call: it must not end with who came first.
            tokio::spawn(Sending { sender: self.sender.clone(), is_over: false }.send_all());
        }
        let gone = |_| Err(StorageError::Unknown("the runtime ended while a batch was written".to_owned()));
        answer.await.unwrap_or_else(gone)
    }
}

/// The task that sends what waits. Where its runtime ends before it does, nobody sends any more.
struct Sending {
    sender: Arc<Sender>,
    is_over: bool,
}

impl Sending {
    async fn send_all(mut self) {
        loop {
            let (shares, replies): (Vec<_>, Vec<_>) = self.sender.take().into_iter().unzip();
            if shares.is_empty() {
                self.is_over = true;
                return;
            }
            let answers = self.sender.send(&shares).await;
            let answers: Box<dyn Iterator<Item = Reply> + Send> = match answers {
                Ok(answers) => Box::new(answers.into_iter()),
                Err(failure) => Box::new(std::iter::repeat_with(move || Err(written(&failure)))),
            };
            for (reply, answer) in replies.into_iter().zip(answers) {
                // Who does not wait any longer is not told.
                let _ = reply.send(answer);
            }
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.is_over {
            // Who waits hears of it by that.
            let mut waiting = self.sender.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            *waiting = Waiting::default();
        }
    }
}

impl Sender {
    /// Puts a share with those that wait; says whether somebody must begin to send.
    fn wait(&self, share: Share, reply: oneshot::Sender<Reply>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.shares.push((share, reply));
        !std::mem::replace(&mut waiting.is_sent, true)
    }

    /// What waits now; where nothing does, nobody sends any more.
    fn take(&self) -> Vec<(Share, oneshot::Sender<Reply>)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let shares = std::mem::take(&mut waiting.shares);
        waiting.is_sent = !shares.is_empty();
        shares
    }

    async fn send(&self, shares: &[Share]) -> Result<Vec<Reply>, Failure> {
        let lane = self.lanes.take();
        let call = call_of(&lane.name(), lane.next_batch(), &self.limits, shares);
        let answers: Vec<Vec<Vec<u8>>> = self.link.script(&COMMIT, &call).await?;
        let mut replies: Vec<Reply> = answers.into_iter().map(read).collect();
        let missing = || Err(StorageError::Unknown("Redis answered for another number of batches".to_owned()));
        replies.resize_with(shares.len(), missing);
        Ok(replies)
    }
}

/// The call of the script that writes these shares.
pub(crate) fn call_of(lane: &str, number: u64, limits: &RedisLimits, shares: &[Share]) -> Cmd {
    let leases: Vec<&str> = shares.iter().map(|share| share.lease.as_str()).collect();
    let mut call = COMMIT.on(&leases);
    call.arg(lane).arg(number);
    call.arg(limits.changes_per_monitor).arg(limits.incidents_per_monitor);
    call.arg(limits.incidents_closed).arg(limits.notifications_settled);
    for share in shares {
        call.arg(share.epoch).arg(share.arguments.len()).arg(&share.arguments);
    }
    call
}

fn read(mut answer: Vec<Vec<u8>>) -> Reply {
    match (answer.pop(), answer.pop()) {
        (Some(found), Some(letters)) => Ok(Answer { letters, found }),
        (Some(error), None) if error == b"FENCED" => Err(StorageError::Fenced),
        (error, _) => {
            let error = error.unwrap_or_default();
            Err(StorageError::Corrupt(String::from_utf8_lossy(&error).into_owned()))
        }
    }
}

/// What became of a write that failed.
pub(crate) fn written(failure: &Failure) -> StorageError {
    match failure {
        Failure::Unsent(error) => match error::writing(error) {
            StorageError::Unknown(text) => StorageError::Unavailable(text),
            other => other,
        },
        Failure::Sent(error) => error::writing(error),
    }
}
