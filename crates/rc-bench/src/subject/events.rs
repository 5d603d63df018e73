//! Events: the relay from PostgreSQL to JetStream beside a bare publisher and Debezium Server, and what the
//! embedded log gives back when it is read again.

mod debezium;
mod kept;
mod outbox;
mod replay;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use hdrhistogram::Histogram;
use rc_model::clock::monotonic_ns;
use rc_test::Postgres;
use rc_test::nats::{Nats as Server, Sync};

use super::{Options, require_real_disk};
use crate::failure::{Failure, Result};
use crate::figures::{Figures, Measured, Unit};
use crate::nats::Nats;
use crate::procs::{self, Cores, Process};
use debezium::Debezium;
use outbox::Outbox;

/// Rounds of everything.
const ROUNDS: usize = 5;

/// Bytes of an event's payload.
pub(super) const PAYLOAD_BYTES: usize = 600;

/// Messages in an atomic publish, the most that a server takes.
const BATCH: usize = 1_000;

/// Single publishes of the bare publisher that are not acknowledged at a time.
const WINDOW: usize = 64;

/// The relay beside its peers.
const OF_PUBLISHER_MIN: f64 = 0.8;
const TIMES_DEBEZIUM_MIN: f64 = 5.0;
const LAG_MS_MAX: f64 = 100.0;

/// Longest time that a mover may take.
const MOVE_MAX: Duration = Duration::from_secs(600);

/// Longest lag that is told apart, in microseconds.
const LAG_US_MAX: u64 = 600_000_000;

/// The table of the relay's figures.
const RELAY: &str = "PostgreSQL to JetStream";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    rounds: usize,
    events: u64,
    /// How long events are appended at half load, while a transaction stands open elsewhere.
    lag: Duration,
    replayed: u64,
}

/// What moves events.
#[derive(Debug, Clone, Copy)]
enum Mover<'m> {
    Ours,
    Debezium(&'m Debezium),
}

pub(super) fn measure(options: &Options) -> Result<Measured> {
    require_real_disk(&std::env::temp_dir())?;
    require_real_disk(&options.scratch)?;
    let size = if options.quick {
        Size {
            rounds: 1,
            events: 10_000,
            lag: Duration::from_secs(3),
            replayed: 50_000,
        }
    } else {
        Size {
            rounds: ROUNDS,
            events: 100_000,
            lag: Duration::from_secs(60),
            replayed: 1_000_000,
        }
    };
    let debezium = options.debezium.as_deref().map(Debezium::at).transpose()?;
    let mut figures = Figures::default();
    let server = Postgres::start_durable_logical();
    for round in 0..size.rounds {
        crate::say(&format!("events, round {} of {}", round + 1, size.rounds));
        let beside = debezium.as_ref().map(Mover::Debezium);
        let mut movers = vec![Mover::Ours];
        movers.extend(beside);
        // Another one goes first in each round.
        let first = round % movers.len();
        movers.rotate_left(first);
        Round {
            options,
            server: &server,
            size,
            number: round,
        }
        .run(&movers, &mut figures)?;
        replay::round(options, size.replayed, round, &mut figures)?;
    }
    Ok(Measured {
        method: method(size, debezium.is_some()),
        rounds_min: ROUNDS,
        figures: figures.into_rows(),
    })
}

/// What the outbox keeps after many events.
pub(super) fn measure_kept(options: &Options) -> Result<Measured> {
    require_real_disk(&std::env::temp_dir())?;
    let usual = if options.quick { 20_000 } else { 10_000_000 };
    let events = options.kept.unwrap_or(usual);
    let mut figures = Figures::default();
    let server = Postgres::start_durable_logical();
    kept::measure(options, &server, events, &mut figures)?;
    Ok(Measured {
        method: format!(
            "{events} events of {PAYLOAD_BYTES} bytes, in {} parts, are written into an outbox on PostgreSQL and \
             relayed to JetStream with `--outbox-keep 1s`; after each part, what the outbox has when retention has \
             caught up.",
            kept::LOOKS
        ),
        rounds_min: kept::LOOKS as usize,
        figures: figures.into_rows(),
    })
}

fn method(size: Size, debezium: bool) -> String {
    let peer = if debezium {
        "Debezium Server is 2.7.3, its EventRouter reads a table of its own through a slot, with its defaults: a plain \
         table without partitions, one message published and acknowledged at a time, at least once, and without \
         leadership or a check of the stream's end."
    } else {
        "Debezium Server was not there (`--debezium FOLDER`)."
    };
    format!(
        "{events} events of {PAYLOAD_BYTES} bytes over 1000 keys stand in an outbox on PostgreSQL, written 500 a \
         transaction; `rc events relay` is started, and the clock runs from the first message in the stream to the \
         last. nats-server 2.15 with `sync_interval: always`, one stream in a file. The bare publisher has its \
         messages ready and publishes the same number of the same size into a stream of the same settings: the better \
         of atomic batches of {BATCH}, one at a time, and of single messages, {WINDOW} at a time. {peer} Lag: events \
         are appended ten a transaction at half of what the mover reached, at most 1000 a second, for {lag} s, while \
         a transaction of another database stands open with a number; from before the insert until a reader of the \
         stream has it. Replay: {replayed} events in an embedded log, read, decoded and counted in order; \
         then by the document projector, from a start of the platform until all \
         can be found. All processes share the cores.",
        events = size.events,
        lag = size.lag.as_secs(),
        replayed = size.replayed,
    )
}

struct Round<'r> {
    options: &'r Options,
    server: &'r Postgres,
    size: Size,
    number: usize,
}

impl Round<'_> {
    fn run(&self, movers: &[Mover<'_>], figures: &mut Figures) -> Result<()> {
        let bare = self.bare()?;
        figures.push(RELAY, "bare publisher", Unit::PerSecond, bare);
        let (mut ours, mut theirs) = (None, None);
        for mover in movers {
            let done = self.moved(*mover)?;
            let name = mover.name();
            figures.push(RELAY, name, Unit::PerSecond, done.rate);
            figures.push(
                RELAY,
                &format!("memory, {name}"),
                Unit::Mebibytes,
                done.memory_mib,
            );
            let half = (done.rate / 2.0).min(1_000.0);
            let lag = self.lag(*mover, half)?;
            for (quantile, text) in [(0.5, "p50"), (0.99, "p99")] {
                let ms = lag.value_at_quantile(quantile) as f64 / 1e3;
                let figure = figures.push(
                    RELAY,
                    &format!("lag {text} beside an open transaction, {name}"),
                    Unit::Milliseconds,
                    ms,
                );
                if matches!(mover, Mover::Ours) && quantile > 0.9 {
                    figure.at_most(LAG_MS_MAX);
                }
            }
            let p99 = lag.value_at_quantile(0.99) as f64;
            match mover {
                Mover::Ours => ours = Some((done.rate, p99)),
                Mover::Debezium(_) => theirs = Some((done.rate, p99)),
            }
        }
        let (rate, p99) = ours.ok_or_else(|| Failure::new("the relay was not measured"))?;
        let of_publisher = rate / bare;
        let reached = theirs.is_some_and(|(theirs, _)| rate >= TIMES_DEBEZIUM_MIN * theirs);
        let figure = figures.push(
            RELAY,
            "our relay to the bare publisher",
            Unit::Times,
            of_publisher,
        );
        // The lower of the two targets counts.
        if !reached {
            figure.at_least(OF_PUBLISHER_MIN);
        }
        if let Some((their_rate, their_p99)) = theirs {
            let name = "our relay to Debezium Server";
            figures.push(RELAY, name, Unit::Times, rate / their_rate);
            let name = "our p99 lag to Debezium Server's";
            figures
                .push(RELAY, name, Unit::Times, p99 / their_p99)
                .at_most(0.2);
        }
        Ok(())
    }

    /// The better of two ways to publish without anything before it.
    fn bare(&self) -> Result<f64> {
        let payload = outbox::payload(0, 0);
        let count = usize::try_from(self.size.events).unwrap_or(usize::MAX);
        let batches = {
            let nats = Server::start_own(Sync::Always, "");
            let mut publisher = Nats::connect(nats.address())?;
            publisher.create_stream("bench")?;
            let start = monotonic_ns();
            for number in 0..count / BATCH {
                publisher.publish_batch("bench.a.b.c.0", &format!("b{number}"), BATCH, &payload)?;
            }
            (count / BATCH * BATCH) as f64 / seconds_since(start)
        };
        let singles = {
            let nats = Server::start_own(Sync::Always, "");
            let mut publisher = Nats::connect(nats.address())?;
            publisher.create_stream("bench")?;
            let start = monotonic_ns();
            // They are much slower, and a part of them tells it.
            let some = count / 10;
            publisher.publish_singles("bench.a.b.c.0", some, WINDOW, &payload)?;
            some as f64 / seconds_since(start)
        };
        Ok(batches.max(singles))
    }

    /// Everything that stands in an outbox, into a fresh stream.
    fn moved(&self, mover: Mover<'_>) -> Result<Done> {
        let nats = Server::start_own(Sync::Always, "");
        let outbox = Outbox::create(self.server, mover)?;
        outbox.fill(0..self.size.events)?;
        let moving = self.start(mover, &outbox, &nats)?;
        let mut look = Nats::connect(nats.address())?;
        let wait = |look: &mut Nats, count: u64| {
            let what = format!("{} has moved {count} events", mover.name());
            procs::wait_until(MOVE_MAX, &what, || Ok(look.messages(mover.stream()) >= count))
        };
        wait(&mut look, 1)?;
        let (start, begun) = (monotonic_ns(), look.messages(mover.stream()));
        wait(&mut look, self.size.events)?;
        let rate = self.size.events.saturating_sub(begun) as f64 / seconds_since(start);
        let memory_mib = procs::resident_mib(moving.pid)?;
        moving.stop()?;
        outbox.forget(self.server);
        Ok(Done { rate, memory_mib })
    }

    /// How long each event takes, in microseconds, while a transaction stands open in another database.
    fn lag(&self, mover: Mover<'_>, rate: f64) -> Result<Histogram<u64>> {
        let nats = Server::start_own(Sync::Always, "");
        let outbox = Outbox::create(self.server, mover)?;
        let elsewhere = Outbox::create(self.server, Mover::Ours)?;
        // Some are there, so that the mover has made its stream and read its snapshot.
        outbox.fill(0..1)?;
        let moving = self.start(mover, &outbox, &nats)?;
        let mut reader = Nats::connect(nats.address())?;
        procs::wait_until(MOVE_MAX, "the stream is there", || {
            Ok(reader.messages(mover.stream()) >= 1)
        })?;
        reader.follow(mover.stream())?;
        // What the round before has filled and dropped is written out now, and not while events are timed.
        self.server.admin(&["CHECKPOINT"]);
        let count = (rate * self.size.lag.as_secs_f64()) as u64;
        let (told, came) = mpsc::sync_channel(usize::try_from(count).unwrap_or(usize::MAX));
        let reading = std::thread::spawn(move || {
            for _ in 0..count {
                let payload = reader.delivered();
                if told.send((monotonic_ns(), payload)).is_err() {
                    return;
                }
            }
        });
        let open = elsewhere.open_transaction()?;
        outbox.append(count, rate)?;
        let mut lag =
            Histogram::new_with_max(LAG_US_MAX, 3).map_err(|error| Failure::new(error.to_string()))?;
        for _ in 0..count {
            let (at, payload) = came
                .recv_timeout(Duration::from_secs(60))
                .map_err(|_gone| Failure::new(format!("{} did not move everything", mover.name())))?;
            let sent = outbox::sent_ns(&payload?)?;
            lag.saturating_record(at.saturating_sub(sent) / 1_000);
        }
        reading
            .join()
            .map_err(|_panic| Failure::new("the reader of the stream failed"))?;
        drop(open);
        moving.stop()?;
        outbox.forget(self.server);
        elsewhere.forget(self.server);
        Ok(lag)
    }

    fn start(&self, mover: Mover<'_>, outbox: &Outbox, nats: &Server) -> Result<Process> {
        let log = self.options.scratch.join(format!("mover-{}.log", self.number));
        match mover {
            Mover::Ours => relay(self.options, outbox, nats, &[], &log),
            Mover::Debezium(debezium) => debezium.start(
                &self.options.scratch,
                self.server.address(),
                outbox,
                nats.address(),
                &log,
            ),
        }
    }
}

/// What a mover did.
struct Done {
    rate: f64,
    memory_mib: f64,
}

impl Mover<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "our relay",
            Self::Debezium(_) => "Debezium Server",
        }
    }

    /// The stream that it fills.
    fn stream(self) -> &'static str {
        match self {
            Self::Ours => "bench",
            Self::Debezium(_) => debezium::STREAM,
        }
    }
}

fn seconds_since(start: u64) -> f64 {
    (monotonic_ns() - start) as f64 / 1e9
}

/// Starts our relay from `outbox` to the stream `bench`, with `more` arguments.
fn relay(options: &Options, outbox: &Outbox, nats: &Server, more: &[&str], log: &Path) -> Result<Process> {
    let to = format!("nats://{}/bench?monitor={}", nats.address(), nats.monitor());
    let mut args = vec![
        "events",
        "relay",
        "--from",
        &outbox.url,
        "--to",
        &to,
        "--origin",
        "bench",
    ];
    args.extend(more);
    Process::start(&options.rc, &args, &Cores::all()?, log)
}
