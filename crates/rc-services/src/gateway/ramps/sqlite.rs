//! Weights in the gateway's SQLite file.

use rc_store::rusqlite::{OptionalExtension as _, params};
use rc_store::{Error, Sqlite};

use super::{Change, Changed, Ramps, columns, record};
use crate::audit::{Room, outbox};
use rc_model::catalog::Builtin;

pub(super) async fn change(db: &Sqlite, change: Change) -> Result<Changed, Error> {
    const FIND: &str = "SELECT record FROM ramps WHERE rollout = ?1";
    const SET: &str = "INSERT INTO ramps (rollout, generation, record) VALUES (?1, ?2, ?3)
         ON CONFLICT (rollout) DO UPDATE SET generation = ?2, record = ?3";
    db.write("gateway.ramps.change", move |conn| {
        let name = change.name.as_str();
        let text: Option<String> = conn
            .prepare_cached(FIND)?
            .query_row([name], |row| row.get(0))
            .optional()?;
        let current = text
            .map(|text| record(name, &text))
            .transpose()?
            .map(|(_, ramp)| ramp);
        let changed = change.decide(current.as_ref()).map_err(Error::abort)?;
        if let Changed::Now(ramp) = &changed {
            let (generation, text) = columns(ramp)?;
            // There is one writer: nobody else has come between.
            conn.prepare_cached(SET)?
                .execute(params![name, generation, text])?;
            let entry = change.entry(current.as_ref(), ramp)?;
            outbox::sqlite::append(conn, Builtin::Gateway.name(), &[entry], Room::Act)?;
        }
        Ok(changed)
    })
    .await
}

pub(super) async fn list(db: &Sqlite) -> Result<Ramps, Error> {
    db.read("gateway.ramps.list", |conn| {
        let mut statement = conn.prepare_cached("SELECT rollout, record FROM ramps ORDER BY rollout")?;
        let rows = statement.query_map([], |row| {
            let (name, text) = (row.get::<_, String>(0)?, row.get::<_, String>(1)?);
            Ok(record(&name, &text))
        })?;
        rows.map(|row| row?).collect()
    })
    .await
}
