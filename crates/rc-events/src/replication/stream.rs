//! The stream of a slot: changes out, confirmed places back, and both sides know that the other lives.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use rc_model::Clock as _;
use tokio::time::Instant;

use super::Lsn;
use super::session::refused;
use super::wire::{Wire, ended};
use crate::Error;

/// The server hears from us at least this often; it gives a silent client up after a minute.
const STATUS_PAUSE: Duration = Duration::from_secs(10);

/// A confirmed place is told at most this often, unless the server asks: each may cost it a write.
const CONFIRM_PAUSE: Duration = Duration::from_secs(1);

/// A server that says nothing for so long, though asked, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// 2000-01-01, where PostgreSQL's time starts, in Unix milliseconds.
pub(crate) const EPOCH_MS: i64 = 946_684_800_000;

/// What comes out of a stream.
#[derive(Debug)]
pub(crate) enum Item {
    /// A message of the plugin.
    Data {
        /// The change's own place.
        lsn: Lsn,
        /// The plugin's message.
        bytes: Bytes,
    },
    /// Every transaction that committed before this place and has changes for us was sent.
    Reached(Lsn),
}

/// An open stream.
pub(crate) struct Stream {
    wire: Wire,
    confirmed: Lsn,
    told: Lsn,
    told_at: Instant,
    heard_at: Instant,
    asked: bool,
}

impl Stream {
    pub(super) fn new(wire: Wire, from: Lsn) -> Self {
        let now = Instant::now();
        Self {
            wire,
            confirmed: from,
            told: Lsn(0),
            told_at: now,
            heard_at: now,
            asked: false,
        }
    }

    /// What has arrived, without waiting.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            let Some(frame) = self.wire.take()? else {
                if self.wire.read_now().await? {
                    self.heard_at = Instant::now();
                    continue;
                }
                return Ok(None);
            };
            let mut body = frame.body;
            match frame.tag {
                b'd' => {}
                b'E' => return Err(refused("replication ended", &body)),
                b'N' | b'S' => continue,
                _ => return Err(ended("the server ended the stream")),
            }
            let broken = || Error::stream("the server sent half a replication message");
            match body.try_get_u8().unwrap_or(0) {
                b'w' if body.len() >= 24 => {
                    let lsn = Lsn(body.get_u64());
                    body.advance(16);
                    return Ok(Some(Item::Data { lsn, bytes: body }));
                }
                b'k' if body.len() >= 17 => {
                    let end = Lsn(body.get_u64());
                    body.advance(8);
                    self.asked |= body.get_u8() == 1;
                    return Ok(Some(Item::Reached(end)));
                }
                _ => return Err(broken()),
            }
        }
    }

    /// Waits until something arrives, at most `wait`.
    pub(crate) async fn wait(&mut self, wait: Duration) -> Result<(), Error> {
        if self.wire.read(wait).await? {
            self.heard_at = Instant::now();
        }
        Ok(())
    }

    /// Everything before `lsn` is durable elsewhere: the server may forget it.
    pub(crate) fn confirm(&mut self, lsn: Lsn) {
        self.confirmed = self.confirmed.max(lsn);
    }

    /// Tells the server where we are when it is time to. Notices a server that is gone.
    pub(crate) async fn tend(&mut self) -> Result<(), Error> {
        let silent = self.heard_at.elapsed();
        if silent >= SILENCE_MAX {
            return Err(ended("the server is silent"));
        }
        let since = self.told_at.elapsed();
        let moved = self.confirmed > self.told && since >= CONFIRM_PAUSE;
        if !self.asked && !moved && since < STATUS_PAUSE {
            return Ok(());
        }
        if self.confirmed > self.told {
            crate::faults::point("slot.before_confirm");
        }
        let now_us = (rc_model::SystemClock.now().unix_ms() - EPOCH_MS).saturating_mul(1_000);
        let out = &mut self.wire.outbox;
        out.put_u8(b'd');
        out.put_u32(4 + 34);
        out.put_u8(b'r');
        // Received, flushed, applied: only what is durable counts as either.
        out.put_u64(self.confirmed.0);
        out.put_u64(self.confirmed.0);
        out.put_u64(self.confirmed.0);
        out.put_i64(now_us);
        // Asks for a sign of life.
        out.put_u8(u8::from(silent >= STATUS_PAUSE));
        self.wire.send().await?;
        if self.confirmed > self.told {
            crate::faults::point("slot.after_confirm");
        }
        self.told = self.confirmed;
        self.told_at = Instant::now();
        self.asked = false;
        Ok(())
    }
}
