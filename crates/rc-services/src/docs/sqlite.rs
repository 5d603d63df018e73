//! The read model in one SQLite file: a table of documents, and one full-text table a tenant.
//!
//! A tenant's own FTS5 table makes its statistics, its ranking and its latency its own. The table keeps
//! no text (contentless); rows get ever larger numbers, because FTS5 writes its pending words out
//! whenever a row number goes back.

mod handover;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rc_events::consumer::sqlite as consumer;
use rc_events::{Applied, Batch, Books, Mode};
use rc_model::{TenantId, Timestamp};
use rc_store::rusqlite::{self, Row};
use rc_store::{
    Conn, Database, Error, Migration, Migrations, Sqlite, SqliteOptions, TenantConn, TenantDb, TenantSql,
};

use super::model::{Hit, Page, Place, Plan, Put, Search, Stored, plan};
use super::store::{CONSUMER, DocsStore};
use super::turns::Turns;
use crate::document::{Document, Fingerprint, TOPIC};
use crate::text::{attr_token, fold, fts5_match};

/// Tenants with documents in one file. Each has five tables, whose definitions every connection reads
/// when it opens; beyond this the store to use is PostgreSQL.
pub const TENANTS_MAX: i64 = 1_000;

/// Matches of one search that are ranked, the newest ones: a few milliseconds of scoring. What matches more
/// is a common word, of which the score says little.
pub(super) const RANKED_MAX: i64 = 4_096;

const _: () = assert!(
    RANKED_MAX > super::store::TOTAL_EXACT_MAX.cast_signed(),
    "the count stops at the ranked ones"
);

/// Pages that one step of [`DocsStore::tidy`] may write: some 10 ms.
const MERGE_PAGES: i64 = 250;

/// The schema of `docs.db`.
pub const MIGRATIONS: Migrations = Migrations::new(
    "docs-api",
    &[Migration {
        number: 1,
        name: "create_read_model",
        up: "
CREATE TABLE documents (
    row_no INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    time_ms INTEGER,
    updated_ms INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    title TEXT,
    attrs TEXT,
    text TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX documents_by_id ON documents (tenant, id);
CREATE TABLE indexes (
    tenant TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
",
        down: "
DROP TABLE indexes;
DROP TABLE documents;
",
    }],
);

// Every statement on `documents` by id uses `documents_by_id`, by row the primary key.
const GET: TenantSql = TenantSql::new(
    "SELECT id, version, time_ms, updated_ms, fingerprint, title, attrs, text
     FROM documents WHERE tenant = ?1 AND id = ?2",
);
const GET_ROW: TenantSql = TenantSql::new(
    "SELECT id, version, time_ms, updated_ms, fingerprint, title, attrs, text
     FROM documents WHERE tenant = ?1 AND row_no = ?2",
);
const FIND: TenantSql = TenantSql::new("SELECT row_no FROM documents WHERE tenant = ?1 AND id = ?2");
/// Deleted documents keep their number here.
const VERSION: TenantSql = TenantSql::new(
    "SELECT kseq FROM consumer_keys WHERE consumer = ?2 AND tenant = ?1 AND topic = ?3 AND key = ?4",
);
/// The version that a replayed event must have at least: the document's, or where there is none that of the
/// event that deleted it.
const NEWEST: TenantSql = TenantSql::new(
    "SELECT coalesce((SELECT version FROM documents WHERE tenant = ?1 AND id = ?4),
                     (SELECT kseq FROM consumer_keys
                      WHERE consumer = ?2 AND tenant = ?1 AND topic = ?3 AND key = ?4), 0)",
);
const INSERT: TenantSql = TenantSql::new(
    "INSERT INTO documents
     (tenant, row_no, id, version, time_ms, updated_ms, fingerprint, title, attrs, text)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
);
const DELETE: TenantSql = TenantSql::new("DELETE FROM documents WHERE tenant = ?1 AND row_no = ?2");
const INDEXED: TenantSql = TenantSql::new("SELECT 1 FROM indexes WHERE tenant = ?1");
const ADD_INDEX: TenantSql = TenantSql::new("INSERT INTO indexes (tenant) VALUES (?1)");

/// `ascii` passes our tokens through: it splits at the spaces that [`fold`] puts between them.
const CREATE_INDEX: TenantSql = TenantSql::new(
    r#"CREATE VIRTUAL TABLE "fts_{tenant}" USING fts5
       (title, body, attrs, content='', contentless_delete=1, tokenize='ascii')"#,
);
/// What is not FTS5's default:
///
/// - `hashsize`: words that wait in memory for their segment, in bytes: more than one batch of the projector
///   makes, so that a transaction writes one segment. The default of 1 MiB is 500 documents of 600 bytes.
/// - `automerge`: segments of one level that are merged while writing goes on. With the default of 4 each word
///   is written once more for every fourfold growth, which is half of what indexing costs; a search looks at
///   more segments instead, some microseconds each, until an idle moment merges them.
/// - `crisismerge`: a merge of a whole level at once would hold the writer for seconds; the automatic ones,
///   which are in proportion to what is written, and those of idle times keep the levels short.
/// - `usermerge`: a merge that is asked for starts from two segments.
const SET_UP_INDEX: TenantSql = TenantSql::new(
    r#"INSERT INTO "fts_{tenant}" ("fts_{tenant}", rank)
       VALUES ('hashsize', 33554432), ('automerge', 16), ('crisismerge', 64), ('usermerge', 2)"#,
);
const MERGE: TenantSql =
    TenantSql::new(r#"INSERT INTO "fts_{tenant}" ("fts_{tenant}", rank) VALUES ('merge', ?2)"#);
const INDEX: TenantSql =
    TenantSql::new(r#"INSERT INTO "fts_{tenant}" (rowid, title, body, attrs) VALUES (?2, ?3, ?4, ?5)"#);
const UNINDEX: TenantSql = TenantSql::new(r#"DELETE FROM "fts_{tenant}" WHERE rowid = ?2"#);

/// Title counts four times the text; attributes are for filters and count nothing. FTS5 walks its matches by
/// descending row without sorting, so the newest ones are found at the price of a look at each.
const SEARCH: TenantSql = TenantSql::new(
    r#"SELECT rowid, rank("fts_{tenant}", 4.0, 1.0, 0.0) FROM "fts_{tenant}"
       WHERE "fts_{tenant}" MATCH ?2 ORDER BY rowid DESC LIMIT ?3"#,
);
const SEARCH_IN_TIME: TenantSql = TenantSql::new(
    r#"SELECT f.rowid, rank("fts_{tenant}", 4.0, 1.0, 0.0)
       FROM "fts_{tenant}" AS f CROSS JOIN documents AS d ON d.row_no = f.rowid
       WHERE "fts_{tenant}" MATCH ?2 AND d.tenant = ?1 AND d.time_ms >= ?4 AND d.time_ms < ?5
       ORDER BY f.rowid DESC LIMIT ?3"#,
);

const LAST_ROW: &str = "SELECT coalesce(max(row_no), 0) FROM documents";
const COUNT_INDEXES: &str = "SELECT count(*) FROM indexes";

/// The read model of the embedded store.
#[derive(Debug, Clone)]
pub struct SqliteDocs {
    db: Sqlite,
    /// The same file, for requests: it runs nothing but statements of one tenant.
    tenants: TenantDb,
    /// Tenants whose index was written since its last complete merge.
    unmerged: Arc<Mutex<BTreeSet<TenantId>>>,
    turns: Turns,
}

/// A tenant's documents are here but cannot be searched: [`TENANTS_MAX`] others came first.
#[derive(Debug, thiserror::Error)]
#[error("the embedded store indexes at most {TENANTS_MAX} tenants")]
pub struct IndexFull;

impl SqliteDocs {
    /// Opens or creates the file and brings its schema up to date.
    ///
    /// # Errors
    /// As the store says.
    pub async fn open(path: &Path, options: SqliteOptions) -> Result<Self, Error> {
        let turns = Turns::of_readers(options.readers);
        let db = Sqlite::open(path, options)?;
        db.migrate(&MIGRATIONS).await?;
        db.migrate(&consumer::MIGRATIONS).await?;
        Ok(Self {
            tenants: db.tenants(),
            db,
            unmerged: Arc::default(),
            turns,
        })
    }

    fn unmerged(&self) -> std::sync::MutexGuard<'_, BTreeSet<TenantId>> {
        self.unmerged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DocsStore for SqliteDocs {
    fn get<'s>(&'s self, tenant: &'s TenantId, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, Error>> {
        let id = id.to_owned();
        async move {
            let turn = self.turns.take(tenant).await?;
            let read = self.tenants.read(tenant, "docs.get", move |conn| {
                let _turn = turn;
                conn.query_row(GET, &[&id], stored)
            });
            read.await
        }
        .boxed()
    }

    fn search<'s>(&'s self, tenant: &'s TenantId, search: &'s Search) -> BoxFuture<'s, Result<Page, Error>> {
        let search = search.clone();
        async move {
            let turn = self.turns.take(tenant).await?;
            let read = self.tenants.read(tenant, "docs.search", move |conn| {
                // Not the caller's: one that hangs up does not free the reader at once. SQLite stops
                // between steps of its machine, and FTS5 may do much within one.
                let _turn = turn;
                find(conn, &search)
            });
            read.await
        }
        .boxed()
    }

    fn missing<'s>(
        &'s self,
        tenant: &'s TenantId,
        wanted: Vec<(String, u64)>,
    ) -> BoxFuture<'s, Result<Vec<(String, u64)>, Error>> {
        self.tenants
            .read(tenant, "docs.missing", move |conn| {
                let indexed = is_indexed(conn)?;
                let mut find = conn.prepare(VERSION)?;
                let mut missing = Vec::new();
                for (id, version) in wanted {
                    let have = find.query_row(&[&CONSUMER, &TOPIC, &id], |row| row.get(0))?;
                    let reached = have.is_some_and(|have| rust_version(have) >= version);
                    // A document that is here and in no index cannot be found.
                    if !reached || (!indexed && conn.query_row(FIND, &[&id], |_| Ok(()))?.is_some()) {
                        missing.push((id, version));
                    }
                }
                Ok(missing)
            })
            .boxed()
    }

    fn books(&self) -> Arc<dyn Books> {
        Arc::new(consumer::SqliteBooks::new(self.db.clone(), CONSUMER))
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>> {
        async move {
            let (report, written) = self
                .db
                .write_alone("docs.apply", move |conn| apply(conn, &batch))
                .await?;
            self.unmerged().extend(written);
            Ok(report)
        }
        .boxed()
    }

    fn tidy(&self) -> BoxFuture<'_, Result<bool, Error>> {
        async move {
            let Some(tenant) = self.unmerged().first().cloned() else {
                return Ok(false);
            };
            let of = tenant.clone();
            let changes = self
                .db
                .write_alone("docs.merge", move |conn| {
                    let before = conn.total_changes();
                    TenantConn::new(conn, &of).execute(MERGE, &[&MERGE_PAGES])?;
                    Ok(conn.total_changes() - before)
                })
                .await?;
            let mut unmerged = self.unmerged();
            // FTS5 says by fewer than two changes that a merge had nothing to do.
            if changes < 2 {
                unmerged.remove(&tenant);
            }
            Ok(!unmerged.is_empty())
        }
        .boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.db
            .read("docs.ping", |conn| consumer::position(conn, CONSUMER).map(drop))
            .boxed()
    }

    fn database(&self) -> Option<Database> {
        Some(Database::Sqlite(self.db.clone()))
    }
}

/// Writes a batch; which tenants' indexes it touched.
fn apply(conn: &Conn, batch: &Batch) -> Result<(Applied, BTreeSet<TenantId>), Error> {
    let admitted = consumer::admit(conn, batch)?;
    let mut plan = plan(&admitted.fresh)?;
    if batch.mode() == Mode::Replay {
        plan.keep_newest(|tenant, id| -> Result<u64, Error> {
            let tenant = TenantConn::new(conn, tenant);
            let newest = tenant.query_row(NEWEST, &[&CONSUMER, &TOPIC, &id], |row| row.get(0))?;
            Ok(newest.map_or(0, rust_version))
        })?;
    }
    Ok((admitted.applied, write(conn, &plan)?))
}

/// Makes documents and indexes as `plan` says; which tenants' indexes it touched.
fn write(conn: &Conn, plan: &Plan) -> Result<BTreeSet<TenantId>, Error> {
    let mut written = BTreeSet::new();
    // Old rows go before new ones come, by ascending number: FTS5 writes its pending words out whenever a
    // number goes back.
    for (tenant, row) in old_rows(conn, plan)? {
        let tenant_conn = TenantConn::new(conn, tenant);
        tenant_conn.execute(DELETE, &[&row])?;
        if is_indexed(&tenant_conn)? {
            tenant_conn.execute(UNINDEX, &[&row])?;
            written.insert(tenant.clone());
        }
    }
    let mut row: i64 = conn.query_row(LAST_ROW, [], |row| row.get(0))?;
    // Sorted by tenant: each tenant's statements are prepared once a batch.
    for puts in plan.puts.chunk_by(|a, b| a.tenant == b.tenant) {
        if put_all(conn, puts, &mut row)? {
            written.insert(puts[0].tenant.clone());
        }
    }
    Ok(written)
}

/// The rows that a batch replaces or deletes, by ascending number.
fn old_rows<'p>(conn: &Conn, plan: &'p Plan) -> Result<Vec<(&'p TenantId, i64)>, Error> {
    let mut rows = Vec::new();
    let documents: Vec<_> = plan.documents().collect();
    for of_one in documents.chunk_by(|a, b| a.0 == b.0) {
        let tenant = of_one[0].0;
        let mut find = TenantConn::new(conn, tenant).prepare(FIND)?;
        for (_, id) in of_one {
            if let Some(row) = find.query_row(&[id], |row| row.get(0))? {
                rows.push((tenant, row));
            }
        }
    }
    rows.sort_unstable_by_key(|(_, row)| *row);
    Ok(rows)
}

/// Inserts documents of one tenant; whether they are indexed.
fn put_all(conn: &Conn, puts: &[Put], row: &mut i64) -> Result<bool, Error> {
    let conn_of_tenant = TenantConn::new(conn, &puts[0].tenant);
    let indexed = ensure_index(conn, &conn_of_tenant)?;
    let mut insert = conn_of_tenant.prepare(INSERT)?;
    let mut index = if indexed {
        Some(conn_of_tenant.prepare(INDEX)?)
    } else {
        None
    };
    for Put { stored, .. } in puts {
        *row += 1;
        let document = &stored.document;
        let attrs = (!document.attrs.is_empty())
            .then(|| serde_json::to_string(&document.attrs).expect("a map of strings always serialises"));
        insert.execute(&[
            row,
            &document.id,
            &sql_version(stored.version),
            &document.time.map(Timestamp::unix_ms),
            &stored.updated_at.unix_ms(),
            &stored.fingerprint,
            &document.title,
            &attrs,
            &document.text,
        ])?;
        if let Some(index) = &mut index {
            let title = fold(document.title.as_deref().unwrap_or_default());
            let tokens: Vec<String> = document
                .attrs
                .iter()
                .map(|(name, value)| attr_token(name, value))
                .collect();
            index.execute(&[row, &title, &fold(&document.text), &tokens.join(" ")])?;
        }
    }
    Ok(indexed)
}

/// Makes the tenant's index if it has none yet; `false` when there is no place for one more, or when the
/// tenant has documents from such a time: an index without them would hide them silently.
fn ensure_index(conn: &Conn, tenant: &TenantConn<'_>) -> Result<bool, Error> {
    if is_indexed(tenant)? {
        return Ok(true);
    }
    let indexes: i64 = conn.query_row(COUNT_INDEXES, [], |row| row.get(0))?;
    if indexes >= TENANTS_MAX || has_documents(tenant)? {
        return Ok(false);
    }
    tenant.execute(CREATE_INDEX, &[])?;
    tenant.execute(SET_UP_INDEX, &[])?;
    tenant.execute(ADD_INDEX, &[])?;
    Ok(true)
}

fn is_indexed(tenant: &TenantConn<'_>) -> Result<bool, Error> {
    Ok(tenant.query_row(INDEXED, &[], |_| Ok(()))?.is_some())
}

/// Walks the matches and keeps the page's: the index gives no order, so each of them is scored.
fn find(conn: &TenantConn<'_>, search: &Search) -> Result<Page, Error> {
    if !is_indexed(conn)? {
        return if has_documents(conn)? {
            Err(Error::abort(IndexFull))
        } else {
            Ok(Page {
                hits: Vec::new(),
                total: 0,
                more: false,
            })
        };
    }
    let text = match_text(search);
    let mut total = 0;
    let mut best: BinaryHeap<Worst> = BinaryHeap::with_capacity(search.limit + 2);
    let each = |row: &Row<'_>| {
        total += 1;
        let place = Place {
            row: row.get(0)?,
            score: row.get(1)?,
        };
        if search.after.is_none_or(|after| place.is_after(after)) {
            best.push(Worst(place));
            // One more than the page holds says whether another follows.
            if best.len() > search.limit + 1 {
                best.pop();
            }
        }
        Ok(())
    };
    if search.since.is_none() && search.until.is_none() {
        conn.query_map(SEARCH, &[&text, &RANKED_MAX], each)?;
    } else {
        let since = search.since.map_or(i64::MIN, Timestamp::unix_ms);
        let until = search.until.map_or(i64::MAX, Timestamp::unix_ms);
        conn.query_map(SEARCH_IN_TIME, &[&text, &RANKED_MAX, &since, &until], each)?;
    }
    let mut places: Vec<Place> = best.into_sorted_vec().into_iter().map(|worst| worst.0).collect();
    let more = places.len() > search.limit;
    places.truncate(search.limit);
    let mut hits = Vec::with_capacity(places.len());
    for place in places {
        if let Some(stored) = conn.query_row(GET_ROW, &[&place.row], stored)? {
            hits.push(Hit { place, stored });
        }
    }
    Ok(Page { hits, total, more })
}

const HAS_DOCUMENTS: TenantSql = TenantSql::new("SELECT 1 FROM documents WHERE tenant = ?1 LIMIT 1");

fn has_documents(conn: &TenantConn<'_>) -> Result<bool, Error> {
    Ok(conn.query_row(HAS_DOCUMENTS, &[], |_| Ok(()))?.is_some())
}

/// The user's words in title and text, and the filters' tokens in their own column.
fn match_text(search: &Search) -> String {
    let mut text = format!("({{title body}} : ({}))", fts5_match(&search.query));
    for (name, value) in &search.filters {
        text.push_str(" AND attrs : \"");
        text.push_str(&attr_token(name, value));
        text.push('"');
    }
    text
}

/// Orders a heap so that the page's worst place is on top.
#[derive(PartialEq)]
struct Worst(Place);

impl Eq for Worst {}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other
            .0
            .score
            .total_cmp(&self.0.score)
            .then(self.0.row.cmp(&other.0.row))
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let attrs: Option<String> = row.get(6)?;
    let attrs = match attrs {
        None => BTreeMap::new(),
        Some(json) => serde_json::from_str(&json).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(6, rusqlite::types::Type::Text, Box::new(error))
        })?,
    };
    let fingerprint: Fingerprint = row.get(4)?;
    Ok(Stored {
        version: rust_version(row.get(1)?),
        updated_at: Timestamp::from_unix_ms(row.get(3)?),
        fingerprint,
        document: Document {
            id: row.get(0)?,
            time: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_unix_ms),
            title: row.get(5)?,
            attrs,
            text: row.get(7)?,
        },
    })
}

/// Versions count events of one document; 2^63 of them do not happen.
fn sql_version(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn rust_version(version: i64) -> u64 {
    u64::try_from(version).unwrap_or(0)
}
