//! The read model in PostgreSQL, schema `docs` or `docs_b`.
//!
//! The tenant is in every lexeme of the search table, so that the GIN index has one list per tenant and
//! word. That table is behind no row-level security: `@@` is not leakproof, and PostgreSQL does not use an
//! index for such an operator below a policy. It holds no text; a hit becomes a document by a join with
//! `documents`, which is behind the policy.

mod handover;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rc_events::consumer::postgres as consumer;
use rc_events::{Applied, Batch, Books, Mode};
use rc_model::{TenantId, Timestamp};
use rc_store::postgres::POOL_CONNECTIONS_MAX;
use rc_store::tokio_postgres::Row;
use rc_store::{Database, Error, ErrorKind, Migration, Migrations, Param, Postgres, SystemTx, TenantSql};

use super::model::{Delete, Hit, Page, Place, Plan, Put, Search, Stored, plan};
use super::store::{CONSUMER, DocsStore, TOTAL_EXACT_MAX};
use super::turns::Turns;
use crate::document::{Document, TOPIC};
use crate::text::{TenantPrefix, tsquery, tsvector};

/// The schema of the read model.
pub const SCHEMA: &str = "docs";

/// The schema of the second generation: the read model is built anew in one of the two while the other serves.
pub const SPARE_SCHEMA: &str = "docs_b";

/// The read model in one schema.
macro_rules! read_model {
    ($schema:literal, $($step:expr),* $(,)?) => {
        Migrations::new(
            "docs-api",
            &[
                Migration {
                    number: 1,
                    name: "create_read_model",
                    up: concat!(
                        "
CREATE TABLE documents (
    tenant text NOT NULL,
    id text NOT NULL,
    row_no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    version bigint NOT NULL,
    time_ms bigint,
    updated_ms bigint NOT NULL,
    fingerprint bytea NOT NULL,
    title text,
    attrs text,
    text text NOT NULL,
    PRIMARY KEY (tenant, id)
);
",
                        rc_store::row_security!("documents"),
                        "
CREATE TABLE search (
    row_no bigint PRIMARY KEY,
    tenant text NOT NULL,
    time_ms bigint,
    words tsvector NOT NULL
);
COMMENT ON TABLE search IS 'no policy: @@ is not leakproof, so the index would not be used; holds no text';
-- No pending list: every search of every tenant would have to read it.
CREATE INDEX search_words ON search USING gin (words) WITH (fastupdate = off);
"
                    ),
                    down: "
DROP TABLE search;
DROP TABLE documents;
",
                },
                Migration {
                    number: 2,
                    name: "merge_words_of_a_batch",
                    // Only the owner of an index may merge its list; the service's role need not be that.
                    up: concat!(
                        "
ALTER INDEX search_words SET (fastupdate = on, gin_pending_list_limit = 65536);
CREATE FUNCTION merge_search_words() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = ",
                        $schema,
                        ", pg_temp
    AS $$ SELECT gin_clean_pending_list('",
                        $schema,
                        ".search_words') $$;
"
                    ),
                    down: "
ALTER INDEX search_words RESET (gin_pending_list_limit);
ALTER INDEX search_words SET (fastupdate = off);
SELECT merge_search_words();
DROP FUNCTION merge_search_words();
",
                },
                $($step,)*
            ],
        )
    };
}

/// The tables in [`SCHEMA`], where also stands which of the two serves.
pub const MIGRATIONS: Migrations = read_model!(
    "docs",
    Migration {
        number: 3,
        name: "add_generations",
        up: "
CREATE TABLE generations (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL,
    record text NOT NULL
);
",
        // The former layout knows one generation.
        down: "
DO $$ BEGIN
    IF EXISTS (SELECT 1 FROM generations WHERE record::json ->> 'live' <> 'a') THEN
        RAISE EXCEPTION 'the second generation serves: rebuild the read model once more before going back';
    END IF;
END $$;
DROP TABLE generations;
",
    },
);

/// The tables in [`SPARE_SCHEMA`].
pub const SPARE_MIGRATIONS: Migrations = read_model!("docs_b",);

const GET: TenantSql = TenantSql::new(
    "SELECT id, version, time_ms, updated_ms, fingerprint, title, attrs, text
     FROM documents WHERE tenant = $1 AND id = $2",
);

/// `$2` finds (words and filters), `$3` ranks (words alone). `ts_rank` and not `ts_rank_cd`: the cover
/// density does not saturate, so five mentions in a text would beat the title. 1 divides by the logarithm
/// of the length.
///
/// The queries are read once, in subqueries of their own: a parameter that is cast where it is used is parsed
/// again for every row, in the recheck of a phrase and in the rank, which takes a fifth to a third of the time
/// of a search for common words.
///
/// Index: `search_words` for the match, `documents_row_no_key` for the join.
pub(super) const SEARCH: TenantSql = TenantSql::new(
    "WITH matched AS MATERIALIZED (
         SELECT row_no, ts_rank('{0.25, 0.25, 0.25, 1.0}', words, (SELECT $3::text::tsquery), 1) AS score
         FROM search
         WHERE tenant = $1 AND words @@ (SELECT $2::text::tsquery)
           AND ($4::bigint IS NULL OR time_ms >= $4) AND ($5::bigint IS NULL OR time_ms < $5)
     ), page AS (
         SELECT row_no, score FROM matched
         WHERE $6::real IS NULL OR score < $6 OR (score = $6 AND row_no > $7)
         ORDER BY score DESC, row_no LIMIT $8
     ), counted AS (
         SELECT count(*) AS total FROM (SELECT 1 FROM matched LIMIT $9) AS first_ones
     )
     SELECT id, version, d.time_ms, updated_ms, fingerprint, title, attrs, text,
            page.row_no, page.score, counted.total
     FROM counted LEFT JOIN page ON true
          LEFT JOIN documents AS d ON d.row_no = page.row_no AND d.tenant = $1
     ORDER BY page.score DESC, page.row_no",
);

/// Deleted documents keep their number in `consumer_keys`.
const MISSING: TenantSql = TenantSql::new(
    "SELECT w.id, w.version
     FROM unnest($4::text[], $5::bigint[]) AS w (id, version)
     LEFT JOIN consumer_keys AS k ON k.consumer = $2 AND k.tenant = $1 AND k.topic = $3 AND k.key = w.id
     WHERE coalesce(k.kseq, 0) < w.version",
);

/// The version that a replayed event must have at least: the document's, or where there is none that of the
/// event that deleted it.
const NEWEST: &str = "SELECT k.tenant, k.key, coalesce(d.version, k.kseq)
     FROM unnest($3::text[], $4::text[]) AS w (tenant, id)
     JOIN consumer_keys k ON k.consumer = $1 AND k.tenant = w.tenant AND k.topic = $2 AND k.key = w.id
     LEFT JOIN documents d ON d.tenant = w.tenant AND d.id = w.id
     ORDER BY k.tenant, k.key FOR SHARE OF k";

const PUT: &str = "
WITH input AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[],
                         $7::text[], $8::text[], $9::text[], $10::text[])
        AS i (tenant, id, version, time_ms, updated_ms, fingerprint, title, attrs, text, words)
), put AS (
    INSERT INTO documents (tenant, id, version, time_ms, updated_ms, fingerprint, title, attrs, text)
    SELECT tenant, id, version, time_ms, updated_ms, fingerprint, title, attrs, text FROM input
    ON CONFLICT (tenant, id) DO UPDATE SET version = excluded.version, time_ms = excluded.time_ms,
        updated_ms = excluded.updated_ms, fingerprint = excluded.fingerprint, title = excluded.title,
        attrs = excluded.attrs, text = excluded.text
    RETURNING tenant, id, row_no
)
INSERT INTO search (row_no, tenant, time_ms, words)
SELECT put.row_no, put.tenant, input.time_ms, input.words::tsvector
FROM put JOIN input ON input.tenant = put.tenant AND input.id = put.id
ON CONFLICT (row_no) DO UPDATE SET time_ms = excluded.time_ms, words = excluded.words";

/// Puts the words that [`PUT`] left in the index's pending list where they belong: each word once for the whole
/// batch, not once a document, in half to a third of the time. In the same transaction, so that no search has
/// to read a list that is longer than the batches just being written.
const MERGE: &str = "SELECT merge_search_words()";

const DELETE: &str = "
WITH gone AS (
    DELETE FROM documents AS d USING unnest($1::text[], $2::text[]) AS w (tenant, id)
    WHERE d.tenant = w.tenant AND d.id = w.id
    RETURNING d.row_no
)
DELETE FROM search AS s USING gone WHERE s.row_no = gone.row_no";

/// Connections that the projector and the waits for it need.
const CONNECTIONS_KEPT: usize = 2;

/// The read model of a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresDocs {
    db: Postgres,
    turns: Turns,
}

impl PostgresDocs {
    /// The read model in `db`, whose schema is [`SCHEMA`] or [`SPARE_SCHEMA`] and migrated.
    #[must_use]
    pub fn new(db: Postgres) -> Self {
        Self {
            db,
            turns: Turns::of_readers(POOL_CONNECTIONS_MAX - CONNECTIONS_KEPT),
        }
    }
}

impl DocsStore for PostgresDocs {
    fn get<'s>(&'s self, tenant: &'s TenantId, id: &'s str) -> BoxFuture<'s, Result<Option<Stored>, Error>> {
        async move {
            let _turn = self.turns.take(tenant).await?;
            let mut client = self.db.client().await?;
            let tx = client.tenant(tenant).await?;
            let row = tx.query_opt(GET, &[&id]).await?;
            row.as_ref().map(stored).transpose()
        }
        .boxed()
    }

    fn search<'s>(&'s self, tenant: &'s TenantId, search: &'s Search) -> BoxFuture<'s, Result<Page, Error>> {
        async move {
            let _turn = self.turns.take(tenant).await?;
            let prefix = TenantPrefix::of(tenant);
            let words = tsquery(&search.query, &prefix);
            let mut wanted = format!("({words})");
            for (name, value) in &search.filters {
                wanted.push_str(" & ");
                wanted.push_str(&prefix.attr_lexeme(name, value));
            }
            let limit = i64::try_from(search.limit + 1).unwrap_or(i64::MAX);
            let count_max = i64::try_from(TOTAL_EXACT_MAX + 1).unwrap_or(i64::MAX);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the score came from a `real` and goes back as it was"
            )]
            let after_score = search.after.map(|place| place.score as f32);
            let mut client = self.db.client().await?;
            let tx = client.tenant(tenant).await?;
            let rows = tx
                .query(
                    SEARCH,
                    &[
                        &wanted,
                        &words,
                        &search.since.map(Timestamp::unix_ms),
                        &search.until.map(Timestamp::unix_ms),
                        &after_score,
                        &search.after.map(|place| place.row),
                        &limit,
                        &count_max,
                    ],
                )
                .await?;
            page(&rows, search.limit)
        }
        .boxed()
    }

    fn missing<'s>(
        &'s self,
        tenant: &'s TenantId,
        wanted: Vec<(String, u64)>,
    ) -> BoxFuture<'s, Result<Vec<(String, u64)>, Error>> {
        async move {
            let (ids, versions): (Vec<String>, Vec<i64>) = wanted
                .into_iter()
                .map(|(id, version)| (id, sql_version(version)))
                .unzip();
            let mut client = self.db.client().await?;
            let tx = client.tenant(tenant).await?;
            let rows = tx.query(MISSING, &[&CONSUMER, &TOPIC, &ids, &versions]).await?;
            rows.iter()
                .map(|row| Ok((row.try_get(0)?, rust_version(row.try_get(1)?))))
                .collect()
        }
        .boxed()
    }

    fn books(&self) -> Arc<dyn Books> {
        Arc::new(consumer::PostgresBooks::new(self.db.clone(), CONSUMER))
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>> {
        async move {
            let mut client = self.db.client().await?;
            let tx = client.system().await?;
            let admitted = consumer::admit(&tx, &batch).await?;
            let mut plan = plan(&admitted.fresh)?;
            if batch.mode() == Mode::Replay {
                let newest = newest(&tx, &plan).await?;
                plan.keep_newest(|tenant, id| -> Result<u64, Error> {
                    let version = newest.get(&(tenant.to_string(), id.to_owned()));
                    Ok(version.copied().unwrap_or(0))
                })?;
            }
            delete(&tx, &plan.deletes).await?;
            put(&tx, &plan.puts).await?;
            tx.commit().await?;
            Ok(admitted.applied)
        }
        .boxed()
    }

    fn tidy(&self) -> BoxFuture<'_, Result<bool, Error>> {
        // Autovacuum does it.
        std::future::ready(Ok(false)).boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.db.ping().boxed()
    }

    fn database(&self) -> Option<Database> {
        Some(Database::Postgres(self.db.clone()))
    }
}

/// The number of the last event of each document of a plan. Its row is locked: whoever applies the next one
/// comes before or after, not between.
async fn newest(tx: &SystemTx<'_>, plan: &Plan) -> Result<HashMap<(String, String), u64>, Error> {
    let (tenants, ids): (Vec<&str>, Vec<&str>) =
        plan.documents().map(|(tenant, id)| (tenant.as_str(), id)).unzip();
    let rows = tx.query(NEWEST, &[&CONSUMER, &TOPIC, &tenants, &ids]).await?;
    rows.iter()
        .map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), rust_version(row.try_get(2)?))))
        .collect()
}

async fn delete(tx: &SystemTx<'_>, deletes: &[Delete]) -> Result<(), Error> {
    if deletes.is_empty() {
        return Ok(());
    }
    let (tenants, ids): (Vec<&str>, Vec<&str>) = deletes
        .iter()
        .map(|delete| (delete.tenant.as_str(), delete.id.as_str()))
        .unzip();
    tx.execute(DELETE, &[&tenants, &ids]).await?;
    Ok(())
}

async fn put(tx: &SystemTx<'_>, puts: &[Put]) -> Result<(), Error> {
    if puts.is_empty() {
        return Ok(());
    }
    let mut rows = Columns::default();
    for Put { tenant, stored } in puts {
        let document = &stored.document;
        let title = document.title.as_deref();
        rows.tenant.push(tenant.as_str());
        rows.id.push(&document.id);
        rows.version.push(sql_version(stored.version));
        rows.time_ms.push(document.time.map(Timestamp::unix_ms));
        rows.updated_ms.push(stored.updated_at.unix_ms());
        rows.fingerprint.push(&stored.fingerprint);
        rows.title.push(title);
        rows.attrs
            .push((!document.attrs.is_empty()).then(|| {
                serde_json::to_string(&document.attrs).expect("a map of strings always serialises")
            }));
        rows.text.push(&document.text);
        let words = tsvector(
            title.unwrap_or_default(),
            &document.text,
            &document.attrs,
            &TenantPrefix::of(tenant),
        );
        rows.words.push(words);
    }
    let put: [Param<'_>; 10] = [
        &rows.tenant,
        &rows.id,
        &rows.version,
        &rows.time_ms,
        &rows.updated_ms,
        &rows.fingerprint,
        &rows.title,
        &rows.attrs,
        &rows.text,
        &rows.words,
    ];
    tx.flight(&[(PUT, &put), (MERGE, &[])]).await?;
    Ok(())
}

/// The arrays that a batch is sent as: one round trip whatever its size.
#[derive(Default)]
struct Columns<'c> {
    tenant: Vec<&'c str>,
    id: Vec<&'c str>,
    version: Vec<i64>,
    time_ms: Vec<Option<i64>>,
    updated_ms: Vec<i64>,
    fingerprint: Vec<&'c [u8]>,
    title: Vec<Option<&'c str>>,
    attrs: Vec<Option<String>>,
    text: Vec<&'c str>,
    words: Vec<String>,
}

fn page(rows: &[Row], limit: usize) -> Result<Page, Error> {
    let mut hits = Vec::with_capacity(rows.len());
    let mut total = 0;
    let mut found = 0;
    for row in rows {
        total = rust_version(row.try_get("total")?);
        let Some(row_no) = row.try_get::<_, Option<i64>>("row_no")? else {
            continue;
        };
        found += 1;
        // No document: it was deleted between two snapshots that another isolation level would allow.
        let gone = row.try_get::<_, Option<&str>>("id")?.is_none();
        if found > limit || gone {
            continue;
        }
        hits.push(Hit {
            place: Place {
                score: f64::from(row.try_get::<_, f32>("score")?),
                row: row_no,
            },
            stored: stored(row)?,
        });
    }
    Ok(Page {
        hits,
        total,
        more: found > limit,
    })
}

fn stored(row: &Row) -> Result<Stored, Error> {
    let attrs: Option<&str> = row.try_get("attrs")?;
    let attrs = match attrs {
        None => BTreeMap::new(),
        Some(json) => serde_json::from_str(json).map_err(|error| {
            Error::caused(ErrorKind::Corrupt, "a document's attributes are not JSON", error)
        })?,
    };
    let fingerprint: &[u8] = row.try_get("fingerprint")?;
    Ok(Stored {
        version: rust_version(row.try_get("version")?),
        updated_at: Timestamp::from_unix_ms(row.try_get("updated_ms")?),
        fingerprint: fingerprint.try_into().map_err(|error| {
            Error::caused(
                ErrorKind::Corrupt,
                "a document's fingerprint is not 16 bytes",
                error,
            )
        })?,
        document: Document {
            id: row.try_get("id")?,
            title: row.try_get("title")?,
            text: row.try_get("text")?,
            attrs,
            time: row
                .try_get::<_, Option<i64>>("time_ms")?
                .map(Timestamp::from_unix_ms),
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
