//! Keeps a second process off the database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The lock file beside the database; the system lets go of it with the process, however that ends.
#[derive(Debug)]
pub(crate) struct LockFile {
    _file: File,
}

pub(crate) enum LockError {
    /// Somebody has it; the text says who.
    Held(String),
    Io(io::Error),
}

impl LockFile {
    pub(crate) fn path(database: &Path) -> PathBuf {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        name.into()
    }

    pub(crate) fn take(database: &Path) -> Result<Self, LockError> {
        let path = Self::path(database);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(path).map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        let mut note = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note().map_err(LockError::Io)?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(32).read_to_string(&mut text).map(|_| text.trim().parse::<u32>()) {
        Ok(Ok(id)) if id == std::process::id() => "this process already".to_owned(),
        Ok(Ok(id)) => format!("process {id}"),
        _ => "another process".to_owned(),
    }
}
