//! Weights of rollouts at rest: how much of a service goes to another version, by whose word, and what it was before.
//!
//! A rollout has a record from the first time that its weight is set; until then the value of the files holds. Every
//! change raises the generation, and whoever says which one it has seen loses to whoever was quicker.

mod packing;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;

use rc_model::split::{Owner, Rollout, Share, Weight};
use rc_model::{Digest, RolloutId, TenantId, Timestamp};
use rc_store::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::keys::{Asked, Engine, KeyStore};
use crate::audit::{Act, Action, Draft, Outcome, Resource};

pub use packing::Traffic;
use packing::pack;

/// A rollout's weight as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ramp {
    #[serde(flatten)]
    pub weight: Weight,
    /// What was before, for `rc ramp undo`.
    pub before: Before,
    pub changed_at: Timestamp,
    /// Why, in the words of whoever changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A weight that can be gone back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    pub percent: Share,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<TenantId>>,
}

/// The records by rollout.
pub type Ramps = BTreeMap<RolloutId, Ramp>;

/// What somebody wants a weight to become.
#[derive(Debug, Clone)]
pub struct Wish {
    pub to: Target,
    /// The generation that the asker has seen; absent: whichever there is.
    pub generation: Option<u64>,
    /// For whom.
    pub owner: Owner,
    /// Take the weight from a rollout that owns it.
    pub overrides: bool,
}

/// Where a weight shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Percent(Share),
    /// To where it was before the latest change.
    Back,
}

/// What became of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The weight is what was wanted from now on.
    Now(Ramp),
    /// It has been so already. The same wish was granted before, perhaps, and its answer got lost.
    Already(Ramp),
}

impl Changed {
    /// The weight, however it came.
    #[must_use]
    pub fn into_ramp(self) -> Ramp {
        match self {
            Self::Now(ramp) | Self::Already(ramp) => ramp,
        }
    }
}

/// Why a weight stays. It travels inside the store's error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("its generation is {found}, not {wanted}: somebody else has changed it to {percent}")]
    Generation { wanted: u64, found: u64, percent: Share },
    #[error("it is owned by {0}")]
    Owned(Owner),
    #[error("it has not been changed since the files gave it")]
    NothingBefore,
}

/// What `current` becomes, or why not. `members` packs tenants for a share, from those that are on the new version now.
fn decide(
    current: Option<&Ramp>,
    rollout: &Rollout,
    wish: &Wish,
    members: impl FnOnce(&Weight, Share) -> Option<Vec<TenantId>>,
    now: Timestamp,
    reason: Option<String>,
) -> Result<Changed, Refused> {
    let start = Weight::start(rollout);
    let weight = current.map_or(&start, |ramp| &ramp.weight);
    if let Some(wanted) = wish.generation
        && wanted != weight.generation
    {
        let granted = current.filter(|ramp| {
            let percent = match wish.to {
                Target::Percent(percent) => percent,
                // Only one change ago can it be told what it was.
                Target::Back => return false,
            };
            wanted.checked_add(1) == Some(ramp.weight.generation)
                && ramp.weight.percent == percent
                && ramp.weight.owner == wish.owner
        });
        return match granted {
            Some(ramp) => Ok(Changed::Already(ramp.clone())),
            None => Err(Refused::Generation {
                wanted,
                found: weight.generation,
                percent: weight.percent,
            }),
        };
    }
    if let (Target::Percent(percent), Some(ramp)) = (wish.to, current)
        && percent == weight.percent
        && wish.owner == weight.owner
    {
        // Setting what is would make it the value to go back to.
        return Ok(Changed::Already(ramp.clone()));
    }
    if let Owner::Rollout(_) = &weight.owner
        && weight.owner != wish.owner
        && !wish.overrides
    {
        return Err(Refused::Owned(weight.owner.clone()));
    }
    let (percent, members) = match wish.to {
        Target::Percent(percent) => (percent, members(weight, percent)),
        Target::Back => {
            let before = current.map(|ramp| &ramp.before).ok_or(Refused::NothingBefore)?;
            (before.percent, before.members.clone())
        }
    };
    Ok(Changed::Now(Ramp {
        before: Before {
            percent: weight.percent,
            members: weight.members.clone(),
        },
        weight: Weight {
            generation: weight.generation + 1,
            percent,
            owner: wish.owner.clone(),
            members,
        },
        changed_at: now,
        reason,
    }))
}

/// One change with all that decides about it.
#[derive(Debug, Clone)]
pub struct Change {
    pub name: RolloutId,
    pub rollout: Rollout,
    pub wish: Wish,
    pub asked: Asked,
    pub at: Timestamp,
    /// Lately, by tenant; for rollouts by traffic.
    pub traffic: Traffic,
}

impl Change {
    /// What `current` becomes, or why not.
    fn decide(&self, current: Option<&Ramp>) -> Result<Changed, Refused> {
        let members =
            |weight: &Weight, percent| pack(&self.name, &self.rollout, weight, percent, &self.traffic);
        let reason = self.asked.reason.text.clone();
        decide(current, &self.rollout, &self.wish, members, self.at, reason)
    }

    /// The audit log's entry of what was done.
    fn entry(&self, current: Option<&Ramp>, ramp: &Ramp) -> Result<Draft, Error> {
        let digest = |ramp: &Ramp| {
            let known = serde_json::to_vec(ramp).expect("a ramp has only string keys");
            Digest::of(&known)
        };
        let action = match self.wish.to {
            Target::Percent(_) => Action::RampSet,
            Target::Back => Action::RampUndo,
        };
        let act = Act {
            at: self.at,
            actor: self.asked.actor,
            action,
            resource: Resource {
                kind: "ramp",
                id: self.name.to_string(),
                tenant: None,
            },
            reason: self.asked.reason.clone(),
            outcome: Outcome::Done,
            before: None,
            after: None,
            trace_id: self.asked.trace_id,
            detail: None,
        };
        let detail = serde_json::json!({
            "service": self.rollout.service,
            "to": self.rollout.to,
            "generation": ramp.weight.generation,
            "percent_before": ramp.before.percent,
            "percent": ramp.weight.percent,
            "owner": ramp.weight.owner.to_string(),
            "override": self.wish.overrides,
        });
        act.with(current.map(digest), Some(digest(ramp)), Some(detail))
            .draft()
    }
}

impl KeyStore {
    /// Changes a weight, with the audit log's entry in the same transaction.
    ///
    /// # Errors
    /// [`Refused`] and [`crate::audit::Full`] inside the store's error, and what the store says.
    pub async fn change_ramp(&self, change: Change) -> Result<Changed, Error> {
        let changed = match self.engine() {
            Engine::Sqlite(db) => sqlite::change(db, change).await?,
            Engine::Postgres(db) => postgres::change(db, &change).await?,
        };
        self.outbox().added();
        Ok(changed)
    }

    /// All weights that were ever set, also those of rollouts that are in no file any more.
    ///
    /// # Errors
    /// What the store says.
    pub async fn ramps(&self) -> Result<Ramps, Error> {
        match self.engine() {
            Engine::Sqlite(db) => sqlite::list(db).await,
            Engine::Postgres(db) => postgres::list(db).await,
        }
    }
}

/// A record from its columns.
fn record(name: &str, text: &str) -> Result<(RolloutId, Ramp), Error> {
    let damaged = |what: &str| Error::new(ErrorKind::Corrupt, format!("a stored ramp has a damaged {what}"));
    let name = RolloutId::new(name).map_err(|error| damaged("name").context(error))?;
    let ramp = serde_json::from_str(text).map_err(|error| damaged("record").context(error))?;
    Ok((name, ramp))
}

/// A record's columns: its generation, for comparing in SQL, and the whole.
fn columns(ramp: &Ramp) -> Result<(i64, String), Error> {
    let generation = i64::try_from(ramp.weight.generation)
        .map_err(|error| Error::new(ErrorKind::Corrupt, "a generation is too large").context(error))?;
    let text = serde_json::to_string(ramp).expect("a ramp has only string keys");
    Ok((generation, text))
}

#[cfg(test)]
mod tests;
