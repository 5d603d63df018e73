//! A certificate for every proxy alike, and somebody who does nothing but shake hands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rc_model::clock::monotonic_ns;

use super::joined;
use crate::failure::{Failure, Result};
use crate::load::transport::Transport;

/// Threads that shake hands: each waits for the other side.
const THREADS: u64 = 8;

/// PEM files of one certificate.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Certificate and key in one file, for HAProxy.
    pub(crate) both: PathBuf,
}

/// Makes a certificate (ECDSA, P-256) in `folder`, and who trusts it.
pub(crate) fn make(folder: &Path) -> Result<(Files, Transport)> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .map_err(|error| Failure::new(format!("no certificate: {error}")))?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs_err::create_dir_all(folder)?;
    let files = Files {
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
        both: folder.join("both.pem"),
    };
    fs_err::write(&files.certificate, &certificate)?;
    fs_err::write(&files.key, &key)?;
    fs_err::write(&files.both, certificate + &key)?;
    Ok((files, Transport::tls(made.cert.der().clone())?))
}

/// Opens and closes that many connections a second (open loop) for so long; how many were opened.
pub(crate) fn shake_hands(
    target: SocketAddr,
    transport: &Transport,
    per_second: u64,
    span: Duration,
) -> Result<u64> {
    let interval = THREADS * 1_000_000_000 / per_second;
    let start = monotonic_ns();
    let end = start + span.as_nanos() as u64;
    let one_thread = |number: u64| {
        let mut opened = 0;
        let mut due = start + number * interval / THREADS;
        while due < end {
            let now = monotonic_ns();
            if now >= end {
                break;
            }
            std::thread::sleep(Duration::from_nanos(due.saturating_sub(now)));
            transport.connect(target)?;
            opened += 1;
            due += interval;
        }
        Ok(opened)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| scope.spawn(move || one_thread(number)))
            .collect();
        threads.into_iter().map(joined).sum()
    })
}
