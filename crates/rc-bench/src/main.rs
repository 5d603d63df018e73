//! `rc-bench` measures the built `rc` from outside, beside what people would use instead, and prints figures
//! as JSON. `cargo xtask bench` builds both, runs this and writes the page.
//!
//! It is no part of the product. It calls nothing of the product's code but its clock and the names of its files:
//! what it measures are the programs as they are shipped. Read first: [`load`], then one of [`subject`].

mod backend;
mod client;
mod failure;
mod figures;
mod haproxy;
mod load;
mod naive;
mod nats;
mod nginx;
mod platform;
mod procs;
mod profile;
mod requests;
mod rig;
mod subject;
mod text;
mod timer;

use std::io::{BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};

use backend::Capacity;
use failure::Result;
use load::{Arrivals, Load};
use procs::Cores;
use requests::{Documents, ingest_requests};
use subject::{Options, Subject};
use text::{SEED, Texts};

#[derive(Debug, Parser)]
#[command(about = "Measures the built rc beside its peers; `cargo xtask bench` runs it")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure one subject and print its figures as JSON
    Run {
        subject: Subject,
        /// The release build of `rc` that is measured
        #[arg(long)]
        rc: PathBuf,
        /// An empty folder on a real disk, for everything that is written
        #[arg(long)]
        scratch: PathBuf,
        /// The nginx to compare with
        #[arg(long)]
        nginx: Option<PathBuf>,
        /// The HAProxy to compare with
        #[arg(long)]
        haproxy: Option<PathBuf>,
        /// The unpacked Debezium Server to compare with
        #[arg(long, value_name = "FOLDER")]
        debezium: Option<PathBuf>,
        /// The former release build of `rc` to compare with
        #[arg(long, value_name = "PROGRAM")]
        former: Option<PathBuf>,
        /// Events after which `kept` looks at the outbox
        #[arg(long, value_name = "EVENTS")]
        kept: Option<u64>,
        /// A few seconds instead of minutes: shows that everything works, and measures little
        #[arg(long)]
        quick: bool,
    },
    /// Print what statements cost after a load, on both stores, as Markdown
    Profile {
        /// The build of `rc` that is looked at
        #[arg(long)]
        rc: PathBuf,
        /// An empty folder, for everything that is written
        #[arg(long)]
        scratch: PathBuf,
    },
    /// Print the published documents as NDJSON, or the queries that fit them
    Documents {
        /// How many
        #[arg(long, default_value_t = 100_000)]
        count: u64,
        /// The queries instead
        #[arg(long)]
        queries: bool,
    },
    /// Send new documents to a running platform as fast as it answers: for looking at it with a profiler
    Send {
        /// Where its gateway listens
        #[arg(long)]
        gateway: SocketAddr,
        /// The key of a tenant
        #[arg(long)]
        key: String,
        #[arg(long, default_value_t = 16)]
        connections: usize,
        /// Documents in a batch; 1 sends singles
        #[arg(long, default_value_t = 1)]
        items: usize,
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        /// What the ids begin with: another run needs another one
        #[arg(long, default_value = "doc")]
        run: String,
    },
    /// Serve the fixed answer that all proxies fetch
    Backend {
        #[arg(long)]
        port: u16,
        /// The cores to run on, such as `0,1`
        #[arg(long)]
        cores: String,
        /// Requests that are served at one time; absent, any number
        #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
        slots: usize,
        /// How long each of them takes
        #[arg(long, default_value_t = 0)]
        time_us: u64,
        /// Real-time priority, where it is permitted
        #[arg(long)]
        priority: Option<u8>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run {
            subject,
            rc,
            scratch,
            nginx,
            haproxy,
            debezium,
            former,
            kept,
            quick,
        } => measure(
            subject,
            &Options {
                rc,
                scratch,
                nginx,
                haproxy,
                debezium,
                former,
                kept,
                quick,
            },
        ),
        Command::Send {
            gateway,
            key,
            connections,
            items,
            seconds,
            run,
        } => send(gateway, &key, (connections, items), seconds, &run),
        Command::Profile { rc, scratch } => profile(&rc, &scratch),
        Command::Documents { count, queries } => publish(count, queries),
        Command::Backend {
            port,
            cores,
            slots,
            time_us,
            priority,
        } => {
            let time = Duration::from_micros(time_us);
            serve(port, &cores, Capacity { slots, time }, priority)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::from(3)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the figures are the output of this program")]
fn measure(subject: Subject, options: &Options) -> Result<()> {
    let measured = subject.measure(options)?;
    println!("{}", serde_json::to_string_pretty(&measured)?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the page is the output of this program")]
fn profile(rc: &Path, scratch: &Path) -> Result<()> {
    println!("{}", profile::page(rc, scratch)?.trim_end());
    Ok(())
}

/// Sends batches of `items` over so many connections.
fn send(
    gateway: SocketAddr,
    key: &str,
    (connections, items): (usize, usize),
    seconds: u64,
    run: &str,
) -> Result<()> {
    let documents = Documents::new(&Arc::new(Texts::new(SEED)), run);
    let mut requests = ingest_requests(key, documents, items);
    let load = Load {
        target: gateway,
        connections,
        arrivals: Arrivals::Saturation,
        warm_up: Duration::ZERO,
        measured: Duration::from_secs(seconds),
    };
    let report = load::run(&load, requests.as_mut(), &mut |_| {})?;
    report.expect(&[202])?;
    let (p50, p99) = (report.latency_ms(0, 0.5), report.latency_ms(0, 0.99));
    let rate = report.rate() * items as f64;
    say(&format!(
        "{rate:.0} documents a second; a request takes {p50:.2} ms, p99 {p99:.2} ms"
    ));
    Ok(())
}

fn serve(port: u16, cores: &str, capacity: Capacity, priority: Option<u8>) -> Result<()> {
    Cores::parse(cores)?.pin()?;
    if priority.is_some_and(|priority| !procs::real_time(priority)) {
        say("the service has no real-time priority: it is not permitted here");
    }
    backend::serve(port, capacity)
}

/// Writes what the load is made of, for other tools.
fn publish(count: u64, queries: bool) -> Result<()> {
    let texts = Arc::new(Texts::new(SEED));
    let mut out = BufWriter::new(std::io::stdout().lock());
    if queries {
        for query in texts.queries(SEED) {
            writeln!(out, "{query}")?;
        }
    } else {
        let mut documents = Documents::new(&texts, "doc");
        for _ in 0..count {
            let mut line = String::new();
            documents.write(&mut line);
            writeln!(out, "{line}")?;
        }
    }
    Ok(out.flush()?)
}

/// Progress and failures, for the person who waits.
#[expect(clippy::print_stderr, reason = "the one place that speaks to people")]
fn say(line: &str) {
    eprintln!("bench: {line}");
}
