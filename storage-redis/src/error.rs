//! What an error of Redis means for the caller.

use heartbeat_engine::StorageError;
use heartbeat_engine::compact::CompactError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Of a command that only reads.
pub(crate) fn reading(error: &RedisError) -> StorageError {
    match of_server(error) {
        Some(known) => known,
        None => StorageError::Unavailable(error.to_string()),
    }
}

/// Of a command that was sent and may have been carried out.
pub(crate) fn writing(error: &RedisError) -> StorageError {
    match of_server(error) {
        Some(known) => known,
        None => StorageError::Unknown(error.to_string()),
    }
}

/// The server refused it, so nothing was written; `None` where that is not certain.
fn of_server(error: &RedisError) -> Option<StorageError> {
    // Of several commands the first that was refused.
    let several = error.clone().into_server_errors();
    let code = several.as_ref().and_then(|errors| errors.first()).map(|(_, error)| error.code());
    match code.or_else(|| error.code()) {
        Some("FENCED") => return Some(StorageError::Fenced),
        Some("WRONGTYPE") => return Some(StorageError::Corrupt(format!("a key is of another type: {error}"))),
        _ => (),
    }
    match error.kind() {
        // Of the server's plain errors those from within a script come from what is stored; others say, for example, that it has
        // too many clients.
        ErrorKind::Server(ServerErrorKind::ResponseError) if error.to_string().contains("script") => {
            Some(StorageError::Corrupt(error.to_string()))
        }
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Some(StorageError::Corrupt(error.to_string())),
        ErrorKind::Server(_)
        | ErrorKind::Extension
        | ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig => Some(StorageError::Unavailable(error.to_string())),
        _ => None,
    }
}

/// What is stored cannot be decoded.
pub(crate) fn damaged(what: &str, error: &CompactError) -> StorageError {
    StorageError::Corrupt(format!("{what}: {error}"))
}

/// What is stored is not the JSON that was written.
pub(crate) fn damaged_json(what: &str, error: &serde_json::Error) -> StorageError {
    StorageError::Corrupt(format!("{what}: {error}"))
}

/// What was to be written is not JSON; nothing of the engine is so.
pub(crate) fn unencodable(error: impl std::fmt::Display) -> StorageError {
    StorageError::Unavailable(format!("it cannot be written: {error}"))
}
