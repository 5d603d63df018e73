//! What a tenant may store, and the ledger that keeps it to that: `used + reserved <= limit`.
//!
//! A write reserves its growth before anything of it is written, and its commit turns the reservation into use. Both are in
//! one transaction, so that no crash leaves a reservation behind and no two writers pass the limit together. Why it is
//! so: ADR 23.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use rc_model::TenantId;
use rc_serve::context::STORAGE_HEADER;

use super::decide::{Current, Decision, Write, decide};

/// A tenant's limit, as the gateway sends it along with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Bytes of documents.
    pub(crate) limit: u64,
    /// Only count what would have been refused.
    pub(crate) shadow: bool,
}

impl Quota {
    /// Reads `x-rc-storage`: a number of bytes, and `;shadow` behind it. Absent: no limit.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(STORAGE_HEADER)?.to_str().ok()?;
        let (limit, shadow) = match text.strip_suffix(";shadow") {
            Some(limit) => (limit, true),
            None => (text, false),
        };
        let limit = limit.parse().ok()?;
        Some(Self { limit, shadow })
    }
}

/// A write that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverQuota {
    pub(crate) limit: u64,
    /// What the tenant has, with what the same transaction has reserved for writes before this one.
    pub(crate) taken: u64,
    /// What this write would add.
    pub(crate) growth: u64,
}

/// A tenant's place in the ledger, as one transaction knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    used: u64,
    /// What the transaction adds so far; less than nothing when it gives back.
    reserved: i64,
}

impl Ledger {
    pub(crate) fn new(used: u64) -> Self {
        Self { used, reserved: 0 }
    }

    /// What the transaction adds to `used` at its end.
    pub(crate) fn reserved(&self) -> i64 {
        self.reserved
    }

    fn taken(&self) -> u64 {
        self.used.saturating_add_signed(self.reserved)
    }

    /// Whether `growth` is beyond a `quota` in shadow mode. What does not grow never is.
    ///
    /// # Errors
    /// When it is beyond a quota that is enforced.
    fn is_beyond(&self, growth: i64, quota: Option<Quota>) -> Result<bool, OverQuota> {
        let (Some(Quota { limit, shadow }), Ok(growth @ 1..)) = (quota, u64::try_from(growth)) else {
            return Ok(false);
        };
        let taken = self.taken();
        match taken.saturating_add(growth) > limit {
            true if !shadow => Err(OverQuota { limit, taken, growth }),
            beyond => Ok(beyond),
        }
    }
}

/// [`decide`], if the tenant's ledger has room for what comes of it; else `known` and `ledger` stay as they are.
///
/// # Errors
/// When there is not enough room.
pub(crate) fn decide_within(
    write: &Write,
    known: &mut HashMap<Arc<str>, Current>,
    ledger: &mut Ledger,
) -> Result<Option<Decision>, OverQuota> {
    // It cannot add more than it brings.
    let most = i64::try_from(write.bytes()).unwrap_or(i64::MAX);
    if ledger.is_beyond(most, write.quota) == Ok(false) {
        let decision = decide(write, known);
        ledger.reserved += decision.as_ref().map_or(0, |decision| decision.growth);
        return Ok(decision);
    }
    // It may add less: decided on a copy of what it touches.
    let touched = write.ids().into_iter();
    let mut trial: HashMap<Arc<str>, Current> = touched
        .filter_map(|id| {
            known
                .get_key_value(id)
                .map(|(id, current)| (Arc::clone(id), *current))
        })
        .collect();
    let Some(mut decision) = decide(write, &mut trial) else {
        return Ok(None);
    };
    decision.beyond_quota = ledger.is_beyond(decision.growth, write.quota)?;
    ledger.reserved += decision.growth;
    known.extend(trial);
    Ok(Some(decision))
}

/// How much a tenant stores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// As the ledger has it.
    pub(crate) used: u64,
    /// Documents from before there was a ledger, whose size is not known yet; they count as nothing.
    pub(crate) unmeasured: u64,
}

/// A ledger against its documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recount {
    /// As the ledger had it.
    pub(crate) before: u64,
    /// As the documents are, and the ledger from then on.
    pub(crate) counted: u64,
}

/// A document from before there was a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unmeasured {
    pub(crate) tenant: TenantId,
    pub(crate) id: String,
    pub(crate) version: u64,
}

/// What writes under way will add at most, by tenant: for people who look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reservations(Arc<Mutex<HashMap<TenantId, u64>>>);

impl Reservations {
    /// Counts `bytes` of `tenant` for as long as the answer lives.
    pub(crate) fn hold(&self, tenant: &TenantId, bytes: usize) -> Held {
        let bytes = bytes as u64;
        *self.lock().entry(tenant.clone()).or_default() += bytes;
        Held {
            all: self.clone(),
            tenant: tenant.clone(),
            bytes,
        }
    }

    pub(crate) fn of(&self, tenant: &TenantId) -> u64 {
        self.lock().get(tenant).copied().unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One write's part of [`Reservations`].
pub(crate) struct Held {
    all: Reservations,
    tenant: TenantId,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(held) = all.get_mut(&self.tenant) {
            *held = held.saturating_sub(self.bytes);
            if *held == 0 {
                all.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests;
