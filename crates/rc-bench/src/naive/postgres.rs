//! Singles and binary `COPY` into PostgreSQL, as a superuser: row-level security costs the peers nothing.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use tokio::task::JoinSet;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Transaction};
use uuid::Uuid;

use super::{Done, EVENT, Row, Rows, TENANT, TOPIC, until};
use crate::failure::{Failure, Result};
use crate::text::Texts;

const DOCUMENT: &str = "INSERT INTO ingest.documents (tenant, id, version, fingerprint, deleted)
     VALUES ($1, $2, 1, $3, false)";

const EVENT_ROW: &str = "INSERT INTO ingest.outbox
        (tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload)
     VALUES ($1, $2, $3, 1, $4, $5, $6, 1, $7, NULL, $8)";

const COPY_DOCUMENTS: &str =
    "COPY ingest.documents (tenant, id, version, fingerprint, deleted) FROM STDIN BINARY";

const COPY_EVENTS: &str = "COPY ingest.outbox
        (tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, payload)
     FROM STDIN BINARY";

const COPY_TEXTS: &str = "COPY docs.documents (tenant, id, version, updated_ms, fingerprint, text)
     FROM STDIN BINARY";

/// PostgreSQL's own parser, its simplest configuration: no stems, no list of stop words.
const INDEX_TEXTS: &str = "INSERT INTO docs.search (row_no, tenant, words)
     SELECT row_no, tenant, to_tsvector('simple', text)
     FROM docs.documents WHERE tenant = $1 AND id = ANY($2)";

/// How a peer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A transaction a document, two prepared statements in it.
    Singles,
    /// A transaction a batch, a `COPY` for each table in it.
    Copy { items: usize },
    /// As [`Self::Copy`], and the text and its words into the tables of the search as well.
    CopyAndIndex { items: usize },
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let detail = std::error::Error::source(&error).map(ToString::to_string);
        Self::new(format!("PostgreSQL: {error}: {}", detail.unwrap_or_default()))
    }
}

/// Writes for `span` over so many connections.
pub(crate) fn write(
    url: &str,
    way: Way,
    connections: usize,
    span: Duration,
    texts: &Arc<Texts>,
) -> Result<Done> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut drivers = JoinSet::new();
        let mut clients = Vec::new();
        for _ in 0..connections {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            drivers.spawn(connection);
            clients.push(client);
        }
        let start = monotonic_ns();
        let end = until(span);
        let mut writers = JoinSet::new();
        for (number, client) in clients.into_iter().enumerate() {
            writers.spawn(one(client, way, Rows::new(texts, number), end));
        }
        let mut documents = 0;
        while let Some(done) = writers.join_next().await {
            documents += done.map_err(|error| Failure::new(error.to_string()))??;
        }
        Ok(Done {
            documents,
            nanoseconds: monotonic_ns() - start,
        })
    })
}

async fn one(mut client: Client, way: Way, mut rows: Rows, end: u64) -> Result<u64> {
    let document = client.prepare(DOCUMENT).await?;
    let event = client.prepare(EVENT_ROW).await?;
    let mut count = 0;
    while monotonic_ns() < end {
        let tx = client.transaction().await?;
        match way {
            Way::Singles => {
                let row = rows.next();
                tx.execute(&document, &[&TENANT, &row.id, &&row.fingerprint[..]])
                    .await?;
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
                    &TENANT,
                    &TOPIC,
                    &row.id,
                    &Uuid::from_bytes(row.event),
                    &&row.fingerprint[..],
                    &EVENT,
                    &row.time_ms,
                    &row.payload.as_bytes(),
                ];
                tx.execute(&event, &values).await?;
                count += 1;
            }
            Way::Copy { items } | Way::CopyAndIndex { items } => {
                let batch: Vec<Row> = (0..items).map(|_| rows.next()).collect();
                copy(&tx, &batch).await?;
                if matches!(way, Way::CopyAndIndex { .. }) {
                    index(&tx, &batch).await?;
                }
                count += items as u64;
            }
        }
        tx.commit().await?;
    }
    Ok(count)
}

async fn copy(tx: &Transaction<'_>, batch: &[Row]) -> Result<()> {
    let types = [Type::TEXT, Type::TEXT, Type::INT8, Type::BYTEA, Type::BOOL];
    let mut writer = pin!(BinaryCopyInWriter::new(tx.copy_in(COPY_DOCUMENTS).await?, &types));
    for row in batch {
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&TENANT, &row.id, &1_i64, &&row.fingerprint[..], &false];
        writer.as_mut().write(&values).await?;
    }
    writer.finish().await?;
    let types = [
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
        Type::UUID,
        Type::BYTEA,
        Type::TEXT,
        Type::INT4,
        Type::INT8,
        Type::BYTEA,
    ];
    let mut writer = pin!(BinaryCopyInWriter::new(tx.copy_in(COPY_EVENTS).await?, &types));
    for row in batch {
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 10] = [
            &TENANT,
            &TOPIC,
            &row.id,
            &1_i64,
            &Uuid::from_bytes(row.event),
            &&row.fingerprint[..],
            &EVENT,
            &1_i32,
            &row.time_ms,
            &row.payload.as_bytes(),
        ];
        writer.as_mut().write(&values).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn index(tx: &Transaction<'_>, batch: &[Row]) -> Result<()> {
    let types = [
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
        Type::INT8,
        Type::BYTEA,
        Type::TEXT,
    ];
    let mut writer = pin!(BinaryCopyInWriter::new(tx.copy_in(COPY_TEXTS).await?, &types));
    for row in batch {
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] = [
            &TENANT,
            &row.id,
            &1_i64,
            &row.time_ms,
            &&row.fingerprint[..],
            &row.payload,
        ];
        writer.as_mut().write(&values).await?;
    }
    writer.finish().await?;
    let ids: Vec<&str> = batch.iter().map(|row| row.id.as_str()).collect();
    tx.execute(INDEX_TEXTS, &[&TENANT, &ids]).await?;
    Ok(())
}
