//! Copies of a database that may be in use.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use heartbeat_engine::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use crate::deferred;
use crate::log::{self, Position};
use crate::migrations::{self, VERSION};
use crate::open::{self, OpenError};
use crate::pings::FOLDED;
use crate::replay;
use heartbeat_engine::compact::Frames;

/// What a backup holds.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// Its size in bytes.
    pub bytes: u64,
    /// The version of its tables.
    pub version: i32,
    /// How many monitors it has.
    pub monitors: u64,
    /// How many heartbeats it has.
    pub pings: u64,
    /// How many incidents it has.
    pub incidents: u64,
    /// How many notifications were still owed; whoever starts with the backup sends them.
    pub notifications_owed: u64,
    /// The last mark of the watcher's life in it.
    pub mark: Option<Timestamp>,
}

/// Why there is no backup. Where a file of the wanted name was before, it is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is no database to copy.
    #[error("there is no database `{}`; name the one that the server uses", .path.display())]
    NoDatabase {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The database cannot be read.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// There is something where the backup should go.
    #[error("`{}` exists; name another file, or say that it may be overwritten", .target.display())]
    Exists {
        /// Where the backup should go.
        target: PathBuf,
    },
    /// The backup would go where a database works.
    #[error("`{}` belongs to a database in use, or to one that was not closed in order; name another file", .path.display())]
    InUse {
        /// The file that shows it.
        path: PathBuf,
    },
    /// The backup cannot be written.
    #[error("`{}` cannot be written: {detail}", .target.display())]
    NotWritten {
        /// Where the backup should go.
        target: PathBuf,
        /// What the system or SQLite said.
        detail: String,
    },
    /// The copy is damaged, so the database is, or the disk.
    #[error("the copy of `{}` is damaged ({detail}), so there is no new backup; check the disk, and keep older backups", .path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
}

/// Copies a database to a new file, in one consistent state, also while another process or this one works on it.
///
/// What was acknowledged before the call is in the copy. Nobody has to wait for it, but the log beside the database
/// grows while it lasts. The copy is written beside the target, synced, checked as a whole, and only then given its name.
/// On Unix only its owner can read it. It is opened as any other database.
///
/// It blocks the thread for as long as copying takes.
///
/// ```
/// use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage, backup};
///
/// # let directory = tempfile::tempdir()?;
/// # std::env::set_current_dir(&directory)?;
/// let storage = SqliteStorage::open("heartbeat.db", SqliteOptions::new())?;
/// let report = backup("heartbeat.db", "copy.db", false)?;
/// assert_eq!(report.monitors, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// See [`BackupError`]; a file at `target` is replaced only with `overwrite`, and only by a whole backup.
pub fn backup(
    database: impl AsRef<Path>,
    target: impl AsRef<Path>,
    overwrite: bool,
) -> Result<BackupReport, BackupError> {
    let path = open::absolute(database.as_ref())?;
    // The file is never opened but by SQLite: closing it would drop the locks that this process may have on it.
    if !path.exists() {
        return Err(BackupError::NoDatabase { path });
    }
    let target = Target::check(target.as_ref(), &path, overwrite)?;
    let failed = |error: rusqlite::Error| BackupError::Source(open::from_sqlite(&path, &error));
    let source = open::reader(&path).map_err(failed)?;
    open::check_contents(&source, &path)?;
    if migrations::version(&source).map_err(failed)? == 0 {
        return Err(BackupError::NoDatabase { path });
    }
    let partial = Partial::make(&target)?;
    source.execute("VACUUM INTO ?1", [partial.name(&target)?]).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            BackupError::Damaged { path: path.clone(), detail: error.to_string() }
        }
        _ => target.not_written(&error),
    })?;
    drop(source);
    let report = inspect(&partial.path, &path)?;
    partial.publish(&target)?;
    Ok(report)
}

/// Where a backup goes.
struct Target {
    path: PathBuf,
    directory: PathBuf,
    overwrite: bool,
}

impl Target {
    fn check(target: &Path, database: &Path, overwrite: bool) -> Result<Self, BackupError> {
        let path = open::absolute(target).map_err(|error| match error {
            OpenError::NotAFile { path } => not_written(&path, &"it is not a file"),
            OpenError::NoDirectory { directory } => {
                not_written(target, &format_args!("the directory `{}` does not exist", directory.display()))
            }
            other => not_written(target, &other),
        })?;
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        let target = Self { path, directory, overwrite };
        if target.path == database {
            return Err(BackupError::InUse { path: target.path });
        }
        target.is_free()?;
        Ok(target)
    }

    fn is_free(&self) -> Result<(), BackupError> {
        if !self.overwrite && self.path.symlink_metadata().is_ok() {
            return Err(BackupError::Exists { target: self.path.clone() });
        }
        // Another database's log would be taken for that of the backup.
        for suffix in ["-wal", "-journal"] {
            let mut beside = self.path.clone().into_os_string();
            beside.push(suffix);
            if Path::new(&beside).symlink_metadata().is_ok() {
                return Err(BackupError::InUse { path: beside.into() });
            }
        }
        Ok(())
    }

    fn not_written(&self, detail: &dyn std::fmt::Display) -> BackupError {
        not_written(&self.path, detail)
    }
}

fn not_written(target: &Path, detail: &dyn std::fmt::Display) -> BackupError {
    BackupError::NotWritten { target: target.to_owned(), detail: detail.to_string() }
}

/// A backup that is not whole yet; it is removed unless it is published.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn make(target: &Target) -> Result<Self, BackupError> {
        let name = target.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = target.directory.join(format!(".{name}.{}.partial", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(_) => Ok(Self { path }),
            Err(error) => Err(target.not_written(&error)),
        }
    }

    fn name(&self, target: &Target) -> Result<&str, BackupError> {
        self.path.to_str().ok_or_else(|| target.not_written(&"its name is not UTF-8"))
    }

    fn publish(&self, target: &Target) -> Result<(), BackupError> {
        let publish = || -> io::Result<()> {
            File::open(&self.path)?.sync_all()?;
            fs::rename(&self.path, &target.path)?;
            File::open(&target.directory)?.sync_all()
        };
        target.is_free()?;
        publish().map_err(|error| target.not_written(&error))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Once it is published there is none, and whether it can be removed changes nothing.
        drop(fs::remove_file(&self.path));
    }
}

/// Reads the whole copy, and says what is in it.
fn inspect(copy: &Path, database: &Path) -> Result<BackupReport, BackupError> {
    let damaged = |detail: String| BackupError::Damaged { path: database.to_owned(), detail };
    put_deferred(copy).map_err(|error| damaged(error.to_string()))?;
    let look = || -> rusqlite::Result<(Connection, String)> {
        let connection = open::reader(copy)?;
        let verdict = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        Ok((connection, verdict))
    };
    let (connection, verdict) = look().map_err(|error| damaged(error.to_string()))?;
    if verdict != "ok" {
        return Err(damaged(verdict));
    }
    report(&connection, copy).map_err(|error| damaged(error.to_string())).and_then(|report| match report.version {
        1..=VERSION => Ok(report),
        version => Err(damaged(format!("it has version {version}"))),
    })
}

/// Puts what large batches left to later into its tables, so that the copy is counted as a whole.
fn put_deferred(copy: &Path) -> rusqlite::Result<()> {
    let connection = open::exclusive(copy)?;
    if migrations::has_table(&connection, "deferred")? { deferred::put_all(&connection) } else { Ok(()) }
}

fn report(connection: &Connection, copy: &Path) -> rusqlite::Result<BackupReport> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned);
    let pages = count("PRAGMA page_count")?;
    let bytes = fs::metadata(copy).map_or(pages * count("PRAGMA page_size")?, |found| found.len());
    let mark = connection.query_row("SELECT max(mark) FROM marks", [], |row| row.get::<_, Option<i64>>(0))?;
    let version = migrations::version(connection)?;
    let (mut monitors, mut pings) = match version {
        3.. => (count("SELECT count(*) FROM monitors")?, self::pings(connection)?),
        _ => (count("SELECT count(*) FROM monitors")?, count("SELECT count(*) FROM pings")?),
    };
    // It was made while an older database was brought to a newer version.
    if migrations::has_table(connection, "monitors_2")? {
        monitors += count("SELECT count(*) FROM monitors_2")?;
        pings += count("SELECT count(*) FROM pings_2")?;
    }
    Ok(BackupReport {
        bytes,
        version,
        monitors,
        pings,
        incidents: count("SELECT count(*) FROM incidents")?,
        notifications_owed: count("SELECT count(*) FROM notifications WHERE state = 0")?,
        mark: mark.map(Timestamp::from_millis),
    })
}

/// Those in the rows of their monitors, and those that only the log has.
fn pings(connection: &Connection) -> rusqlite::Result<u64> {
    let folded: i64 = connection.query_row("SELECT coalesce(sum(kept), 0) FROM recent", [], |row| row.get(0))?;
    let mut statement = connection.prepare(replay::LOG)?;
    let mut rows = statement.query([])?;
    let mut pings = folded.cast_unsigned();
    let mut row_of = connection.prepare(FOLDED)?;
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, i64>(0)?.cast_unsigned();
        // What cannot be decoded is found by whoever opens it.
        for (position, entry) in log::entries(seq, row.get_ref(1)?.as_bytes()?).map_while(Result::ok) {
            let taken: Option<i64> = row_of.query_row([entry.id], |row| row.get(0)).optional()?;
            if taken.is_some_and(|taken| position > Position::from_column(taken)) {
                pings += Frames::new(entry.pings).count() as u64;
            }
        }
    }
    Ok(pings)
}
