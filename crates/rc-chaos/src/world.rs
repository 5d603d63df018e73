//! What a run is made of: a source, a bus, the servers behind them, and a network that can be made worse.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rc_model::SystemClock;
use rc_test::Rng;
use rc_test::chaos::{Proxy, Weather};
use rc_test::nats::Sync;
use serde::{Deserialize, Serialize};

use crate::failure::Result;
use crate::history::Line;
use crate::power::Disk;
use crate::run::Options;
use crate::{bus, effects, source};

/// Where events come from.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A SQLite file, read by position.
    Sqlite,
    /// PostgreSQL, polled by snapshot pairs.
    Poll,
    /// PostgreSQL, read through a replication slot; its events are written by the SQL functions for users.
    Slot,
    /// An outbox table in PostgreSQL that is not ours.
    Table,
    /// A table in PostgreSQL whose changes are captured.
    Capture,
}

/// Where they go.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// The embedded bus in a SQLite file.
    Sqlite,
    /// The embedded bus in a schema of PostgreSQL.
    Postgres,
    /// A stream of NATS JetStream.
    Nats,
}

/// A source and a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Combination {
    /// Where events come from.
    pub source: SourceKind,
    /// Where they go.
    pub bus: BusKind,
}

impl Combination {
    /// All that are run: each source of events with each kind of bus, and the embedded bus where it may lie; what
    /// is not an outbox of ours with one of them.
    pub const ALL: [Self; 10] = [
        Self::new(SourceKind::Sqlite, BusKind::Sqlite),
        Self::new(SourceKind::Sqlite, BusKind::Nats),
        Self::new(SourceKind::Poll, BusKind::Sqlite),
        Self::new(SourceKind::Poll, BusKind::Postgres),
        Self::new(SourceKind::Poll, BusKind::Nats),
        Self::new(SourceKind::Slot, BusKind::Sqlite),
        Self::new(SourceKind::Slot, BusKind::Postgres),
        Self::new(SourceKind::Slot, BusKind::Nats),
        Self::new(SourceKind::Table, BusKind::Nats),
        Self::new(SourceKind::Capture, BusKind::Sqlite),
    ];

    const fn new(source: SourceKind, bus: BusKind) -> Self {
        Self { source, bus }
    }

    /// Whether it needs a PostgreSQL.
    #[must_use]
    pub fn has_postgres(self) -> bool {
        self.source != SourceKind::Sqlite || self.bus == BusKind::Postgres
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            SourceKind::Sqlite => "SQLite",
            SourceKind::Poll => "PostgreSQL polling",
            SourceKind::Slot => "PostgreSQL slot",
            SourceKind::Table => "PostgreSQL table of others",
            SourceKind::Capture => "PostgreSQL capture",
        };
        let bus = match self.bus {
            BusKind::Sqlite => "embedded bus (SQLite)",
            BusKind::Postgres => "embedded bus (PostgreSQL)",
            BusKind::Nats => "JetStream",
        };
        write!(f, "{source} to {bus}")
    }
}

/// What a NATS server takes at most in a run with events that are too large for it.
pub(crate) const NATS_PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// Drops every slot of the database, whoever reads it.
const DROP_SLOTS: &str = "DO $$ DECLARE slot record; BEGIN
    PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active;
    PERFORM pg_sleep(0.1);
    FOR slot IN SELECT slot_name FROM pg_replication_slots WHERE NOT active LOOP
        PERFORM pg_drop_replication_slot(slot.slot_name);
    END LOOP;
END $$";

/// Whether a synchronous standby has everything so far.
const IN_STEP: &str = "SELECT EXISTS (SELECT FROM pg_stat_replication
     WHERE sync_state = 'sync' AND state = 'streaming' AND flush_lsn >= pg_current_wal_flush_lsn())";

/// How long a standby may take to follow.
const STANDBY_TIME_MAX: Duration = Duration::from_secs(60);

const END_STREAMS: &str =
    "SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE active";

const SLOTS: &str = "SELECT count(*) FROM pg_replication_slots";

/// A running world. Its servers end with it; its folder is the caller's.
#[derive(Debug)]
pub(crate) struct World {
    combination: Combination,
    folder: PathBuf,
    // Before the disk: what is on it must be closed first.
    postgres: Option<Server>,
    nats: Option<Nats>,
    disk: Option<Disk>,
    sync: bool,
}

/// A PostgreSQL and the network before it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) postgres: rc_test::Postgres,
    database: rc_test::Database,
    pub(crate) proxy: Proxy,
    /// Through the network that can be made worse.
    url: String,
}

/// A NATS server and the network before it.
#[derive(Debug)]
pub(crate) struct Nats {
    pub(crate) nats: rc_test::Nats,
    pub(crate) proxy: Proxy,
    sync: bool,
}

impl Nats {
    fn start(disk: Option<&Disk>, sync: bool, settings: &str) -> Result<Self> {
        let policy = if sync { Sync::Always } else { Sync::Default };
        let nats = match disk {
            Some(disk) => {
                let store = disk.path().join("nats");
                fs_err::create_dir(&store)?;
                rc_test::Nats::start_on(&store, policy)
            }
            None => rc_test::Nats::start_own(policy, settings),
        };
        let proxy = Proxy::tcp(nats.address());
        Ok(Self { nats, proxy, sync })
    }

    fn url(&self) -> String {
        let (proxy, monitor) = (self.proxy.address(), self.nats.monitor());
        let durability = if self.sync { "checked" } else { "server-default" };
        format!("nats:nats://{proxy}/chaos?monitor={monitor}&durability={durability}")
    }
}

impl Server {
    fn start(logical: bool, disk: Option<&Disk>, sync: bool) -> Result<Self> {
        let postgres = match disk {
            Some(disk) => {
                let data = disk.path().join("postgres");
                fs_err::create_dir(&data)?;
                rc_test::Postgres::start_on(&data, sync)
            }
            None if logical => rc_test::Postgres::start_logical(true),
            None => rc_test::Postgres::start_own(true),
        };
        let database = postgres.fresh_database();
        if logical {
            postgres.admin(&[&format!("ALTER ROLE {} REPLICATION", database.name)]);
        }
        let proxy = Proxy::tcp(postgres.address());
        let (direct, proxied) = (postgres.address(), proxy.address());
        let url = database.url.replace(&direct.to_string(), &proxied.to_string());
        Ok(Self {
            postgres,
            database,
            proxy,
            url,
        })
    }

    /// A standby without which no commit is acknowledged from here on.
    fn standby(&self) -> rc_test::Postgres {
        self.postgres.revive();
        let standby = self.postgres.standby();
        self.postgres.admin(&[
            "ALTER SYSTEM SET synchronous_standby_names = '*'",
            "SELECT pg_reload_conf()",
        ]);
        let until = tokio::time::Instant::now() + STANDBY_TIME_MAX;
        while self.postgres.ask(&self.database, IN_STEP) != "t" {
            assert!(tokio::time::Instant::now() < until, "the standby does not follow");
            std::thread::sleep(Duration::from_millis(20));
        }
        // A relay asks when it opens its stream whether commits wait for a standby.
        let _ = self.postgres.ask(&self.database, END_STREAMS);
        standby
    }
}

impl World {
    /// Starts the servers of a run. Files go into its folder, or onto a disk that can lose its power.
    pub(crate) fn start(options: &Options, disk: Option<Disk>) -> Result<Self> {
        let Options {
            combination, sync, ..
        } = *options;
        let server = combination
            .has_postgres()
            .then(|| {
                let logical = matches!(combination.source, SourceKind::Slot | SourceKind::Capture);
                Server::start(logical, disk.as_ref(), sync)
            })
            .transpose()?;
        let settings = match options.oversize {
            true => format!("max_payload: {NATS_PAYLOAD_BYTES_MAX}"),
            false => String::new(),
        };
        let nats = (combination.bus == BusKind::Nats)
            .then(|| Nats::start(disk.as_ref(), sync, &settings))
            .transpose()?;
        Ok(Self {
            combination,
            folder: disk.as_ref().map_or(&*options.folder, Disk::path).to_owned(),
            postgres: server,
            nats,
            disk,
            sync,
        })
    }

    /// Drops the slot under its reader. `false`: there was none.
    pub(crate) fn drop_slot(&self) -> bool {
        let Some(server) = &self.postgres else {
            return false;
        };
        // It may be recovering from the fault before.
        server.postgres.revive();
        let slots = || server.postgres.ask(&server.database, SLOTS);
        let before = slots();
        let _ = server.postgres.ask(&server.database, DROP_SLOTS);
        slots() < before
    }

    /// A synchronous standby of the PostgreSQL server; `None` without such a server.
    pub(crate) fn standby(&self) -> Option<rc_test::Postgres> {
        self.postgres.as_ref().map(Server::standby)
    }

    /// The server is lost, and `standby` takes its place and its address.
    pub(crate) fn fail_over(&mut self, standby: rc_test::Postgres) {
        if let Some(server) = &mut self.postgres {
            server.postgres.kill();
            standby.promote();
            server.proxy.redirect(standby.address());
            server.proxy.cut();
            server.postgres = standby;
        }
    }

    /// Leaves nobody room for a byte. `false`: there is no disk that can be filled.
    pub(crate) fn fill_disk(&self) -> Result<bool> {
        self.disk
            .as_ref()
            .map_or(Ok(false), |disk| disk.fill().map(|()| true))
    }

    /// Gives the room back, and starts what has given up: a server that could not write its log ends.
    pub(crate) fn make_room(&self) -> Result<()> {
        if let Some(disk) = &self.disk {
            disk.make_room()?;
        }
        if let Some(server) = &self.postgres {
            server.postgres.revive();
        }
        if let Some(server) = &self.nats {
            server.nats.kill();
            server.nats.start_again();
        }
        Ok(())
    }

    /// Makes everything so far durable: the machine has been up for a while.
    pub(crate) fn settle(&self) -> Result<()> {
        self.disk.as_ref().map_or(Ok(()), Disk::sync)
    }

    /// The machine loses its power and gets it back. The roles are gone already. `false`: its disk has no switch.
    pub(crate) fn lose_power(&mut self, rng: &mut Rng) -> Result<bool> {
        let Some(disk) = &mut self.disk else {
            return Ok(false);
        };
        if let Some(server) = &self.postgres {
            server.postgres.kill();
        }
        if let Some(server) = &self.nats {
            server.nats.kill();
        }
        // A server that never syncs has no files that fit together after some of them were written: it would not
        // start, which shows the same and less clearly.
        disk.lose_power(self.sync.then_some(rng))?;
        if let Some(server) = &self.postgres {
            server.postgres.start_again();
        }
        if let Some(server) = &self.nats {
            server.nats.start_again();
        }
        Ok(true)
    }

    pub(crate) fn postgres(&self) -> Option<&Server> {
        self.postgres.as_ref()
    }

    pub(crate) fn nats(&self) -> Option<&Nats> {
        self.nats.as_ref()
    }

    /// Every network of the world.
    pub(crate) fn proxies(&self) -> Vec<&Proxy> {
        let postgres = self.postgres.iter().map(|server| &server.proxy);
        postgres
            .chain(self.nats.iter().map(|server| &server.proxy))
            .collect()
    }

    /// Good weather everywhere.
    pub(crate) fn clear(&self) {
        for proxy in self.proxies() {
            proxy.set(Weather::Clear);
        }
    }

    fn file(&self, name: &str) -> String {
        format!("sqlite:{}", self.folder.join(name).display())
    }

    fn url(&self) -> String {
        self.postgres
            .as_ref()
            .map(|server| server.url.clone())
            .unwrap_or_default()
    }

    /// Arguments that name the source, the bus and the consumer's store to a role.
    pub(crate) fn source(&self) -> String {
        match self.combination.source {
            SourceKind::Sqlite => self.file("outbox.db"),
            SourceKind::Poll => format!("poll:{}", self.url()),
            SourceKind::Slot => format!("slot:{}", self.url()),
            SourceKind::Table => format!("table:{}", self.url()),
            SourceKind::Capture => format!("capture:{}", self.url()),
        }
    }

    pub(crate) fn bus(&self) -> String {
        match self.combination.bus {
            BusKind::Sqlite => self.file("bus.db"),
            BusKind::Postgres => format!("postgres:{}", self.url()),
            BusKind::Nats => self.nats.as_ref().map(Nats::url).unwrap_or_default(),
        }
    }

    pub(crate) fn effects(&self) -> String {
        match self.combination.bus {
            BusKind::Sqlite | BusKind::Nats => self.file("effects.db"),
            BusKind::Postgres => format!("postgres:{}", self.url()),
        }
    }

    /// The bus's end, when it can be asked.
    pub(crate) async fn tail(&self) -> Option<i64> {
        let at: bus::At = self.bus().parse().ok()?;
        let bus = at.consumer(SystemClock::shared()).ok()?;
        tokio::time::timeout(Duration::from_secs(2), bus.tail())
            .await
            .ok()?
            .ok()
    }

    /// How many events the log has, when it can be asked.
    pub(crate) async fn logged(&self) -> Option<i64> {
        let at: source::At = self.source().parse().ok()?;
        at.count().await.ok()
    }

    /// What log, bus and consumer have.
    pub(crate) async fn read_back(&self, mut take: impl FnMut(Line)) -> Result<()> {
        let parse = |text: String| crate::failure::Failure::new(text);
        let source: source::At = self.source().parse().map_err(parse)?;
        source.log().await?.into_iter().map(Line::Log).for_each(&mut take);
        let bus: bus::At = self.bus().parse().map_err(parse)?;
        let stream = bus.stream(SystemClock::shared()).await?;
        stream.into_iter().map(Line::Stream).for_each(&mut take);
        let effects: effects::At = self.effects().parse().map_err(parse)?;
        effects
            .facts()
            .await?
            .into_iter()
            .map(Line::Effect)
            .for_each(&mut take);
        Ok(())
    }
}
