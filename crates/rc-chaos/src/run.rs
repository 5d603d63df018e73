//! One run: a world, roles that work in it, faults that happen to them, and the checker at the end.

mod inflict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rc_events::Numbering;
use rc_test::Rng;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::checker::{self, Verdict};
use crate::failure::Result;
use crate::fault::{Fault, Plan, Role};
use crate::history::{History, Line, Reader};
use crate::power::Disk;
use crate::process::Process;
use crate::world::{Combination, NATS_PAYLOAD_BYTES_MAX, World};

/// How often the run looks at its processes.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How long a process rests before it is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// How long log, bus and consumer must agree before a run is over.
const SETTLED_FOR: Duration = Duration::from_millis(1_600);

/// The same when the bus has fewer events than the log: a relay that has just started says nothing of a backlog either.
const QUIET_FOR: Duration = Duration::from_secs(20);

/// How long they may usually take to agree once nothing happens to them any more.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(90);

/// How many faults are tried for one that shall take place.
const TRIES_A_FAULT: u64 = 3;

/// How long the first event may take.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// An event that a NATS server here does not take when [`Options::oversize`] is set.
const OVERSIZE_BYTES: usize = 2 * NATS_PAYLOAD_BYTES_MAX;

/// How long the outbox keeps what was relayed where [`Options::prune`] is set.
const PRUNED_KEEP: Duration = Duration::from_millis(200);

/// What a writer commits at least: one that comes after the planned events, because faults are still to come.
const WRITER_EVENTS_MIN: u64 = 1_000;

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// This program.
    pub program: PathBuf,
    /// An empty folder, for everything that is written.
    pub folder: PathBuf,
    /// The source and the bus.
    pub combination: Combination,
    /// Decides faults and events.
    pub seed: u64,
    /// Acknowledged events at least; writers go on until the faults are done, too.
    pub events: u64,
    /// Faults at least, unless the run takes too long.
    pub faults: u64,
    /// Events a second at most; 0: as many as can be.
    pub rate: u64,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Events of the largest transaction.
    pub batch: u64,
    /// Some events are larger than a NATS server here takes: the relay sets them aside, and their keys wait.
    pub oversize: bool,
    /// Some events can never be applied: the consumer sets them aside, and their keys wait.
    pub poison: bool,
    /// The outbox forgets what was relayed: the log is then no witness.
    pub prune: bool,
    /// The only faults; `None`: all that there are.
    pub only: Option<Vec<Fault>>,
    /// Mistakes that the roles shall make.
    pub mutations: Vec<String>,
    /// How long log, bus and consumer may take to agree after the last fault.
    pub drain_time: Duration,
    /// Everything that is judged lies on a disk that can lose its power; see [`crate::power`].
    pub disk: bool,
    /// Servers on that disk wait for it before they acknowledge.
    pub sync: bool,
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The source and the bus.
    pub combination: Combination,
    /// Decides faults and events.
    pub seed: u64,
    /// Events that had to be everywhere.
    pub events: u64,
    /// Entries of the stream.
    pub stream: u64,
    /// Events that the log had in the end.
    #[serde(default)]
    pub logged: u64,
    /// Faults that took place, by name.
    pub faults: BTreeMap<String, u64>,
    /// What the checker found: what, where, how often.
    pub found: Vec<(checker::Fault, checker::Channel, u64)>,
    /// The first of it, in words.
    pub examples: Vec<String>,
    /// Why log, bus and consumer did not come to agree, if they did not.
    pub stuck: Option<String>,
    /// Events that the bus had acknowledged and no longer had after a power loss. The relay has them still and
    /// publishes them again: nothing need be lost, and yet the bus has broken its word.
    pub forgotten: u64,
    /// Roles that panicked.
    pub panics: u64,
    /// The longest time in which the consumer did not move while the writer worked.
    pub longest_stall_ms: u64,
    /// How long it took.
    pub seconds: u64,
}

impl Outcome {
    /// Whether the promise was kept.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.found.is_empty() && self.stuck.is_none() && self.panics == 0 && self.forgotten == 0
    }

    /// How often `fault` was found in `channel`.
    #[must_use]
    pub fn count_in(&self, fault: checker::Fault, channel: checker::Channel) -> u64 {
        let is = |(found, place, _): &&(checker::Fault, checker::Channel, u64)| {
            *found == fault && *place == channel
        };
        self.found.iter().filter(is).map(|(_, _, count)| count).sum()
    }

    /// How often `fault` was found, wherever.
    #[must_use]
    pub fn count(&self, fault: checker::Fault) -> u64 {
        let of = |(found, _, count): &(checker::Fault, checker::Channel, u64)| {
            if *found == fault { *count } else { 0 }
        };
        self.found.iter().map(of).sum()
    }

    /// How many faults took place.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults.values().sum()
    }
}

/// A role and what is left of it.
struct Place {
    process: Option<Process>,
    ended: Instant,
    /// What the next process is armed with: a crash point, and at which visit.
    armed: Option<(&'static str, u64)>,
    /// The point does not end it but stops it.
    stops: bool,
    finished: bool,
}

struct Run<'o> {
    options: &'o Options,
    world: World,
    rng: Rng,
    places: Vec<Place>,
    generation: u64,
    journals: Vec<PathBuf>,
    /// Acknowledged events of writers that are gone, as far as they told.
    committed: u64,
    /// Faults are still to come: writers write on.
    harming: bool,
    faults: BTreeMap<String, u64>,
    forgotten: u64,
    panics: u64,
    moved: (i64, Instant),
    longest_stall: Duration,
}

/// Runs it.
///
/// # Errors
/// When it cannot be set up or read back. What is found to be wrong is in the outcome.
pub async fn run(options: &Options) -> Result<Outcome> {
    let started = Instant::now();
    let disk = options.disk.then(|| Disk::create(&options.folder)).transpose()?;
    let world = World::start(options, disk)?;
    let place = |_| Place {
        process: None,
        ended: started,
        armed: None,
        stops: false,
        finished: false,
    };
    let mut run = Run {
        options,
        world,
        rng: Rng::new(options.seed ^ 0x70_6f77_6572),
        places: Role::ALL.map(place).into(),
        generation: 0,
        journals: Vec::new(),
        committed: 0,
        harming: true,
        faults: BTreeMap::new(),
        forgotten: 0,
        panics: 0,
        moved: (0, started),
        longest_stall: Duration::ZERO,
    };
    run.harm().await?;
    let stuck = run.drain().await?;
    run.places.clear();
    let (verdict, history, logged) = run.judge().await?;
    if !verdict.is_whole() {
        let file = fs_err::File::create(options.folder.join("history.ndjson"))?;
        history.write(&mut std::io::BufWriter::new(file))?;
    }
    Ok(Outcome {
        combination: options.combination,
        seed: options.seed,
        events: verdict.expected,
        stream: verdict.stream,
        logged,
        faults: run.faults,
        found: verdict
            .counts
            .iter()
            .map(|(&(fault, channel), &count)| (fault, channel, count))
            .collect(),
        examples: verdict.examples.iter().map(ToString::to_string).collect(),
        stuck,
        forgotten: run.forgotten,
        panics: run.panics,
        longest_stall_ms: millis(run.longest_stall),
        seconds: started.elapsed().as_secs(),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Run<'_> {
    /// Faults while the writer works, until there were enough of both.
    async fn harm(&mut self) -> Result<()> {
        let options = self.options;
        let mut plan = match &options.only {
            Some(kinds) => Plan::only(options.seed, kinds),
            None => Plan::new(options.seed, options.combination),
        };
        // First something must be there: a consumer that is killed before it has a store shows nothing.
        let until = Instant::now() + START_TIME_MAX;
        while self.status(Role::Relay).done == 0 && self.moved.0 == 0 && Instant::now() < until {
            self.rest(LOOK_EVERY).await?;
        }
        self.world.settle()?;
        // Not every fault can take place when it is its turn: a point that is not visited, a slot that is not there.
        let (mut done, mut tries) = (0, options.faults * TRIES_A_FAULT);
        while done < options.faults && tries > 0 {
            let Some(planned) = plan.next() else { break };
            tries -= 1;
            self.rest(planned.after).await?;
            if self.inflict(planned).await? {
                *self.faults.entry(planned.fault.to_string()).or_default() += 1;
                done += 1;
            }
        }
        self.harming = false;
        while !self.place(Role::Writer).finished {
            self.rest(LOOK_EVERY).await?;
        }
        Ok(())
    }

    /// Lets everything come to rest: no faults, all roles. Why it did not, if it did not.
    async fn drain(&mut self) -> Result<Option<String>> {
        self.world.clear();
        let until = Instant::now() + self.options.drain_time;
        let mut settled: Option<(i64, Instant)> = None;
        while Instant::now() < until {
            self.rest(LOOK_EVERY * 4).await?;
            let consumer = self.status(Role::Consumer).at;
            let relay = self.status(Role::Relay);
            let quiet = relay.well && relay.waiting == 0 && self.world.tail().await == Some(consumer);
            settled = match settled {
                Some((at, since)) if quiet && at == consumer => {
                    // Where rows were set aside the bus never has all: then only time tells.
                    let all = self.world.logged().await == Some(consumer);
                    if since.elapsed() >= if all { SETTLED_FOR } else { QUIET_FOR } {
                        return Ok(None);
                    }
                    settled
                }
                _ if quiet => Some((consumer, Instant::now())),
                _ => None,
            };
        }
        let (relay, consumer) = (self.status(Role::Relay), self.status(Role::Consumer));
        Ok(Some(format!(
            "after {} s: relay at {} with {} rows waiting ({}), consumer at {} ({})",
            self.options.drain_time.as_secs(),
            relay.at,
            relay.waiting,
            relay.error.as_deref().unwrap_or("no error"),
            consumer.at,
            consumer.error.as_deref().unwrap_or("no error"),
        )))
    }

    /// What the checker says, of what, and how many events the log had.
    async fn judge(&self) -> Result<(Verdict, History, u64)> {
        let mut reader = Reader::default();
        // A writer that was killed at its very start has said nothing.
        for journal in self.journals.iter().filter(|journal| journal.exists()) {
            reader.read(journal)?;
        }
        let mut logged = 0;
        let keep = |line: Line| match line {
            Line::Log(_) if self.options.prune => logged += 1,
            line => {
                logged += u64::from(matches!(line, Line::Log(_)));
                reader.push(line);
            }
        };
        self.world.read_back(keep).await?;
        let history = reader.history();
        let verdict = checker::check(&history, Numbering::Consecutive);
        Ok((verdict, history, logged))
    }

    fn place(&mut self, role: Role) -> &mut Place {
        let index = Role::ALL.iter().position(|of| *of == role).unwrap_or(0);
        &mut self.places[index]
    }

    fn status(&mut self, role: Role) -> crate::role::Status {
        let process = self.place(role).process.as_ref();
        process.map(Process::status).unwrap_or_default()
    }

    /// Lets time pass while the processes are looked after.
    async fn rest(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            self.look()?;
            let left = until.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
            if left <= LOOK_EVERY {
                return Ok(());
            }
        }
    }

    /// Starts what ended again, and notes how far the consumer is.
    fn look(&mut self) -> Result<()> {
        for role in Role::ALL {
            self.look_at(role)?;
        }
        let at = self.status(Role::Consumer).at;
        if at > self.moved.0 {
            self.longest_stall = self.longest_stall.max(self.moved.1.elapsed());
            self.moved = (at, Instant::now());
        }
        Ok(())
    }

    fn look_at(&mut self, role: Role) -> Result<()> {
        let (committed, events, harming) = (self.committed, self.options.events, self.harming);
        let place = self.place(role);
        if let Some(process) = &mut place.process
            && let Some(status) = process.ended()
        {
            let done = process.status().done;
            place.process = None;
            place.ended = Instant::now();
            // Ended by its own abort: the crash point was reached.
            if std::os::unix::process::ExitStatusExt::signal(&status) == Some(6) {
                place.armed = None;
            }
            if role == Role::Writer {
                self.committed = committed + done;
            }
            if status.code() == Some(101) {
                self.panics += 1;
            }
            return Ok(());
        }
        let due = place.process.is_none() && !place.finished && place.ended.elapsed() >= RESTART_PAUSE;
        if !due {
            return Ok(());
        }
        if role == Role::Writer && committed >= events && !harming {
            self.place(role).finished = true;
            return Ok(());
        }
        let args = self.args(role);
        let process = Process::start(&self.options.program, &args, &self.log())?;
        self.place(role).process = Some(process);
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.options.folder.join("roles.log")
    }

    fn args(&mut self, role: Role) -> Vec<String> {
        let mut args = Vec::new();
        let place = self.place(role);
        if let Some((point, visit)) = place.armed {
            let name = if place.stops { "--stop" } else { "--crash" };
            args.extend([name.to_owned(), format!("{point}:{visit}")]);
        }
        for mutation in &self.options.mutations {
            args.extend(["--mutate".to_owned(), mutation.clone()]);
        }
        args.push(role.name().to_owned());
        let mut put = |name: &str, value: String| args.extend([format!("--{name}"), value]);
        match role {
            Role::Writer => {
                self.generation += 1;
                let journal = journal(&self.options.folder, self.generation);
                put("source", self.world.source());
                put("journal", journal.display().to_string());
                let left = self.options.events.saturating_sub(self.committed);
                put("events", left.max(WRITER_EVENTS_MIN).to_string());
                put("seed", self.options.seed.to_string());
                put("generation", self.generation.to_string());
                put(
                    "oversize-bytes",
                    if self.options.oversize { OVERSIZE_BYTES } else { 0 }.to_string(),
                );
                put("rate", self.options.rate.to_string());
                put("payload-bytes", self.options.payload_bytes.to_string());
                put("batch", self.options.batch.to_string());
                self.journals.push(journal);
                if self.options.poison {
                    args.push("--poison".to_owned());
                }
            }
            Role::Relay => {
                put("source", self.world.source());
                put("bus", self.world.bus());
                if self.options.prune {
                    put("keep-ms", PRUNED_KEEP.as_millis().to_string());
                }
            }
            Role::Consumer => {
                put("bus", self.world.bus());
                put("effects", self.world.effects());
            }
        }
        args
    }
}

fn journal(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("writer-{generation}.ndjson"))
}
