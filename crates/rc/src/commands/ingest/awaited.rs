//! Which batches tell, when they can be found, that every batch of the run can.
//!
//! Documents become searchable in the order in which they were stored. A batch that was first sent after
//! another one had been answered was stored after it, so once it can be found, the other one can be, too, and
//! need not be asked about. What is left are the batches of the lanes' last flights, and those whose own
//! place in the order is not known: they stored nothing new, or had been stored before this call.

/// The batches to ask about.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// Each with the count of answers when its own had come.
    batches: Vec<(String, u64)>,
    /// Answers so far.
    answers: u64,
}

impl Awaited {
    /// Those that an interrupted run left behind.
    pub(super) fn of(before: &[String]) -> Self {
        Self {
            batches: before.iter().map(|batch| (batch.clone(), 0)).collect(),
            answers: 0,
        }
    }

    /// The moment at which a batch is sent; [`Awaited::answered`] wants it back.
    pub(super) fn sending(&self) -> u64 {
        self.answers
    }

    /// A batch is answered that was sent at `sent`. `stored_now`: documents of it were stored by this call and
    /// by none before.
    pub(super) fn answered(&mut self, batch: String, sent: u64, stored_now: bool) {
        self.answers += 1;
        if stored_now {
            self.batches.retain(|(_, answered)| *answered > sent);
        }
        self.batches.push((batch, self.answers));
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<String> {
        self.batches.iter().map(|(batch, _)| batch.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
