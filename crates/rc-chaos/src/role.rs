//! The processes of a run: writer, relay, consumer. Each is this program again, over the real crates, so that a kill
//! is a kill.
//!
//! A role prints what it is at as NDJSON ([`Status`]) and ends when its standard input does, so that none outlives
//! the run. A line `clock N` on its input sets its wall clock N seconds off.

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rc_events::consumer::BusWake;
use rc_events::faults::{Armed, arm};
use rc_events::{Consumer, ConsumerState, Relay, RelayOptions, Retention};
use rc_model::{Clock, SystemClock, Timestamp};
use rc_test::Rng;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, Result};
use crate::journal::Journal;
use crate::source::Attempt;
use crate::{bus, effects, source};

/// How often a role says what it is at.
const SAY_EVERY: Duration = Duration::from_millis(50);

/// Transactions that a writer has open at once.
const WRITERS: u64 = 4;

/// What a role does, and where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `POINT:N`: ends at the Nth visit of a crash point
    #[arg(long)]
    crash: Option<String>,
    /// `POINT:N`: stops there instead, until it is continued
    #[arg(long, conflicts_with = "crash")]
    stop: Option<String>,
    /// A mistake to make
    #[arg(long)]
    mutate: Vec<String>,
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, clap::Subcommand)]
enum Role {
    /// Writes events into a service's store
    Writer(WriterArgs),
    /// Moves them to the bus
    Relay {
        #[arg(long)]
        source: source::At,
        #[arg(long)]
        bus: bus::At,
        /// Drops what was relayed and is this old from the outbox, in small parts
        #[arg(long)]
        keep_ms: Option<u64>,
    },
    /// Commits rows to SQLite as fast as it can: what `synchronous` is worth
    Rows {
        #[arg(long)]
        file: PathBuf,
        #[arg(long)]
        synchronous: String,
    },
    /// Applies them
    Consumer {
        #[arg(long)]
        bus: bus::At,
        #[arg(long)]
        effects: effects::At,
    },
}

#[derive(Debug, clap::Args)]
struct WriterArgs {
    #[arg(long)]
    source: source::At,
    /// A file that is not there yet
    #[arg(long)]
    journal: PathBuf,
    /// How many events to commit before it ends by itself
    #[arg(long)]
    events: u64,
    #[arg(long)]
    seed: u64,
    /// Which of a run's writers it is: makes ids and names unique
    #[arg(long)]
    generation: u64,
    /// Events a second at most; 0: as many as it can
    #[arg(long)]
    rate: u64,
    #[arg(long, default_value_t = 200)]
    keys: u64,
    #[arg(long, default_value_t = 300)]
    payload_bytes: usize,
    /// A few keys get events of this size; 0: none is large
    #[arg(long, default_value_t = 0)]
    oversize_bytes: usize,
    /// A few keys get events that no consumer can apply
    #[arg(long)]
    poison: bool,
    /// Largest transaction
    #[arg(long, default_value_t = 20)]
    batch: u64,
}

/// What a role says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Writer: events acknowledged. Relay: events published. Consumer: events applied.
    pub done: u64,
    /// Relay: the bus's end. Consumer: its position.
    pub at: i64,
    /// Relay: rows that wait.
    pub waiting: u64,
    /// Relay: it leads. Consumer: it follows. Writer: it writes.
    pub well: bool,
    /// What is wrong: code and text.
    pub error: Option<String>,
}

/// A wall clock that a test can put wrong.
#[derive(Debug, Default)]
struct SteppedClock {
    off_ms: AtomicI64,
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        let off = self.off_ms.load(Ordering::Relaxed);
        Timestamp::from_unix_ms(SystemClock.now().unix_ms().saturating_add(off))
    }

    fn monotonic_ns(&self) -> u64 {
        SystemClock.monotonic_ns()
    }
}

/// Runs a role until its input ends or its work is done.
///
/// # Errors
/// What keeps it from starting.
pub fn run(args: Args) -> Result<()> {
    let act: Option<fn()> = args.stop.is_some().then_some(stop);
    let point = args.crash.or(args.stop);
    let armed = Armed {
        point: point.as_deref().map(visit).transpose()?,
        act,
        mutations: args.mutate,
    };
    arm(armed).map_err(|_armed| Failure::new("a process is armed once"))?;
    let clock = Arc::new(SteppedClock::default());
    obey(Arc::clone(&clock));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match args.role {
            Role::Writer(args) => write(args, clock).await,
            Role::Relay { source, bus, keep_ms } => {
                relay(&source, &bus, keep_ms.map(Duration::from_millis), clock).await
            }
            Role::Rows { file, synchronous } => rows(&file, &synchronous),
            Role::Consumer { bus, effects } => consume(&bus, &effects, clock).await,
        }
    })
}

/// Stops the whole process, as a machine that swaps or a debugger does.
fn stop() {
    // It goes on here when it is continued.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
}

/// `POINT:N`
fn visit(text: &str) -> Result<(String, AtomicI64)> {
    let split = text.rsplit_once(':');
    let visit = split.and_then(|(point, visit)| Some((point.to_owned(), visit.parse().ok()?)));
    let (point, visit) = visit.ok_or_else(|| Failure::new(format!("`{text}` is not POINT:N")))?;
    Ok((point, AtomicI64::new(visit)))
}

/// Takes orders from the input, on a thread of its own; ends the process with it.
fn obey(clock: Arc<SteppedClock>) {
    let listen = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if let Some(seconds) = line
                .strip_prefix("clock ")
                .and_then(|text| text.parse::<i64>().ok())
            {
                clock
                    .off_ms
                    .store(seconds.saturating_mul(1_000), Ordering::Relaxed);
            }
        }
        // Whoever ran us is gone. As a kill: nothing is flushed.
        std::process::abort();
    };
    std::thread::Builder::new()
        .name("orders".to_owned())
        .spawn(listen)
        .expect("a thread can be started");
}

fn say(status: &Status) {
    let mut text = serde_json::to_vec(status).expect("plain data");
    text.push(b'\n');
    // Nobody listening is the end, and that is noticed at the input.
    let _ = std::io::stdout().write_all(&text);
}

/// Longer than any run.
const KEEP_ALL: Duration = Duration::from_secs(365 * 24 * 3_600);

async fn relay(
    source: &source::At,
    bus: &bus::At,
    keep: Option<Duration>,
    clock: Arc<dyn Clock>,
) -> Result<()> {
    let options = RelayOptions {
        // The checker compares log and bus at the end: as a rule both keep everything.
        outbox_keep: keep.unwrap_or(KEEP_ALL),
        retention: Retention {
            keep: KEEP_ALL,
            bytes_max: u64::MAX,
            consumer_lag_max: u64::MAX,
        },
        housekeeping_pause: Duration::from_secs(1),
        ..RelayOptions::default()
    };
    let relay = Relay::new(
        source.source(keep.is_some()).await?,
        bus.publisher(Arc::clone(&clock)).await?,
        clock,
        options,
    );
    let status = relay.status();
    let run = relay.run(CancellationToken::new());
    let tell = async {
        loop {
            let now = status.borrow().clone();
            say(&Status {
                done: now.published,
                at: now.tail,
                // Before it is known, something may wait.
                waiting: now.backlog.map_or(1, |backlog| backlog.rows),
                well: now.leading && now.error.is_none(),
                error: now.error.map(|(code, text)| format!("{code} {text}")),
            });
            tokio::time::sleep(SAY_EVERY).await;
        }
    };
    tokio::select! {
        () = run => Ok(()),
        () = tell => Ok(()),
    }
}

async fn consume(bus: &bus::At, effects: &effects::At, clock: Arc<dyn Clock>) -> Result<()> {
    let bus = bus.consumer(clock)?;
    let projection = Arc::new(effects.projection().await?);
    let wake = Arc::new(BusWake(Arc::clone(&bus)));
    let consumer = Consumer::new(bus, wake, projection);
    let status = consumer.status();
    let run = consumer.run(CancellationToken::new());
    let tell = async {
        loop {
            let now = status.borrow().clone();
            let error = match &now.state {
                ConsumerState::Starting | ConsumerState::Following => None,
                ConsumerState::Retrying { code, error, .. } | ConsumerState::Stuck { code, error } => {
                    Some(format!("{code} {error}"))
                }
            };
            say(&Status {
                done: now.applied,
                at: now.position,
                waiting: now.lag(),
                well: now.state == ConsumerState::Following,
                error,
            });
            tokio::time::sleep(SAY_EVERY).await;
        }
    };
    tokio::select! {
        () = run => Ok(()),
        () = tell => Ok(()),
    }
}

/// Plain SQLite, without our store: that one has no setting for this.
fn rows(file: &std::path::Path, synchronous: &str) -> Result<()> {
    let db = rc_store::rusqlite::Connection::open(file)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", synchronous)?;
    db.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)")?;
    for done in 1.. {
        db.execute("INSERT INTO t DEFAULT VALUES", ())?;
        say(&Status {
            done,
            ..Status::default()
        });
    }
    Ok(())
}

/// What the writer's tasks share.
struct Writing {
    args: WriterArgs,
    clock: Arc<SteppedClock>,
    journal: Arc<Journal>,
    next_tx: AtomicU64,
    next_id: AtomicU64,
    committed: AtomicU64,
    failed: AtomicU64,
}

async fn write(args: WriterArgs, clock: Arc<SteppedClock>) -> Result<()> {
    let journal = Arc::new(Journal::create(&args.journal)?);
    let desk: Arc<dyn source::Desk> = args.source.desk().await?.into();
    let writing = Arc::new(Writing {
        args,
        clock,
        journal,
        next_tx: AtomicU64::new(0),
        next_id: AtomicU64::new(0),
        committed: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..WRITERS {
        let (desk, writing) = (Arc::clone(&desk), Arc::clone(&writing));
        tasks.spawn(async move { writing.task(task, &*desk).await });
    }
    let all_done = async { while tasks.join_next().await.is_some() {} };
    let tell = async {
        loop {
            writing.say();
            tokio::time::sleep(SAY_EVERY).await;
        }
    };
    tokio::select! {
        () = all_done => {}
        () = tell => {}
    }
    writing.say();
    Ok(())
}

impl Writing {
    fn say(&self) {
        let failed = self.failed.load(Ordering::Relaxed);
        say(&Status {
            done: self.committed.load(Ordering::Relaxed),
            well: true,
            error: (failed > 0).then(|| format!("{failed} attempts without an answer")),
            ..Status::default()
        });
    }

    async fn task(&self, task: u64, desk: &dyn source::Desk) {
        let mut rng = Rng::new(self.args.seed ^ (self.args.generation << 32) ^ (task << 56));
        let started = tokio::time::Instant::now();
        let mut written = 0;
        while self.committed.load(Ordering::Relaxed) < self.args.events {
            let attempt = self.attempt(&mut rng);
            let (tx, count) = (
                attempt.tx.clone(),
                attempt.keys.iter().map(|(_, count)| count).sum::<u64>(),
            );
            match desk.write(attempt, &self.journal).await {
                Ok(true) => {
                    self.journal.committed(tx);
                    self.committed.fetch_add(count, Ordering::Relaxed);
                }
                Ok(false) => self.journal.rolled_back(tx),
                Err(_unknown) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            written += count;
            if let Some(due) = (written * WRITERS * 1_000).checked_div(self.args.rate) {
                tokio::time::sleep_until(started + Duration::from_millis(due)).await;
            }
        }
    }

    /// The next transaction: a few keys, the first ones much more often than the others.
    fn attempt(&self, rng: &mut Rng) -> Attempt {
        let args = &self.args;
        let bound = |most: u64| usize::try_from(most.max(1)).unwrap_or(usize::MAX);
        let events = 1 + rng.below(bound(args.batch));
        let mut keys = std::collections::BTreeMap::new();
        for _ in 0..events {
            let skewed = rng.below(bound(args.keys)) * rng.below(bound(args.keys)) / bound(args.keys);
            *keys.entry(format!("k{skewed}")).or_insert(0) += 1;
        }
        // Few keys: a consumer that would have to set very many aside stops instead.
        let poisonous = keys
            .keys()
            .next()
            .is_some_and(|first| ["k0", "k1", "k10"].contains(&first.as_str()));
        let of = |counter: &AtomicU64, by: usize| {
            counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Ordering::Relaxed)
        };
        let is = |rng: &mut Rng, one_in: usize| rng.below(one_in) == 0;
        Attempt {
            tx: format!("{}-{}", args.generation, of(&self.next_tx, 1)),
            keys: keys.into_iter().collect(),
            first_id: u128::from(args.seed) << 64
                | u128::from(args.generation) << 40
                | u128::from(of(&self.next_id, events)),
            payload_bytes: args.payload_bytes,
            first_bytes: if args.oversize_bytes > 0 && poisonous && is(rng, 10) {
                args.oversize_bytes
            } else {
                args.payload_bytes
            },
            rollback: is(rng, 12),
            late: if is(rng, 4) {
                rng.up_to(Duration::from_millis(5))
            } else {
                Duration::ZERO
            },
            hold: if is(rng, 20) {
                rng.up_to(Duration::from_millis(60))
            } else {
                Duration::ZERO
            },
            poison: args.poison && poisonous && is(rng, 10),
            now: self.clock.now(),
        }
    }
}
