//! `rc ingest`: documents from files into the platform.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rc_client::BatchState;
use rc_model::{Clock as _, SystemClock};
use tokio::time::Instant;

use crate::commands::platform::{Platform, PlatformArgs, pair, shell_word};
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

mod awaited;
mod batch;
mod journal;
mod read;
mod report;
mod runs;
mod send;
mod text;
mod walk;

use journal::{Circumstances, Journal, Start};
use report::{Progress, Summary};
use runs::Runs;
use send::{End, Sent};
use walk::Found;

/// Batches that wait between the reader and the sender: enough to keep 8 lanes fed, 4 MiB at most.
const QUEUE_BATCHES_MAX: usize = 4;

/// How long `--wait` waits without one more batch becoming searchable.
const SEARCHABLE_DEADLINE: Duration = Duration::from_secs(60);

/// How long a reader that nobody needs any more may take to notice.
const READER_GRACE: Duration = Duration::from_secs(1);

/// How often `--wait` asks.
const SEARCHABLE_POLL: Duration = Duration::from_millis(50);

/// Put documents into the platform, so that `rc search` finds them.
///
/// PATH is a file, a folder (read with everything below it, in the order of names) or `-` for standard
/// input. Hidden files, binary files and symbolic links below a folder are passed over and counted.
///
/// Text files become documents: the id is the path below PATH, the title the first line that says something,
/// and the attributes `path` and `ext` can be filtered by. A file of more than 256 KiB becomes several
/// documents, `path`, `path#2` and so on, cut between sections or paragraphs. Files that are not UTF-8 are
/// read as Windows-1252. `.gz` files are decompressed.
///
/// `.ndjson` and `.jsonl` files, standard input, and `.json` files that hold documents are taken as they
/// are: objects with `text` and, if you like, `id`, `title`, `attrs` and `time`.
///
/// Documents with the same id and content are duplicates and do nothing, so a run can be repeated. A run that
/// was interrupted (Ctrl-C, or a lost connection) continues where it was when the same command is typed again
/// within an hour; it starts over when files have changed or another run was made since, and for standard
/// input.
///
/// Exit code 1 when a document was refused; the others are stored all the same.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  rc ingest docs/\n  rc ingest --attr source=wiki export.ndjson\n  zcat dump.ndjson.gz | rc ingest - --wait"
)]
pub(crate) struct Args {
    /// Files, folders, or `-` for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Give every document this attribute; repeatable
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = pair)]
    attrs: Vec<(String, String)>,
    /// End when all documents can be found, not only stored
    #[arg(long)]
    wait: bool,
    /// Batches under way at once; the actual number follows what the platform takes
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Start over, even when an earlier run of this command was interrupted
    #[arg(long)]
    fresh: bool,
    /// Read symbolic links below folders, too
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    platform: PlatformArgs,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    if args
        .paths
        .iter()
        .filter(|path| path.as_path() == Path::new("-"))
        .count()
        > 1
    {
        return Err(Fault::usage("RC-CLI-014", "standard input can be read only once").into());
    }
    let concurrency = usize::from(args.concurrency);
    let found = walk::walk(&args.paths, &cx.cwd, args.follow).map_err(|(path, error)| {
        Fault::usage("RC-CLI-014", format!("`{}` cannot be read", path.display())).because(error)
    })?;
    if found.sources.is_empty() {
        return Err(nothing(&args, &found).into());
    }
    let platform = args.platform.connect(cx, concurrency).await?;
    let folder = journal_folder(cx);
    // Held to the end, so that others see this run.
    let runs = enter(cx, folder.clone()).await;
    let fingerprint = walk::fingerprint(&found.sources);
    let journal = Journal::open(
        &folder,
        &identity(cx, &args, &platform),
        Circumstances {
            sources: fingerprint.as_deref(),
            alone: runs.as_ref().and_then(|runs| runs.alone.as_deref()),
            before: runs.as_ref().and_then(|runs| runs.before.as_deref()),
            fresh: args.fresh,
            now: SystemClock.now(),
        },
    );
    let start = journal.start();
    match start {
        Start::Beginning => {}
        Start::Resumed => cx.note("continuing an interrupted run; `--fresh` starts over"),
        Start::Over(reason) => cx.note(format!("starting over: {reason}")),
    }
    let attrs: BTreeMap<String, String> = args.attrs.iter().cloned().collect();
    let known_end = found
        .sources
        .iter()
        .all(|source| source.kind != walk::Kind::Stdin);
    let total = known_end.then(|| found.sources.iter().map(|source| source.bytes).sum());
    let gauge = Arc::new(read::Gauge::default());
    let progress = Progress::new(cx.progress, total, Arc::clone(&gauge));
    let (out, batches) = tokio::sync::mpsc::channel(QUEUE_BATCHES_MAX);
    let sources = Arc::new(found.sources);
    let read_from = Arc::clone(&sources);
    let reader = tokio::task::spawn_blocking(move || read::read(&read_from, &attrs, &out, gauge));
    let mut sent = send::send(&platform.client, batches, journal, concurrency, &progress).await;
    let elapsed = progress.elapsed();
    progress.clear();
    // A reader that waits for standard input cannot be stopped; it ends with the process.
    let within = if matches!(sent.end, End::Complete) {
        Duration::MAX
    } else {
        READER_GRACE
    };
    let mut reading = match tokio::time::timeout(within, reader).await {
        Ok(read) => read.map_err(|error| Fault::world("RC-CLI-014", "reading ended early").because(error))?,
        Err(_) => read::Reading::default(),
    };
    let complete = matches!(sent.end, End::Complete);
    if complete && start == Start::Resumed && walk::fingerprint(&sources) != fingerprint {
        sent.end = End::Changed;
    }
    for (reason, count) in found.skips {
        *reading.skips.entry(reason).or_default() += count;
    }
    finish(cx, &args, &platform, reading, &mut sent, elapsed).await
}

/// Says how the run ended.
async fn finish(
    cx: &Cx,
    args: &Args,
    platform: &Platform,
    reading: read::Reading,
    sent: &mut Sent,
    elapsed: Duration,
) -> Result<Outcome, miette::Report> {
    let flags = platform.flags(&args.platform);
    let (state, next) = match sent.end {
        End::Complete => ("complete", format!("rc search 'WORDS'{flags}")),
        End::Interrupted => ("interrupted", again(sent)),
        // The same key is refused the next time too.
        End::Refused(ref error) if matches!(error.status(), Some(401 | 403)) => (
            "stopped",
            "type the command again with a key that the platform knows".to_owned(),
        ),
        End::Refused(_) | End::Stalled(_) => ("stopped", again(sent)),
        End::Changed => ("stopped", "type the same command again to start over".to_owned()),
    };
    let mut summary = Summary::new(state, &platform.acting_as, reading, sent, elapsed, next);
    if args.wait && matches!(sent.end, End::Complete) {
        summary.searchable = Some(searchable(platform, &sent.awaited).await?);
    }
    if cx.json() {
        cx.print_json(&summary);
    } else {
        cx.say(summary.text());
    }
    if let Some(error) = &sent.journal_fault {
        cx.note(format!(
            "note: the journal cannot be written, an interrupted run would start over: {error}"
        ));
    }
    match std::mem::replace(&mut sent.end, End::Complete) {
        End::Complete if summary.documents.rejected > 0 || summary.searchable == Some(false) => {
            Ok(Outcome::No)
        }
        End::Complete => Ok(Outcome::Done),
        End::Interrupted => Ok(Outcome::Code(INTERRUPTED)),
        End::Refused(error) => Err(platform.fault(error).into()),
        End::Changed => Err(Fault::no(
            "RC-CLI-014",
            "files changed while an interrupted run was continued; what it stored before may be outdated",
        )
        .hint("type the same command again; it reads all files from the beginning")
        .into()),
        End::Stalled(error) => {
            let fault =
                Fault::world("RC-CLI-016", "the platform took no documents for a minute").because(error);
            Err(fault
                .hint("`rc status` says what runs; then type the same command again, nothing is stored twice")
                .into())
        }
    }
}

fn again(sent: &Sent) -> String {
    if sent.resumable {
        "type the same command again to go on".to_owned()
    } else {
        "type the same command again; it starts over, and nothing is stored twice".to_owned()
    }
}

/// Enters among the runs; without it, the journal is neither believed nor kept.
async fn enter(cx: &Cx, folder: PathBuf) -> Option<Runs> {
    let entered = tokio::task::spawn_blocking(move || Runs::enter(&folder)).await;
    match entered.map_err(std::io::Error::other).flatten() {
        Ok(runs) => Some(runs),
        Err(error) => {
            cx.note(format!(
                "note: no journal can be kept, an interrupted run would start over: {error}"
            ));
            None
        }
    }
}

/// What a shell makes of a process that ends by Ctrl-C.
const INTERRUPTED: u8 = 130;

fn nothing(args: &Args, found: &Found) -> Fault {
    let named: Vec<String> = args
        .paths
        .iter()
        .map(|path| shell_word(&path.display().to_string()))
        .collect();
    let fault = Fault::no(
        "RC-CLI-014",
        format!("there is nothing to read in {}", named.join(" ")),
    );
    if found.skips.is_empty() {
        return fault;
    }
    let reasons: Vec<String> = found
        .skips
        .iter()
        .map(|(reason, count)| format!("{count} {}", reason.text()))
        .collect();
    fault.hint(format!("passed over: {}", reasons.join(", ")))
}

/// Waits until every batch can be found: those in `awaited` stand for all.
async fn searchable(platform: &Platform, awaited: &[String]) -> Result<bool, Fault> {
    for batch in awaited {
        let deadline = Instant::now() + SEARCHABLE_DEADLINE;
        loop {
            let status = platform
                .client
                .batch_status(batch)
                .await
                .map_err(|error| platform.fault(error))?;
            if status.value.state == BatchState::Indexed {
                break;
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(SEARCHABLE_POLL).await;
        }
    }
    Ok(true)
}

/// Where journals are kept: in the project's state, else in the person's.
fn journal_folder(cx: &Cx) -> PathBuf {
    let state = cx.layout().state();
    let own = || {
        let home = cx.env.home.as_ref().map(|home| home.join(".local/state"));
        cx.env
            .xdg_state_home
            .clone()
            .or(home)
            .map(|state| state.join("royalcrown"))
    };
    let folder = if state.is_dir() { Some(state) } else { own() };
    folder.unwrap_or_else(|| cx.layout().state()).join("ingest")
}

/// What makes two runs the same: the files, what is added to them, and as whom they go where.
fn identity(cx: &Cx, args: &Args, platform: &Platform) -> Vec<String> {
    let mut identity = vec![platform.endpoint.to_string(), platform.caller.clone()];
    identity.extend(args.paths.iter().map(|path| {
        if path.as_path() == Path::new("-") {
            "-".to_owned()
        } else {
            cx.cwd.join(path).display().to_string()
        }
    }));
    identity.extend(args.attrs.iter().map(|(name, value)| format!("{name}={value}")));
    identity.extend(args.follow.then(|| "--follow".to_owned()));
    identity
}
