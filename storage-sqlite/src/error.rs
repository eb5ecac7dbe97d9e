//! What SQLite's errors mean to the caller.

use std::fmt::Display;

use heartbeat_engine::StorageError;
use rusqlite::{Error, ErrorCode};

/// A read or a write that was rolled back.
pub(crate) fn rolled_back(error: &Error) -> StorageError {
    if is_corruption(error) {
        return StorageError::Corrupt(error.to_string());
    }
    StorageError::Unavailable(match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => format!("there is no room left for the database ({error})"),
        Some(ErrorCode::ReadOnly) => format!("the database cannot be written ({error})"),
        _ => error.to_string(),
    })
}

/// A COMMIT that failed. Its last frame may have reached the log, to be found there after a loss of power.
pub(crate) fn of_commit(error: &Error) -> StorageError {
    match error.sqlite_error_code() {
        Some(ErrorCode::SystemIoFailure) => StorageError::Unknown(error.to_string()),
        _ => rolled_back(error),
    }
}

/// Whether the connection may be the trouble, so that a new one may help.
pub(crate) fn taints_connection(error: &Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        None | Some(ErrorCode::DiskFull | ErrorCode::ConstraintViolation | ErrorCode::DatabaseBusy | ErrorCode::TooBig)
    )
}

/// What is stored cannot be understood.
pub(crate) fn undecodable(what: &dyn Display, error: &dyn Display) -> StorageError {
    StorageError::Corrupt(format!("the stored {what} cannot be read: {error}"))
}

fn is_corruption(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(
            error,
            Error::InvalidColumnType(..)
                | Error::FromSqlConversionFailure(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::Utf8Error(..)
        )
}
