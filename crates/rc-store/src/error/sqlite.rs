//! SQLite's result codes, by what the caller can do (<https://www.sqlite.org/rescode.html>).

use rusqlite::ErrorCode;

use super::{Error, ErrorKind, UNAVAILABLE_RETRY};

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let (kind, what) = of_error(&error);
        Self::caused(kind, what, error)
    }
}

/// The stable code of a failed statement; `None` for a query without a row, which is an answer.
pub(crate) fn code(error: &rusqlite::Error) -> Option<&'static str> {
    match error {
        rusqlite::Error::QueryReturnedNoRows => None,
        error => Some(of_error(error).0.code()),
    }
}

fn of_error(error: &rusqlite::Error) -> (ErrorKind, &'static str) {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => of_code(failure.code),
        rusqlite::Error::SqlInputError { .. } => (ErrorKind::Bug, "wrong SQL"),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => (ErrorKind::Corrupt, "a stored value is not what was written"),
        _ => (ErrorKind::Bug, "SQLite was used wrongly"),
    }
}

fn of_code(code: ErrorCode) -> (ErrorKind, &'static str) {
    let unavailable = ErrorKind::Unavailable {
        retry_after: UNAVAILABLE_RETRY,
    };
    match code {
        // Our only writer holds the write lock, so these come from a foreign process with the file open.
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => (unavailable, "the database is locked"),
        ErrorCode::ConstraintViolation => (ErrorKind::Constraint, "a constraint refused the data"),
        ErrorCode::TooBig => (ErrorKind::Constraint, "a value is larger than SQLite takes"),
        ErrorCode::OperationInterrupted => (ErrorKind::Timeout, "the statement ran too long"),
        ErrorCode::DatabaseCorrupt => (ErrorKind::Corrupt, "the database is damaged"),
        ErrorCode::NotADatabase => (ErrorKind::Foreign, "the file is not a SQLite database"),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            (ErrorKind::ReadOnly, "the database cannot be written")
        }
        ErrorCode::DiskFull => (ErrorKind::DiskFull, "the disk is full"),
        ErrorCode::CannotOpen => (unavailable, "the database cannot be opened"),
        ErrorCode::SystemIoFailure => (unavailable, "the disk failed"),
        ErrorCode::OutOfMemory => (unavailable, "out of memory"),
        _ => (ErrorKind::Bug, "SQLite was used wrongly"),
    }
}
