//! What a consumer does here: one row an event, without a unique key, so that a second effect shows as what it is.

use std::path::PathBuf;
use std::sync::Arc;

use rc_events::consumer::{PostgresBooks, SqliteBooks, postgres, sqlite};
use rc_events::error::Poison;
use rc_events::{Applied, Batch, Books, BoxFuture, Error, Event, Projection};
use rc_store::{Migration, Migrations, Postgres, PostgresOptions, Sqlite, SqliteOptions};

use crate::failure::{Failure, Result};
use crate::history::Fact;

/// The consumer's name.
pub(crate) const NAME: &str = "effects";

const EFFECTS: Migrations = Migrations::new(
    "effects",
    &[Migration {
        number: 1,
        name: "create_effects",
        up: "CREATE TABLE effects (n INTEGER PRIMARY KEY, fact text NOT NULL)",
        down: "DROP TABLE effects",
    }],
);

const EFFECTS_POSTGRES: Migrations = Migrations::new(
    "effects",
    &[Migration {
        number: 1,
        name: "create_effects",
        up: "CREATE TABLE effects (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, fact text NOT NULL)",
        down: "DROP TABLE effects",
    }],
);

const ALL: &str = "SELECT fact FROM effects ORDER BY n";
const SOME: &str = "SELECT n, fact FROM effects WHERE n > $1 ORDER BY n LIMIT 20000";
const ADD: &str = "INSERT INTO effects (fact) VALUES (?1)";
const ADD_POSTGRES: &str =
    "INSERT INTO effects (fact) SELECT fact FROM unnest($1::text[]) WITH ORDINALITY AS f (fact, n)
     ORDER BY n";

/// Which store, and where: `sqlite:/path`, `postgres:postgresql://...`.
#[derive(Debug, Clone)]
pub(crate) enum At {
    Sqlite(PathBuf),
    Postgres(String),
}

impl std::str::FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", path)) => Ok(Self::Sqlite(path.into())),
            Some(("postgres", url)) => Ok(Self::Postgres(url.to_owned())),
            _ => Err(format!("`{text}` is no store for effects")),
        }
    }
}

impl At {
    /// The consumer's store, made when it is not there.
    pub(crate) async fn projection(&self) -> Result<Effects> {
        Ok(match self {
            Self::Sqlite(path) => {
                let db = Sqlite::open(path, SqliteOptions::default())?;
                db.migrate(&sqlite::MIGRATIONS).await?;
                db.migrate(&EFFECTS).await?;
                Effects::Sqlite(db)
            }
            Self::Postgres(url) => {
                let db = connect(url)?;
                db.migrate(&postgres::MIGRATIONS).await?;
                db.migrate(&EFFECTS_POSTGRES).await?;
                Effects::Postgres(db)
            }
        })
    }

    /// The effects, in order.
    pub(crate) async fn facts(&self) -> Result<Vec<Fact>> {
        let texts: Vec<String> = match self {
            Self::Sqlite(path) => {
                let options = SqliteOptions {
                    read_time_max: crate::source::READ_BACK_TIME_MAX,
                    ..SqliteOptions::default()
                };
                let db = Sqlite::open_readonly(path, options)?;
                db.read("chaos.effects", |conn| {
                    let mut select = conn.prepare_cached(ALL)?;
                    let rows = select.query_map([], |row| row.get(0))?;
                    Ok(rows.collect::<std::result::Result<_, _>>()?)
                })
                .await?
            }
            Self::Postgres(url) => {
                let db = connect(url)?;
                let mut client = db.client().await?;
                let tx = client.system().await?;
                let (mut texts, mut after) = (Vec::new(), 0_i64);
                loop {
                    let rows = tx.query(SOME, &[&after]).await?;
                    let Some(last) = rows.last() else { break texts };
                    after = last.try_get(0)?;
                    for row in &rows {
                        texts.push(row.try_get(1)?);
                    }
                }
            }
        };
        let read = |text: &String| serde_json::from_str(text).map_err(Failure::from);
        texts.iter().map(read).collect()
    }
}

fn connect(url: &str) -> Result<Postgres> {
    Ok(Postgres::connect(
        url,
        &PostgresOptions::new("rc-chaos", "effects"),
    )?)
}

/// The consumer's own side.
#[derive(Debug)]
pub(crate) enum Effects {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// The type of an event that this consumer can never apply.
pub(crate) const POISON: &str = "order.poison.v1";

fn refuse(events: &[&Event]) -> std::result::Result<(), Error> {
    let poison = |event: &&&Event| event.event_type == POISON;
    let named = |event: &&Event| Poison {
        id: event.id,
        event_type: event.event_type.to_string(),
        place: event.place(),
        class: "chaos",
        code: "RC-EVT-011",
        why: "it was made for that".to_owned(),
    };
    let named: Box<[Poison]> = events.iter().filter(poison).map(named).collect();
    if named.is_empty() {
        return Ok(());
    }
    Err(Error::Poison(named))
}

fn texts(events: &[&Event]) -> Vec<String> {
    let text = |fact: Fact| serde_json::to_string(&fact).expect("plain data");
    events
        .iter()
        .filter_map(|event| Fact::of(event))
        .map(text)
        .collect()
}

impl Projection for Effects {
    fn name(&self) -> &str {
        NAME
    }

    fn books(&self) -> Arc<dyn Books> {
        match self {
            Self::Sqlite(db) => Arc::new(SqliteBooks::new(db.clone(), NAME)),
            Self::Postgres(db) => Arc::new(PostgresBooks::new(db.clone(), NAME)),
        }
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, std::result::Result<Applied, Error>> {
        Box::pin(async move {
            match self {
                Self::Sqlite(db) => Ok(db
                    .write_alone("chaos.apply", move |conn| {
                        let admitted = sqlite::admit(conn, &batch)?;
                        refuse(&admitted.fresh)?;
                        let mut add = conn.prepare_cached(ADD)?;
                        for text in texts(&admitted.fresh) {
                            add.execute([text])?;
                        }
                        Ok(admitted.applied)
                    })
                    .await?),
                Self::Postgres(db) => {
                    let mut client = db.client().await?;
                    let tx = client.system().await?;
                    let admitted = postgres::admit(&tx, &batch).await?;
                    refuse(&admitted.fresh)?;
                    tx.execute(ADD_POSTGRES, &[&texts(&admitted.fresh)]).await?;
                    tx.commit().await?;
                    Ok(admitted.applied)
                }
            }
        })
    }
}
