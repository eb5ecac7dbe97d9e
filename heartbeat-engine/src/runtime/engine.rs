//! The engine as its host calls it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot};

use crate::evaluator::{Done, Refusal, Request};
use crate::runtime::builder::EngineBuilder;
use crate::runtime::directory::{Filter, Target};
use crate::runtime::error::{EditError, PingError, ShutdownError, Unavailable};
use crate::runtime::inbox::{Inbox, Work};
use crate::runtime::random;
use crate::runtime::shared::Shared;
use crate::step::Edit;
use crate::{
    Effect, FieldError, HistoryItem, HistoryQuery, Monitor, MonitorId, MonitorSpec, Page, Ping, Record, Rotating,
    StateChange, Status, StatusWord, Storage, StorageError, Timestamp, Token, Version,
};

/// Watches monitors: takes heartbeats, decides, stores, and has notifications delivered.
///
/// A cheap handle: clones lead to the same engine. Its work is done by a [`Driver`](crate::Driver) that the host runs
/// ([`EngineBuilder::build`]) or lets the engine spawn ([`EngineBuilder::spawn`]). A call that changes something answers
/// when the change is durable (S8.3). When the last handle is dropped the driver finishes what waits and ends.
///
/// # Example: a job that reports every two hours
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use heartbeat_engine::{Engine, MemoryStorage, MonitorSpec, Ping, PutMode, Signal, schedule::Schedule};
/// use std::time::Duration;
///
/// let engine = Engine::builder(MemoryStorage::new()).spawn().await?;
/// let spec = MonitorSpec::new("cert-sync", Schedule::every(Duration::from_secs(7200))?);
/// engine.put(spec, PutMode::Upsert).await?;
///
/// let receipt = engine.ping("cert-sync", Ping::new(Signal::Success)).await?;
/// assert_eq!(receipt.status.name(), "up");
/// engine.shutdown(Duration::from_secs(5)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    /// Shared by all clones.
    _handles: Arc<Handles>,
}

/// Tells the driver when the last handle is gone.
#[derive(Debug)]
struct Handles {
    shared: Arc<Shared>,
}

impl Drop for Handles {
    fn drop(&mut self) {
        self.shared.inboxes.iter().for_each(Inbox::close);
    }
}

/// What became of a heartbeat that was taken: it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PingReceipt {
    /// The monitor.
    pub monitor: MonitorId,
    /// Its place among the pings of the monitor, from 1.
    pub n: u64,
    /// When it arrived.
    pub arrived_at: Timestamp,
    /// What it did.
    pub effect: Effect,
    /// The monitor's status after it.
    pub status: StatusWord,
}

/// What [`Engine::put`] may do.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum PutMode {
    /// Make a monitor; it must not exist.
    Create {
        /// Its ping token; a random one where none is given.
        token: Option<Token>,
    },
    /// Replace the wish of this monitor, whose slug may change.
    Replace {
        /// The monitor.
        monitor: MonitorId,
        /// Only if its revision is still this one.
        expected: Option<Version>,
    },
    /// Make the monitor, or replace the wish of the one with this slug.
    Upsert,
}

/// What [`Engine::put`] did.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Put {
    /// The monitor's record after it.
    pub record: Arc<Record>,
    /// Whether it was made.
    pub created: bool,
}

impl Engine {
    /// An engine on this storage; see [`EngineBuilder`] for what can be chosen.
    pub fn builder(storage: impl Storage) -> EngineBuilder {
        EngineBuilder::new(Arc::new(storage))
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { _handles: Arc::new(Handles { shared: shared.clone() }), shared }
    }

    /// Takes a heartbeat. It answers when the heartbeat and what it caused are durable.
    ///
    /// # Errors
    /// See [`PingError`]; an error other than [`StorageError::Unknown`] means that nothing of it is stored.
    pub async fn ping(&self, target: impl Into<Target>, ping: Ping) -> Result<PingReceipt, PingError> {
        if ping.value.is_some_and(|value| !value.is_finite()) {
            return Err(PingError::Invalid(FieldError::new("value", "must be a finite number")));
        }
        let claimed_at = ping.claimed_at;
        let monitor = self.look_up(target).await?.ok_or(PingError::NotFound)?.id();
        let done = self.ask(Request::Ping(monitor, Box::new(ping))).await?;
        match done {
            Ok(done) => {
                let taken = done.ping.ok_or(PingError::NotFound)?;
                Ok(PingReceipt {
                    monitor,
                    n: taken.n,
                    arrived_at: taken.arrived_at,
                    effect: taken.effect,
                    status: Status::of(&done.record, taken.arrived_at).word,
                })
            }
            Err(Refusal::ClaimedTime(now)) => {
                Err(PingError::Invalid(FieldError::new("ts", claimed_time_fault(claimed_at, now))))
            }
            Err(Refusal::Storage(error)) => Err(PingError::Unavailable(error.into())),
            Err(_) => Err(PingError::NotFound),
        }
    }

    /// Makes a monitor or replaces the wish of one (S3.9).
    ///
    /// # Errors
    /// [`EditError::Invalid`] with every field that is wrong, and the others as their names say.
    pub async fn put(&self, spec: MonitorSpec, mode: PutMode) -> Result<Put, EditError> {
        self.check(&spec, &mode)?;
        match mode {
            PutMode::Create { token } => self.create(spec, token).await,
            PutMode::Replace { monitor, expected } => self.replace(monitor, spec, expected).await,
            PutMode::Upsert => self.upsert(spec).await,
        }
    }

    /// The same for many monitors, in as few writes as possible; one answer for each, in the same order. Wishes beyond
    /// [`crate::Limits::inbox`] answer `Overloaded`.
    pub async fn put_many(
        &self,
        wishes: impl IntoIterator<Item = (MonitorSpec, PutMode)>,
    ) -> Vec<Result<Put, EditError>> {
        let engine = self.clone();
        let mut tasks = Vec::new();
        for (spec, mode) in wishes {
            let engine = engine.clone();
            tasks.push(tokio::spawn(async move { engine.put(spec, mode).await }));
        }
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            answers.push(task.await.unwrap_or(Err(EditError::Unavailable(Unavailable::Stopped))));
        }
        answers
    }

    /// Pauses a monitor: nothing is expected of it, and its open incident is closed (S5.1). With `manual_resume` only
    /// [`Engine::resume`] ends that, else a heartbeat does too.
    ///
    /// # Errors
    /// See [`EditError`].
    pub async fn pause(&self, target: impl Into<Target>, manual_resume: bool) -> Result<Arc<Record>, EditError> {
        self.edit(target.into(), Edit::Pause { manual_resume }).await
    }

    /// Resumes a paused monitor (S5.2); one that is not paused stays as it is.
    ///
    /// # Errors
    /// See [`EditError`].
    pub async fn resume(&self, target: impl Into<Target>) -> Result<Arc<Record>, EditError> {
        self.edit(target.into(), Edit::Resume).await
    }

    /// Removes a monitor with its pings; an open incident is closed and told (S5.1). Answers its last record.
    ///
    /// # Errors
    /// See [`EditError`].
    pub async fn remove(&self, target: impl Into<Target>) -> Result<Arc<Record>, EditError> {
        self.edit(target.into(), Edit::Remove).await
    }

    /// Gives a monitor another ping token; the old one is accepted for `overlap` still.
    ///
    /// # Errors
    /// See [`EditError`].
    pub async fn rotate_token(&self, target: impl Into<Target>, overlap: Duration) -> Result<Arc<Record>, EditError> {
        let token = random::token()?;
        self.edit(target.into(), Edit::RotateToken { token, overlap }).await
    }

    /// Gives a monitor another signing secret; the old one is accepted for `overlap` still.
    ///
    /// # Errors
    /// See [`EditError`].
    pub async fn rotate_secret(&self, target: impl Into<Target>, overlap: Duration) -> Result<Arc<Record>, EditError> {
        let secret = random::secret()?;
        self.edit(target.into(), Edit::RotateSecret { secret, overlap }).await
    }

    /// A monitor as it was last committed.
    #[must_use]
    pub fn find(&self, target: impl Into<Target>) -> Option<Arc<Record>> {
        self.shared.directory.find(&target.into(), self.now())
    }

    /// How a monitor looks now.
    #[must_use]
    pub fn status(&self, target: impl Into<Target>) -> Option<Status> {
        self.find(target).map(|record| Status::of(&record, self.now()))
    }

    /// Monitors that pass a filter, in the order of their slugs, at most `limit`.
    #[must_use]
    pub fn list(&self, filter: &Filter, limit: usize) -> Page<Arc<Record>> {
        self.shared.directory.list(filter, limit, self.now())
    }

    /// A page of history: pings and how many there were, changes of state, incidents or notifications.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        self.shared.storage.history(query, limit).await
    }

    /// Every change of state from now on, as it is committed.
    #[must_use]
    pub fn subscribe(&self) -> StateChanges {
        StateChanges { receiver: self.shared.changes.subscribe() }
    }

    /// The engine's wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Lets the engine look at its clock now, for hosts whose clock jumped; it looks by itself when a deadline passes.
    pub fn look_again(&self) {
        self.shared.nudge_all();
    }

    /// Stops taking calls, decides and stores those that wait, tries each message that is due and was not tried yet
    /// once, and stops the driver. What was acknowledged is stored in any case, and so is what is owed: messages that are
    /// held back for a digest go out after the next start.
    ///
    /// # Errors
    /// When that takes longer than `timeout`.
    pub async fn shutdown(&self, timeout: Duration) -> Result<(), ShutdownError> {
        self.shared.inboxes.iter().for_each(Inbox::close);
        let mut stopped = self.shared.stopped.subscribe();
        let wait = async { stopped.wait_for(|stopped| *stopped).await.is_ok() };
        match tokio::time::timeout(timeout, wait).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(ShutdownError),
        }
    }

    async fn create(&self, mut spec: MonitorSpec, token: Option<Token>) -> Result<Put, EditError> {
        self.shared.terms.share(&mut spec);
        let token = token.map_or_else(random::token, Ok)?;
        let secret = if spec.require_signature { Some(Box::new(Rotating::new(random::secret()?))) } else { None };
        let now = self.now();
        let monitor = Monitor {
            id: random::monitor_id()?,
            token: Rotating::new(token),
            signing_secret: secret,
            spec,
            revision: Version::FIRST,
            created_at: now,
            updated_at: now,
        };
        let done = self.ask(Request::Create(Box::new(monitor))).await?.map_err(edit_error)?;
        Ok(Put { record: done.record, created: true })
    }

    async fn replace(&self, id: MonitorId, mut spec: MonitorSpec, expected: Option<Version>) -> Result<Put, EditError> {
        self.shared.terms.share(&mut spec);
        let secret = if spec.require_signature { Some(random::secret()?) } else { None };
        let edit = Edit::Spec { spec: Box::new(spec), expected, secret };
        Ok(Put { record: self.edit(Target::Id(id), edit).await?, created: false })
    }

    async fn upsert(&self, spec: MonitorSpec) -> Result<Put, EditError> {
        // Whoever made or removed the monitor between the look and the write has settled what to do; a few turns suffice.
        let mut last = EditError::NotFound("monitor");
        for _ in 0..4 {
            let found = self.look_up(Target::slug(&spec.slug)).await?;
            let attempt = match found {
                Some(record) => self.replace(record.id(), spec.clone(), None).await,
                None => self.create(spec.clone(), None).await,
            };
            match attempt {
                Err(error @ (EditError::Taken { field: "slug" } | EditError::NotFound(_))) => last = error,
                settled => return settled,
            }
        }
        Err(last)
    }

    async fn edit(&self, target: Target, edit: Edit) -> Result<Arc<Record>, EditError> {
        let record = self.look_up(target).await?.ok_or(EditError::NotFound("monitor"))?;
        let done = self.ask(Request::Edit(record.id(), edit)).await?.map_err(edit_error)?;
        Ok(done.record)
    }

    fn check(&self, spec: &MonitorSpec, mode: &PutMode) -> Result<(), EditError> {
        let mut faults = spec.faults(self.now());
        faults.extend(self.unknown_channels(&spec.channels));
        faults.extend(self.dependency_faults(spec, mode));
        if faults.is_empty() { Ok(()) } else { Err(EditError::Invalid(faults)) }
    }

    pub(crate) fn unknown_channels(&self, channels: &[String]) -> Vec<FieldError> {
        let unknown = channels.iter().enumerate().filter(|(_, channel)| !self.shared.channels.contains(channel));
        unknown
            .map(|(index, channel)| {
                let shown: String = channel.chars().take(64).collect();
                FieldError::new(format!("channels.{index}"), format!("there is no channel `{shown}`; make it first"))
            })
            .collect()
    }

    pub(super) fn find_loaded(&self, target: &Target) -> Result<Option<Arc<Record>>, Unavailable> {
        match self.shared.directory.find(target, self.now()) {
            Some(record) => Ok(Some(record)),
            None if self.shared.loaded() => Ok(None),
            None => Err(Unavailable::Loading),
        }
    }

    pub(super) async fn ask(&self, request: Request) -> Result<Result<Done, Refusal>, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let inbox = self.shared.inbox_of(request.monitor());
        inbox.push(&*self.shared.clock, Work::Request(request, answer))?;
        answered.await.map_err(|_| Unavailable::Stopped)
    }
}

pub(super) fn edit_error(refusal: Refusal) -> EditError {
    match refusal {
        Refusal::NotFound | Refusal::ClaimedTime(_) => EditError::NotFound("monitor"),
        Refusal::Revision(found) => EditError::Revision { found },
        Refusal::Taken(field) => EditError::Taken { field },
        Refusal::Invalid(fault) => EditError::Invalid(vec![fault]),
        Refusal::Incident(error) => EditError::InUse(error.to_string()),
        Refusal::Reread => EditError::InUse("the incident is written by too many at once".to_owned()),
        Refusal::Storage(error) => EditError::Unavailable(error.into()),
    }
}

fn claimed_time_fault(claimed: Option<Timestamp>, now: Timestamp) -> String {
    match claimed {
        Some(at) if at > now => format!("{at} is in the future; it must be at most 60 s ahead of {now}"),
        Some(at) => format!("{at} is too old; it must be at most 90 days before {now}"),
        None => "is out of range".to_owned(),
    }
}

/// The changes of state since [`Engine::subscribe`] was called.
#[derive(Debug)]
pub struct StateChanges {
    receiver: broadcast::Receiver<StateChange>,
}

/// The subscriber was too slow and missed this many changes; see [`crate::Limits::subscriber_queue`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} changes of state were missed")]
pub struct Missed(pub u64);

impl StateChanges {
    /// The next change; `None` when the engine has stopped.
    ///
    /// # Errors
    /// [`Missed`] when the subscriber was too slow; the next call goes on behind the gap.
    pub async fn next(&mut self) -> Option<Result<StateChange, Missed>> {
        match self.receiver.recv().await {
            Ok(change) => Some(Ok(change)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Err(Missed(count))),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
