//! Looking events up by their place: for a consumer that met a gap, and for people.

use std::ops::RangeInclusive;

use crate::bus::ReadLimit;
use crate::event::{NewEvent, Place};
use crate::{BoxFuture, Error};

/// A log that can be asked for the events of one place: an outbox, as long as it keeps them.
pub trait Log: Send + Sync {
    /// The kept events of `place` whose numbers are in `numbers`, in order, within `limit`. Fewer than
    /// asked for means that the rest is not kept or was never written.
    ///
    /// # Errors
    /// What the store says.
    fn range<'a>(
        &'a self,
        place: &'a Place,
        numbers: RangeInclusive<u64>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<Vec<NewEvent>, Error>>;
}
