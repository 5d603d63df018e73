//! `rank(table, weight, ...)`: BM25 for FTS5 queries that look at a part of their matches.
//!
//! FTS5's own `bm25` counts the matches of every phrase in the whole index before it gives the first score.
//! For common words that alone takes longer than everything else, and `LIMIT` does not shorten it. This one
//! counts up to a bound, and not at all for a query of one phrase, whose rarity is the same for every row. Its
//! scores are positive, and larger is better.
//!
//! SQLite gives no other way to positions in a match than its C interface, so this module speaks it. It
//! refuses to know which tables there are: columns without a weight count 1.
#![expect(
    unsafe_code,
    reason = "FTS5 functions are C callbacks; rusqlite has no wrapper for them. Pointers are used only during \
              the call that gave them, and the state of a query is freed by the function given with it"
)]

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use rusqlite::Connection;
use rusqlite::ffi::{
    self, Fts5Context, Fts5ExtensionApi, Fts5PhraseIter, SQLITE_DONE, SQLITE_ERROR, SQLITE_NOMEM, SQLITE_OK,
    SQLITE_ROW, fts5_api, sqlite3_context, sqlite3_value,
};

use crate::Error;

/// Rows of one phrase that are counted for its rarity; a phrase of more rows weighs as one of so many.
const RARITY_ROWS_MAX: u32 = 16_384;

/// How soon more of the same word count less, and how much the length of a text counts (the usual values).
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// Adds `rank` to the connection.
///
/// # Errors
/// As SQLite says.
pub(super) fn register(conn: &Connection) -> Result<(), Error> {
    let failed = |code: c_int| -> Error {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        Error::from(error).context("failed to add the rank function")
    };
    // SAFETY: the connection is open while it is borrowed, and nothing keeps the handle.
    let api = unsafe { fts5(conn.handle()) }.map_err(failed)?;
    // SAFETY: FTS5 gave the pointer; it lives as long as the connection.
    let create = unsafe { (*api).xCreateFunction }.ok_or_else(|| failed(SQLITE_ERROR))?;
    // SAFETY: the name is a C string and copied; `rank` has the signature; there is no user data to free.
    let code = unsafe { create(api, c"rank".as_ptr(), null_mut(), Some(rank), None) };
    if code == SQLITE_OK {
        Ok(())
    } else {
        Err(failed(code))
    }
}

/// FTS5's interface: `SELECT fts5(?1)` writes it into a bound pointer (<https://sqlite.org/fts5.html#extending_fts5>).
///
/// # Safety
/// `db` is an open connection.
unsafe fn fts5(db: *mut ffi::sqlite3) -> Result<*mut fts5_api, c_int> {
    let mut api: *mut fts5_api = null_mut();
    let mut statement = null_mut();
    let sql = c"SELECT fts5(?1)";
    // SAFETY: all pointers live until `finalize`; `api` outlives the statement that writes it.
    unsafe {
        let mut code = ffi::sqlite3_prepare_v2(db, sql.as_ptr(), -1, &raw mut statement, null_mut());
        if code == SQLITE_OK {
            let into = (&raw mut api).cast::<c_void>();
            code = ffi::sqlite3_bind_pointer(statement, 1, into, c"fts5_api_ptr".as_ptr(), None);
        }
        if code == SQLITE_OK {
            code = ffi::sqlite3_step(statement);
        }
        ffi::sqlite3_finalize(statement);
        match code {
            SQLITE_ROW if !api.is_null() => Ok(api),
            SQLITE_ROW => Err(SQLITE_ERROR),
            code => Err(code),
        }
    }
}

/// What is the same for all rows of a query.
struct Query {
    /// How rare each phrase is.
    rarity: Vec<f64>,
    /// Tokens in a row, on average.
    mean_tokens: f64,
}

/// Called by FTS5 for each row.
unsafe extern "C" fn rank(
    api: *const Fts5ExtensionApi,
    fts: *mut Fts5Context,
    context: *mut sqlite3_context,
    count: c_int,
    values: *mut *mut sqlite3_value,
) {
    // SAFETY: SQLite gives valid pointers for the time of the call, and `values` has `count` of them.
    unsafe {
        let match_ = Match { api: &*api, fts };
        let weight = |column: c_int| {
            if column < count {
                ffi::sqlite3_value_double(*values.add(usize::try_from(column).unwrap_or(0)))
            } else {
                1.0
            }
        };
        match match_.score(weight) {
            Ok(score) => ffi::sqlite3_result_double(context, score),
            Err(code) => ffi::sqlite3_result_error_code(context, code),
        }
    }
}

/// One row that matches, as FTS5 shows it.
struct Match<'c> {
    api: &'c Fts5ExtensionApi,
    fts: *mut Fts5Context,
}

/// A function of the interface; FTS5 has them all.
fn given<F>(function: Option<F>) -> Result<F, c_int> {
    function.ok_or(SQLITE_ERROR)
}

fn check(code: c_int) -> Result<(), c_int> {
    if code == SQLITE_OK { Ok(()) } else { Err(code) }
}

impl Match<'_> {
    fn score(&self, weight: impl Fn(c_int) -> f64) -> Result<f64, c_int> {
        let query = self.query()?;
        let mut tokens = 0;
        // SAFETY: within the call; -1 asks for all columns.
        check(unsafe { given(self.api.xColumnSize)?(self.fts, -1, &raw mut tokens) })?;
        let length = 1.0 - B + B * f64::from(tokens) / query.mean_tokens;
        let mut score = 0.0;
        for (phrase, rarity) in (0..).zip(&query.rarity) {
            let found = self.frequency(phrase, &weight)?;
            score += rarity * found * (K1 + 1.0) / (found + K1 * length);
        }
        Ok(score)
    }

    /// How often a phrase is in the row, by the weights of the columns.
    fn frequency(&self, phrase: c_int, weight: impl Fn(c_int) -> f64) -> Result<f64, c_int> {
        let (first, next) = (given(self.api.xPhraseFirst)?, given(self.api.xPhraseNext)?);
        let mut places = Fts5PhraseIter {
            a: std::ptr::null(),
            b: std::ptr::null(),
        };
        let (mut column, mut offset, mut sum) = (0, 0, 0.0);
        // SAFETY: within the call; the iterator is used with the row that it was made for.
        unsafe {
            check(first(
                self.fts,
                phrase,
                &raw mut places,
                &raw mut column,
                &raw mut offset,
            ))?;
            while column >= 0 {
                sum += weight(column);
                next(self.fts, &raw mut places, &raw mut column, &raw mut offset);
            }
        }
        Ok(sum)
    }

    /// The query's state: made for its first row, kept by FTS5.
    fn query(&self) -> Result<&Query, c_int> {
        // SAFETY: within the call; what is kept under this function is a `Query` of ours.
        let kept = unsafe { given(self.api.xGetAuxdata)?(self.fts, 0) }.cast::<Query>();
        // SAFETY: FTS5 frees it after the query's last row, and it is changed by nobody.
        if let Some(query) = unsafe { kept.as_ref() } {
            return Ok(query);
        }
        let query = Box::into_raw(Box::new(self.new_query()?));
        // SAFETY: the pointer is a box that `free_query` takes back; FTS5 calls that on failure too.
        let code = unsafe { given(self.api.xSetAuxdata)?(self.fts, query.cast(), Some(free_query)) };
        check(code)?;
        // SAFETY: as above.
        unsafe { query.as_ref() }.ok_or(SQLITE_NOMEM)
    }

    fn new_query(&self) -> Result<Query, c_int> {
        let (mut rows, mut tokens) = (0, 0);
        // SAFETY: within the call; -1 asks for all columns.
        let phrases = unsafe {
            check(given(self.api.xRowCount)?(self.fts, &raw mut rows))?;
            check(given(self.api.xColumnTotalSize)?(self.fts, -1, &raw mut tokens))?;
            given(self.api.xPhraseCount)?(self.fts)
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of rows and words, far below 2^52"
        )]
        let (rows, tokens) = (rows.max(1) as f64, tokens.max(1) as f64);
        let rarity = if phrases == 1 {
            vec![1.0]
        } else {
            (0..phrases)
                .map(|phrase| {
                    let with = f64::from(self.rows_with(phrase)?).min(rows);
                    Ok((1.0 + (rows - with + 0.5) / (with + 0.5)).ln())
                })
                .collect::<Result<_, c_int>>()?
        };
        Ok(Query {
            rarity,
            mean_tokens: tokens / rows,
        })
    }

    fn rows_with(&self, phrase: c_int) -> Result<u32, c_int> {
        let mut rows = 0_u32;
        let into = (&raw mut rows).cast::<c_void>();
        // SAFETY: `rows` outlives the call, which is the only time in which `count_row` runs.
        check(unsafe { given(self.api.xQueryPhrase)?(self.fts, phrase, into, Some(count_row)) })?;
        Ok(rows)
    }
}

/// Called by FTS5 for each row of a phrase.
unsafe extern "C" fn count_row(_: *const Fts5ExtensionApi, _: *mut Fts5Context, rows: *mut c_void) -> c_int {
    // SAFETY: `rows_with` gives a pointer to its counter, and waits for the end of the calls.
    let rows = unsafe { &mut *rows.cast::<u32>() };
    *rows += 1;
    if *rows < RARITY_ROWS_MAX {
        SQLITE_OK
    } else {
        SQLITE_DONE
    }
}

/// Called by FTS5 when the query ends.
unsafe extern "C" fn free_query(query: *mut c_void) {
    // SAFETY: the pointer is the box of `Match::query`, given back once.
    drop(unsafe { Box::from_raw(query.cast::<Query>()) });
}

#[cfg(test)]
mod tests;
