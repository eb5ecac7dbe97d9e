//! `heartbeat-server migrate`: moves everything from one storage to another.
//!
//! It works on any two storages of which the target can take in what another one kept ([`heartbeat_engine::Import`]): `side` opens
//! them and refuses those that somebody works on, `hold` keeps others off the target, `note` is the document there that tells
//! how far it is, `copy` writes, `tally` compares.

mod copy;
mod hold;
mod hours;
mod note;
mod progress;
mod read;
mod side;
mod tally;

use std::sync::Arc;

use heartbeat_engine::{Clock, HistoryQuery, Import, StorageError, SystemClock};

use self::copy::Copy;
use self::hold::Hold;
pub(crate) use self::note::unfinished;
use self::note::{Note, Print, Stage};
use self::progress::{Progress, line};
use self::read::Store;
use self::side::Side;
use crate::server::Failure;
use crate::storage_url::StorageUrl;

/// The kinds of documents that are moved: all that a server keeps, but those that describe running nodes.
const DOCUMENT_KINDS: [&str; 4] = ["channel", "key", "maintenance", "route"];

/// What helps where the target holds something else.
const ANEW: &str = "name another target, or delete what is there (a file, or all keys under the prefix of a Redis)";

/// Moves everything, or only compares both sides; the table of the comparison.
pub(crate) async fn run(from: &str, to: &str, verify: bool) -> Result<String, Failure> {
    let (from, to) = (Side::From.parse(from)?, Side::To.parse(to)?);
    if side::are_same(&from, &to) {
        return Err(Side::To.wrong(format!("{} is the same storage as --from; name another one", side::name(&to))));
    }
    let source = side::open(Side::From, &from).await?;
    side::refuse_in_use(Side::From, &from, &*source, |_| false).await?;
    if verify && to.is_new() {
        return Err(Side::To.cannot("there is no such file; nothing was moved to it"));
    }
    let target = side::open(Side::To, &to).await?;
    side::refuse_in_use(Side::To, &to, &*target, hold::is_of_migration).await?;
    let source: Store = source;
    if let Some(text) = unfinished(&*source).await.map_err(|error| Side::From.cannot(error))? {
        return Err(Side::From.cannot(text));
    }
    let (from, to, to_url) = (side::name(&from), side::name(&to), to);
    let migration = Migration { from, to, to_url, source, target };
    if verify { migration.verify().await } else { migration.migrate().await }
}

struct Migration {
    /// Where they are, as messages name it.
    from: String,
    to: String,
    to_url: StorageUrl,
    source: Store,
    target: Arc<dyn Import>,
}

impl Migration {
    async fn migrate(&self) -> Result<String, Failure> {
        line(&format!("reading what is in {}", self.from));
        let print = self.print().await?;
        if print.monitors == 0 && self.contents_of_source().await?.is_none() {
            return Err(Side::From.cannot(format!("{} is empty: there is nothing to move", self.from)));
        }
        let (mut note, is_new) = match self.noted(&print).await? {
            Some(note) if note.is_finished() => {
                return Ok(format!(
                    "everything was moved from {} to {} already, at {}; --verify compares both\n",
                    note.from, note.to, note.at
                ));
            }
            Some(note) => {
                line(&format!("going on with what was begun {}", note.at));
                (note, false)
            }
            None => (self.new_note(&print), true),
        };
        let hold = self.hold(is_new).await?;
        note.write(&*self.target, &hold).await.map_err(|error| self.failed(&error))?;
        let progress = Arc::new(Progress::new(print.monitors));
        let (source, target) = (Arc::clone(&self.source), Arc::clone(&self.target));
        let copy = Arc::new(Copy { source, target, hold, progress });
        copy.run(&mut note).await.map_err(|error| self.failed(&error))?;
        let table = match self.compare().await {
            Ok(table) => table,
            Err(failure) => {
                // The target may have lost something when it went away: everything is gone through once more.
                (note.stage, note.events) = (Stage::Monitors, 0);
                note.write(&*self.target, &copy.hold).await.map_err(|error| self.failed(&error))?;
                line("run this again: it writes what is missing there");
                return Err(failure);
            }
        };
        if self.print().await?.print != print.print {
            return Err(Side::From.cannot(format!("{} was changed while it was read; {}", self.from, ANEW)));
        }
        (note.stage, note.at) = (Stage::Finished, SystemClock::new().now());
        note.write(&*self.target, &copy.hold).await.map_err(|error| self.failed(&error))?;
        copy.hold.let_go().await.map_err(|error| self.failed(&error))?;
        Ok(format!(
            "{table}everything is in {} now; a server may start on it, and {} stays as it is\n",
            self.to, self.from
        ))
    }

    async fn verify(&self) -> Result<String, Failure> {
        match unfinished(&*self.target).await.map_err(|error| Side::To.cannot(error))? {
            Some(text) => Err(Side::To.cannot(text)),
            None => Ok(format!("{}both hold the same\n", self.compare().await?)),
        }
    }

    /// Holds the target, on which nobody began to work since it was looked at first.
    async fn hold(&self, must_be_empty: bool) -> Result<Hold, Failure> {
        side::refuse_in_use(Side::To, &self.to_url, &*self.target, hold::is_of_migration).await?;
        let hold = Hold::take(&self.target).await.map_err(|error| self.failed(&error))?;
        if must_be_empty && let Some(contents) = self.contents_of_target().await? {
            hold.let_go().await.map_err(|error| self.failed(&error))?;
            return Err(self.is_not_empty(&contents));
        }
        Ok(hold)
    }

    /// The note that an earlier run left in the target, which is empty where there is none.
    async fn noted(&self, print: &Print) -> Result<Option<Note>, Failure> {
        let cannot = |error: StorageError| Side::To.cannot(error);
        match Note::read(&*self.target).await.map_err(cannot)? {
            Some(note) if note.source == print.print => Ok(Some(note)),
            Some(note) if !note.is_finished() => Err(Side::To.cannot(format!(
                "{} holds an unfinished migration from {}, which is another storage than {} or was changed since; {}",
                self.to,
                note.from,
                self.from,
                ANEW
            ))),
            _ => match side::contents(&*self.target).await.map_err(cannot)? {
                None => Ok(None),
                Some(contents) => Err(Side::To.cannot(format!(
                    "{} is not empty: it holds {contents}; {}. Where everything was moved there before, --verify compares",
                    self.to,
                    ANEW
                ))),
            },
        }
    }

    async fn contents_of_target(&self) -> Result<Option<String>, Failure> {
        side::contents(&*self.target).await.map_err(|error| Side::To.cannot(error))
    }

    fn is_not_empty(&self, contents: &str) -> Failure {
        Side::To.cannot(format!(
            "{} is not empty: it holds {contents}; {ANEW}. Where everything was moved there before, --verify compares",
            self.to
        ))
    }

    fn new_note(&self, print: &Print) -> Note {
        Note {
            from: self.from.clone(),
            to: self.to.clone(),
            source: print.print.clone(),
            at: SystemClock::new().now(),
            stage: Stage::Monitors,
            events: 0,
        }
    }

    async fn print(&self) -> Result<Print, Failure> {
        note::print(&self.source).await.map_err(|error| Side::From.cannot(error))
    }

    async fn contents_of_source(&self) -> Result<Option<String>, Failure> {
        side::contents(&*self.source).await.map_err(|error| Side::From.cannot(error))
    }

    /// The table, if both hold the same.
    async fn compare(&self) -> Result<String, Failure> {
        line("comparing what both hold");
        let target: Store = Arc::clone(&self.target) as Store;
        // Places that were not given yet are given first.
        target.history(&HistoryQuery::LatestEvent, 1).await.map_err(|error| Side::To.cannot(error))?;
        let progress = Progress::new(0);
        let seen = move |monitors| progress.step_to("monitors compared", monitors);
        // A task for each, so that neither makes the other miss an answer.
        let source = tokio::spawn(tally::read(Arc::clone(&self.source), seen));
        let target = tokio::spawn(tally::read(target, |_| ()));
        let ended = |error: tokio::task::JoinError| Failure::Run(error.to_string());
        let source = source.await.map_err(ended)?.map_err(|error| Side::From.cannot(error))?;
        let target = target.await.map_err(ended)?.map_err(|error| Side::To.cannot(error))?;
        match tally::table(&source, &target) {
            (table, None) => Ok(table),
            (table, Some(kind)) => {
                Err(Failure::Run(format!("{kind}: {} and {} do not hold the same\n{table}", self.from, self.to)))
            }
        }
    }

    /// What kept it from going on.
    fn failed(&self, error: &StorageError) -> Failure {
        match error {
            StorageError::Fenced => Side::To.cannot(format!(
                "{} was taken over by another run of this or by a server; see who works on it, and run this again",
                self.to
            )),
            error => Failure::Run(format!("{error}; run this again: it goes on where it stopped")),
        }
    }
}
