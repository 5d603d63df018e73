//! Parked events in PostgreSQL: table `outbox_parked` of the outbox's schema.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use rc_model::Timestamp;
use rc_store::{Postgres, SystemTx};
use tokio_postgres::Row;

use super::{Fate, Parked, check_room, fates, reason};
use crate::bus::Record;
use crate::error::Refused;
use crate::event::Place;
use crate::letters::{Letter, LetterFilter, LetterState};
use crate::{BoxFuture, Error, faults};

/// The columns of a letter, in the order that [`letter_of`] reads. `$WHOLE`: an expression.
const COLUMNS: &str =
    "number, pos, tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent,
    CASE WHEN $2 THEN payload ELSE '' END, CASE WHEN $2 THEN edited END,
    state, class, code, why, replays, same_error, first_ms, last_ms";

const ANY: &str = "SELECT EXISTS (SELECT FROM outbox_parked WHERE origin = $1)";
/// One transaction at a time decides what waits behind what.
const LOCK: &str = "LOCK TABLE outbox_parked IN SHARE ROW EXCLUSIVE MODE";
const KNOWN: &str = "SELECT tenant, topic, key, kseq, state <> 'gone' FROM outbox_parked
     WHERE origin = $1 AND (tenant, topic, key) IN (SELECT * FROM unnest($2::text[], $3::text[], $4::text[]))";
const COUNT: &str = "SELECT count(*) FROM outbox_parked WHERE origin = $1 AND state <> 'gone'";
const PARK: &str = "INSERT INTO outbox_parked
        (origin, pos, tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload,
         state, class, code, why, first_ms, last_ms)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18)";
const LETTERS: &str = " FROM outbox_parked
     WHERE origin = $1 AND state <> 'gone' AND number > $3
       AND ($4 = '' OR position(',' || number || ',' IN $4) > 0)
       AND ($5::text IS NULL OR tenant = $5) AND ($6::text IS NULL OR topic = $6)
       AND ($7::text IS NULL OR key = $7) AND ($8::text IS NULL OR type = $8)
       AND ($9::text IS NULL OR class = $9) AND ($10::text IS NULL OR state = $10)
       AND ($11::bigint IS NULL OR first_ms >= $11) AND ($12::bigint IS NULL OR first_ms < $12)
     ORDER BY number LIMIT $13";
const FIRST: &str = " FROM outbox_parked WHERE origin = $1 AND state <> 'gone'
       AND tenant = $3 AND topic = $4 AND key = $5 ORDER BY kseq LIMIT 1";
const CLAIM: &str = "UPDATE outbox_parked SET releases = releases || ' ' || $3
     WHERE origin = $1 AND number = $2 AND state <> 'gone'";
const SETTLE: &str = "UPDATE outbox_parked SET state = 'gone', last_ms = $3, payload = '', edited = NULL
     WHERE origin = $1 AND state <> 'gone' AND position($2 IN releases) > 0";
const UPDATE: &str = "UPDATE outbox_parked SET state = $3, class = $4, code = $5, why = $6, replays = $7,
        same_error = $8, last_ms = $9, edited = CASE WHEN $10 THEN $11::bytea ELSE edited END
     WHERE origin = $1 AND number = $2 AND state <> 'gone'";
const SWEEP: &str = "DELETE FROM outbox_parked p WHERE origin = $1 AND state = 'gone'
       AND NOT EXISTS (SELECT FROM outbox o WHERE o.pos = p.pos)";

/// The parked events of one origin.
#[derive(Debug, Clone)]
pub(crate) struct PostgresParked {
    db: Postgres,
    origin: String,
    /// Whether gone letters go with their rows in `outbox`.
    sweeps: bool,
}

impl PostgresParked {
    pub(crate) fn new(db: Postgres, origin: &str, sweeps: bool) -> Self {
        Self {
            db,
            origin: origin.to_owned(),
            sweeps,
        }
    }

    async fn park(
        &self,
        records: Vec<Record>,
        refused: Option<&Refused>,
        now: Timestamp,
    ) -> Result<Vec<Record>, rc_store::Error> {
        let mut client = self.db.client().await?;
        let tx = client.system().await?;
        tx.batch(LOCK).await?;
        let (known, held) = self.known(&tx, &records).await?;
        let fates = fates(&records, refused.map(|refused| refused.index), &known, &held);
        let mut of_key: HashMap<Place, u64> = HashMap::new();
        for (place, _) in known.iter().filter(|(place, _)| held.contains(place)) {
            *of_key.entry(place.clone()).or_default() += 1;
        }
        let all: i64 = tx.query_one(COUNT, &[&self.origin]).await?.try_get(0)?;
        let mut all = all.cast_unsigned();
        let mut publish = Vec::new();
        for (record, fate) in records.into_iter().zip(fates) {
            match fate {
                Fate::Publish => publish.push(record),
                Fate::Known => {}
                Fate::Refuse | Fate::Wait => {
                    let of_key = of_key.entry(record.event.place()).or_default();
                    *of_key += 1;
                    all += 1;
                    check_room(all, *of_key)?;
                    self.insert(&tx, &record, fate, refused, now).await?;
                }
            }
        }
        faults::point("relay.before_park");
        tx.commit().await?;
        faults::point("relay.after_park");
        Ok(publish)
    }

    /// Numbers of the records' places that have rows, and places with letters.
    async fn known(
        &self,
        tx: &SystemTx<'_>,
        records: &[Record],
    ) -> Result<(HashSet<(Place, u64)>, HashSet<Place>), rc_store::Error> {
        let places: HashSet<Place> = records.iter().map(|record| record.event.place()).collect();
        let tenants: Vec<&str> = places.iter().map(|place| place.tenant.as_str()).collect();
        let topics: Vec<&str> = places.iter().map(|place| &*place.topic).collect();
        let keys: Vec<&str> = places.iter().map(|place| place.key.as_str()).collect();
        let (mut known, mut held) = (HashSet::new(), HashSet::new());
        for row in tx.query(KNOWN, &[&self.origin, &tenants, &topics, &keys]).await? {
            let place = Place {
                tenant: crate::bus::postgres::tenant_of(&row, 0)?,
                topic: Cow::Owned(row.try_get(1)?),
                key: row.try_get(2)?,
            };
            let kseq: i64 = row.try_get(3)?;
            if row.try_get(4)? {
                held.insert(place.clone());
            }
            known.insert((place, kseq.cast_unsigned()));
        }
        Ok((known, held))
    }

    async fn insert(
        &self,
        tx: &SystemTx<'_>,
        record: &Record,
        fate: Fate,
        refused: Option<&Refused>,
        now: Timestamp,
    ) -> Result<(), rc_store::Error> {
        let event = &record.event;
        let (state, class, code, why) = reason(fate, refused);
        tx.execute(
            PARK,
            &[
                &self.origin,
                &record.origin_pos,
                &event.tenant.as_str(),
                &&*event.topic,
                &event.key,
                &event.kseq.cast_signed(),
                &event.id,
                &&event.fingerprint[..],
                &&*event.event_type,
                &i32::from(event.schema),
                &event.time.unix_ms(),
                &event.trace.map(|trace| trace.to_string()),
                &&event.payload[..],
                &state.as_str(),
                &class,
                &code,
                &why,
                &now.unix_ms(),
            ],
        )
        .await?;
        Ok(())
    }

    /// One statement in a transaction of its own; how many rows it changed.
    async fn change(
        &self,
        sql: &str,
        params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<u64, rc_store::Error> {
        let mut client = self.db.client().await?;
        let tx = client.system().await?;
        let changed = tx.execute(sql, params).await?;
        tx.commit().await?;
        Ok(changed)
    }
}

fn tried() -> impl FnOnce(rc_store::Error) -> Error {
    Error::from_store("failed to reach the relay's letters")
}

impl Parked for PostgresParked {
    fn any(&self) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            let ask = async {
                let mut client = self.db.client().await?;
                let tx = client.system().await?;
                Ok::<bool, rc_store::Error>(tx.query_one(ANY, &[&self.origin]).await?.try_get(0)?)
            };
            ask.await.map_err(tried())
        })
    }

    fn hold_back(
        &self,
        records: Vec<Record>,
        refused: Option<Refused>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Record>, Error>> {
        Box::pin(async move {
            self.park(records, refused.as_ref(), now)
                .await
                .map_err(Error::from_store("failed to set events aside"))
        })
    }

    fn letters<'a>(
        &'a self,
        filter: &'a LetterFilter,
        whole: bool,
    ) -> BoxFuture<'a, Result<Vec<Letter>, Error>> {
        Box::pin(async move {
            let ask = async {
                let mut client = self.db.client().await?;
                let tx = client.system().await?;
                let rows = tx
                    .query(
                        &format!("SELECT {COLUMNS}{LETTERS}"),
                        &[
                            &self.origin,
                            &whole,
                            &filter.after,
                            &super::sqlite::numbers(filter),
                            &filter.tenant.as_ref().map(|tenant| tenant.as_str()),
                            &filter.topic,
                            &filter.key,
                            &filter.event_type,
                            &filter.class,
                            &filter.state.map(|state| state.as_str()),
                            &filter.since.map(|at| at.unix_ms()),
                            &filter.until.map(|at| at.unix_ms()),
                            &i64::try_from(filter.rows()).unwrap_or(i64::MAX),
                        ],
                    )
                    .await?;
                rows.iter()
                    .map(|row| letter_of(row, &self.origin))
                    .collect::<Result<Vec<_>, rc_store::Error>>()
            };
            ask.await.map_err(tried())
        })
    }

    fn first<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Option<Letter>, Error>> {
        Box::pin(async move {
            let ask = async {
                let mut client = self.db.client().await?;
                let tx = client.system().await?;
                let sql = format!("SELECT {COLUMNS}{FIRST}");
                let tenant = place.tenant.as_str();
                let found = tx
                    .query_opt(&sql, &[&self.origin, &true, &tenant, &&*place.topic, &place.key])
                    .await?;
                found.map(|row| letter_of(&row, &self.origin)).transpose()
            };
            ask.await.map_err(tried())
        })
    }

    fn claim<'a>(&'a self, number: i64, token: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let changed = self.change(CLAIM, &[&self.origin, &number, &token]).await;
            Ok(changed.map_err(tried())? == 1)
        })
    }

    fn settle<'a>(&'a self, token: &'a str, now: Timestamp) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let changed = self.change(SETTLE, &[&self.origin, &token, &now.unix_ms()]).await;
            changed.map(|_| ()).map_err(tried())
        })
    }

    fn update<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
            // A letter that was listed without its payload must not lose its edit.
            let whole = !letter.event.payload.is_empty();
            let changed = self
                .change(
                    UPDATE,
                    &[
                        &self.origin,
                        &letter.number,
                        &letter.state.as_str(),
                        &&*letter.class,
                        &letter.code,
                        &letter.why,
                        &count(letter.replays),
                        &count(letter.same_error),
                        &letter.last.unix_ms(),
                        &whole,
                        &letter.edited.as_deref(),
                    ],
                )
                .await
                .map_err(tried())?;
            if changed == 0 {
                return Err(Error::letter(format!("letter {} is gone", letter.number)));
            }
            Ok(())
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if self.sweeps {
                self.change(SWEEP, &[&self.origin]).await.map_err(tried())?;
            }
            Ok(())
        })
    }
}

fn letter_of(row: &Row, origin: &str) -> Result<Letter, rc_store::Error> {
    let state: &str = row.try_get(14)?;
    let count = |column: usize| -> Result<u32, rc_store::Error> {
        Ok(u32::try_from(row.try_get::<_, i32>(column)?).unwrap_or(0))
    };
    Ok(Letter {
        number: row.try_get(0)?,
        holder: origin.to_owned(),
        pos: row.try_get(1)?,
        event: crate::bus::postgres::event_of(row, 2)?,
        edited: row.try_get::<_, Option<&[u8]>>(13)?.map(Bytes::copy_from_slice),
        state: LetterState::parse(state)
            .ok_or_else(|| Error::damaged(format!("a letter in state `{state}`")))?,
        class: Cow::Owned(row.try_get(15)?),
        code: row.try_get(16)?,
        why: row.try_get(17)?,
        attempts: 1,
        replays: count(18)?,
        same_error: count(19)?,
        first: Timestamp::from_unix_ms(row.try_get(20)?),
        last: Timestamp::from_unix_ms(row.try_get(21)?),
    })
}
