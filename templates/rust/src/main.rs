//! Starts, serves, and ends without dropping a request.
//!
//! It listens on `$HOST:$PORT`, or takes over the socket that it was handed. On SIGTERM it stops accepting, `/ready`
//! answers 503, and requests under way get `DRAIN_SECONDS` to finish.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

mod app;
mod flags;
mod log;
mod metrics;
mod trace;

use app::App;
use flags::Flags;

/// The first descriptor that a supervisor hands over.
const FIRST_HANDED_OVER: i32 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error("it cannot serve", json!({ "error": error.to_string() }));
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> io::Result<()> {
    let flags = Flags::read()?;
    let drain = Duration::from_secs(setting("DRAIN_SECONDS", 8)?);
    // Before it listens, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = listener()?;
    log::info(
        "it listens",
        json!({ "address": listener.local_addr()?.to_string() }),
    );

    let (begin_drain, draining) = watch::channel(false);
    let asked_to_end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        begin_drain.send_replace(true);
        log::info("it finishes what is under way", json!({}));
    };
    let mut late = draining.clone();
    let drain_is_over = async move {
        // An error means that the sender is gone, and it goes only after it has sent.
        let _ = late.wait_for(|draining| *draining).await;
        tokio::time::sleep(drain).await;
    };
    let serving = axum::serve(listener, app::router(App::new(flags, draining)));
    tokio::select! {
        served = serving.with_graceful_shutdown(asked_to_end).into_future() => served?,
        () = drain_is_over => log::warn("requests were still under way when the drain was over", json!({})),
    }
    log::info("it ends", json!({}));
    Ok(())
}

fn listener() -> io::Result<TcpListener> {
    let listener = match handed_over() {
        Some(socket) => std::net::TcpListener::from(socket),
        None => {
            let host = setting("HOST", IpAddr::from(Ipv4Addr::LOCALHOST))?;
            std::net::TcpListener::bind((host, setting("PORT", 8080)?))?
        }
    };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The listening socket that whoever started this process handed over, as systemd does it: a new version takes
/// it while the old one still serves from it, and no connection is refused in between.
fn handed_over() -> Option<OwnedFd> {
    let count: u32 = std::env::var("LISTEN_FDS").ok()?.parse().ok()?;
    let meant_for = std::env::var("LISTEN_PID").ok();
    if count == 0 || meant_for.is_some_and(|pid| pid != std::process::id().to_string()) {
        return None;
    }
    // SAFETY: who sets LISTEN_FDS leaves this descriptor open for us, and nothing in this process has it: it is
    // asked for once, at the start. Were it not open, the first call on it would fail.
    Some(unsafe { OwnedFd::from_raw_fd(FIRST_HANDED_OVER) })
}

/// The variable `name`, or `default` when it is not set.
fn setting<T: FromStr>(name: &str, default: T) -> io::Result<T> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text
            .parse()
            .map_err(|_| io::Error::other(format!("{name} is {text:?}, which cannot be read"))),
    }
}
