//! Opening a database file, and everything that can be wrong with it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::StorageError;
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::checkpoint::{self, WalGauge};
use crate::lock::{LockError, LockFile};
use crate::migrations::{self, APPLICATION_ID, VERSION};
use crate::options::{SqliteOptions, Synchronous};

/// Why a database file cannot be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory of the file does not exist.
    #[error("the directory `{}` does not exist; make it or name another file", .directory.display())]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// The file or its directory cannot be written.
    #[error("`{}` cannot be written ({source}); the database needs write access to its file and to its directory", .path.display())]
    NotWritable {
        /// What cannot be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is something else than a file.
    #[error("`{}` is not a file; name a file for the database", .path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// Another process works on the file.
    #[error("`{}` is in use by {holder}; stop that one, or give each its own file", .path.display())]
    Locked {
        /// The database.
        path: PathBuf,
        /// Who has it: `process 1234`.
        holder: String,
    },
    /// The file is no SQLite database.
    #[error("`{}` is not a database: it belongs to something else or is damaged; name another file or restore a backup", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is the SQLite database of another program.
    #[error("`{}` is the database of another program; name another file", .path.display())]
    OtherProgram {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote the file.
    #[error("`{}` has version {found}, and this program knows versions up to {known}; use a newer program", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its tables.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// The file is damaged.
    #[error("`{}` is damaged ({detail}); restore a backup", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Something else went wrong.
    #[error("`{}` cannot be opened: {detail}", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite said.
        detail: String,
    },
}

/// A checked, locked and migrated database.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) connection: Connection,
    pub(crate) lock: LockFile,
    pub(crate) wal: Arc<WalGauge>,
}

pub(crate) fn open(path: &Path, options: &SqliteOptions) -> Result<Opened, OpenError> {
    let path = absolute(path)?;
    let lock = LockFile::take(&path).map_err(|error| match error {
        LockError::Held(holder) => OpenError::Locked { path: path.clone(), holder },
        LockError::Io(source) => from_io(&LockFile::path(&path), source),
    })?;
    check_file(&path)?;
    let failed = |error: rusqlite::Error| from_sqlite(&path, &error);
    let mut connection =
        Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_CREATE | writer_flags()).map_err(failed)?;
    check_contents(&connection, &path)?;
    let wal = Arc::new(WalGauge::default());
    configure_writer(&mut connection, options, &wal).map_err(failed)?;
    empty_write_ahead_log(&connection).map_err(failed)?;
    let from = migrations::migrate(&mut connection, options, &wal).map_err(|error| from_storage(&path, &error))?;
    // Version 0 is a file that was just made.
    if from != 0 && from != VERSION {
        tracing::info!(path = %path.display(), from, to = VERSION, "the database was brought to a newer version");
    }
    Ok(Opened { path, connection, lock, wal })
}

/// Writes what the write-ahead log of an earlier process holds into the file. That process may have died between a write and its sync,
/// or after a sync that failed, upon which some systems take for clean what never reached the disk: nothing new may be
/// appended to such a log, since a loss of power would cut off both.
fn empty_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    if !checkpoint::all(connection)? {
        tracing::warn!(
            "the write-ahead log of the database is not copied into its file, because another program reads it"
        );
    }
    Ok(())
}

/// A connection for the writer to a database that was opened before.
pub(crate) fn writer(path: &Path, options: &SqliteOptions, wal: &Arc<WalGauge>) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_with_flags(path, writer_flags())?;
    configure_writer(&mut connection, options, wal)?;
    Ok(connection)
}

/// A connection that only copies the write-ahead log into the file.
pub(crate) fn checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, writer_flags())?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// A connection to a database that nobody else works on.
pub(crate) fn exclusive(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, writer_flags())
}

/// A connection that only reads.
pub(crate) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure_statements(&connection)?;
    Ok(connection)
}

/// What holds for everybody who reads or writes.
fn configure_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Else SQLite plans some statements anew at every execution, in case another plan suits the new values better.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// How long a connection waits for a checkpoint or a recovery by another one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENTS_CACHED: usize = 64;
/// How much of the file the writer keeps in memory. More is slower: in a file of less than 1 GiB SQLite looks through all of it at
/// the end of each transaction that put neighbouring pages into order (`pcache1TruncateUnsafe`), which most that fold do.
const WRITER_CACHE_KIB: i64 = 16 << 10;
/// How much of the log is kept on disk once it was folded.
const LOG_BYTES_KEPT: i64 = 16 << 20;

fn writer_flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn configure_writer(connection: &mut Connection, options: &SqliteOptions, wal: &Arc<WalGauge>) -> rusqlite::Result<()> {
    configure_statements(connection)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let text = format!("the file system does not allow a write-ahead log (mode `{mode}`)");
        return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR), Some(text)));
    }
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // In place of SQLite's own checkpoints.
    let gauge = Arc::clone(wal);
    connection.wal_hook(Some(move |_: &mut Wal, pages| {
        gauge.set(u64::try_from(pages).unwrap_or(0));
        Ok(())
    }))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
    if let Some(bytes) = options.max_file_bytes {
        let page_bytes: u64 = connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?.into();
        let pages = u32::try_from(bytes / page_bytes).unwrap_or(u32::MAX - 1);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(())
}

/// One name for the file, so that every way to write it leads to the same lock.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(OpenError::NotAFile { path: path.to_owned() }),
        Ok(_) => return fs::canonicalize(path).map_err(|source| from_io(path, source)),
        Err(_) => (),
    }
    let Some(name) = path.file_name() else { return Err(OpenError::NotAFile { path: path.to_owned() }) };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::canonicalize(directory) {
        Ok(directory) if directory.is_dir() => Ok(directory.join(name)),
        Ok(_) => Err(OpenError::NoDirectory { directory: directory.to_owned() }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(OpenError::NoDirectory { directory: directory.to_owned() })
        }
        Err(source) => Err(from_io(directory, source)),
    }
}

/// Looks at the first bytes, before SQLite touches anything.
fn check_file(path: &Path) -> Result<(), OpenError> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return make_file(path).map_err(|source| from_io(path, source));
        }
        Err(source) => return Err(from_io(path, source)),
    };
    let length = file.metadata().map_err(|source| from_io(path, source))?.len();
    if length == 0 {
        return Ok(());
    }
    let mut header = [0; 100];
    let whole = read_start(&mut file, &mut header).map_err(|source| from_io(path, source))?;
    if !whole || !header.starts_with(b"SQLite format 3\0") {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    }
    let number =
        |at: usize| u64::from(u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
    let page_bytes = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65_536,
        bytes => bytes,
    };
    // With a log, the file may rightly lag behind its header: a checkpoint was cut short.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = fs::metadata(log).is_ok_and(|log| log.len() > 0);
    if !has_log && number(24) == number(92) && number(28) * page_bytes > length {
        let detail = format!("it has {length} bytes and should have {}", number(28) * page_bytes);
        return Err(OpenError::Damaged { path: path.to_owned(), detail });
    }
    Ok(())
}

/// The file holds ping tokens and signing secrets, so nobody else may read it. Its log gets the same permissions.
fn make_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn read_start(file: &mut File, into: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whose database it is and of which version; the log counts, so only SQLite can tell.
pub(crate) fn check_contents(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| from_sqlite(path, &error);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let version = migrations::version(connection).map_err(failed)?;
    let empty = tables == 0 && application == 0 && version == 0;
    if !empty && application != APPLICATION_ID {
        return Err(OpenError::OtherProgram { path: path.to_owned() });
    }
    if version > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    Ok(())
}

pub(crate) fn from_storage(path: &Path, error: &StorageError) -> OpenError {
    let path = path.to_owned();
    match error {
        StorageError::Corrupt(detail) => OpenError::Damaged { path, detail: detail.clone() },
        other => OpenError::Failed { path, detail: other.to_string() },
    }
}

fn from_io(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => OpenError::NotWritable { path, source },
        _ => OpenError::Failed { path, detail: source.to_string() },
    }
}

pub(crate) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, detail: error.to_string() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::Locked { path, holder: "a program that keeps it locked".to_owned() }
        }
        _ => OpenError::Failed { path, detail: error.to_string() },
    }
}
