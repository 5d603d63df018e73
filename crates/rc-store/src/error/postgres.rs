//! PostgreSQL's SQLSTATE, by what the caller can do
//! (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).

use super::{Error, ErrorKind, UNAVAILABLE_RETRY};

/// `insufficient_privilege`.
const DENIED: &str = "42501";

const UNAVAILABLE: ErrorKind = ErrorKind::Unavailable {
    retry_after: UNAVAILABLE_RETRY,
};

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let (kind, what) = match error.code() {
            Some(state) => of_sqlstate(state.code()),
            // Without a SQLSTATE the server did not answer: a socket, a TLS or a protocol failure. A
            // wrongly typed parameter is ours.
            None if error.is_closed() || std::error::Error::source(&error).is_some_and(is_io) => {
                (UNAVAILABLE, "the connection to PostgreSQL broke")
            }
            None => (ErrorKind::Bug, "PostgreSQL was used wrongly"),
        };
        // Names of tables, columns and roles, and no value: who reads a log or `/ready` needs to know which.
        let denied = error.as_db_error().filter(|said| said.code().code() == DENIED);
        match denied.map(|said| format!("{what}: {}", said.message())) {
            Some(what) => Self::caused(kind, what, error),
            None => Self::caused(kind, what, error),
        }
    }
}

fn is_io(source: &(dyn std::error::Error + 'static)) -> bool {
    source.is::<std::io::Error>()
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        use deadpool_postgres::PoolError;
        match error {
            PoolError::Backend(error) => {
                let inner = Self::from(error);
                match inner.kind() {
                    ErrorKind::Bug => Self::caused(UNAVAILABLE, "PostgreSQL cannot be reached", inner),
                    _ => inner.context("PostgreSQL cannot be reached"),
                }
            }
            PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => Self::new(
                ErrorKind::Busy {
                    retry_after: UNAVAILABLE_RETRY,
                },
                "all connections to PostgreSQL are in use",
            ),
            PoolError::Timeout(_) => Self::new(UNAVAILABLE, "PostgreSQL did not answer in time"),
            PoolError::Closed => Self::closed(),
            PoolError::NoRuntimeSpecified => Self::bug("the pool has no runtime"),
            PoolError::PostCreateHook(error) => {
                Self::caused(UNAVAILABLE, "PostgreSQL cannot be reached", error.to_string())
            }
        }
    }
}

/// The kind of a SQLSTATE and our words for it.
pub(super) fn of_sqlstate(state: &str) -> (ErrorKind, &'static str) {
    match state {
        "57014" => (ErrorKind::Timeout, "the statement ran too long"),
        "25P03" | "57P05" => (ErrorKind::Timeout, "the transaction idled too long"),
        "40001" | "40P01" | "55P03" => (ErrorKind::Conflict, "a concurrent transaction won"),
        "25006" => (ErrorKind::ReadOnly, "the database cannot be written"),
        "53100" => (ErrorKind::DiskFull, "the database's disk is full"),
        "XX001" | "XX002" => (ErrorKind::Corrupt, "the database is damaged"),
        "28P01" | "28000" => (UNAVAILABLE, "PostgreSQL refused the user or the password"),
        "3D000" => (UNAVAILABLE, "the database does not exist"),
        // A row that does not satisfy a row-level-security policy: the second wall held.
        DENIED => (ErrorKind::Bug, "PostgreSQL denied the statement"),
        _ => match &state.get(..2) {
            Some("08" | "53" | "57" | "58") => (UNAVAILABLE, "PostgreSQL is not available"),
            Some("22" | "23") => (ErrorKind::Constraint, "a constraint refused the data"),
            Some("40") => (ErrorKind::Conflict, "a concurrent transaction won"),
            _ => (ErrorKind::Bug, "PostgreSQL refused the statement"),
        },
    }
}
