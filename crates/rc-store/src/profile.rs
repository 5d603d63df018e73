//! What the statements of a store cost: calls, rows and times of each shape since the store was opened, and how
//! the database would run it.
//!
//! It is bounded: one entry a shape, at most [`SHAPES_MAX`](crate::trace::SHAPES_MAX) of them, whatever time passes. No value of
//! a parameter and no literal gets in.

mod plan;
mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::trace::{Shapes, Sum};
use crate::{Error, Postgres, Sqlite};

pub(crate) use plan::{is_explained, parameters};

/// All runs of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementProfile {
    /// Verb and table.
    pub name: Box<str>,
    /// The text without data.
    pub text: Box<str>,
    pub calls: u64,
    /// Rows that it returned.
    pub rows: u64,
    /// Runs that failed.
    pub errors: u64,
    /// Time of all runs together. On PostgreSQL the round trip is in it.
    pub total: Duration,
    /// What half of the runs did not exceed.
    pub p50: Duration,
    /// What 95 of 100 runs did not exceed.
    pub p95: Duration,
    pub max: Duration,
    /// How the database would run it, where that was asked for and can be said.
    pub plan: Vec<String>,
}

/// A store of either kind, to be looked at.
#[derive(Debug, Clone)]
pub enum Database {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Database {
    /// What the statements cost, the most expensive one first.
    #[must_use]
    pub fn profile(&self) -> Vec<StatementProfile> {
        profile_of(self.shapes())
    }

    /// [`Self::profile`] with the plan of each statement that has one. Explaining runs nothing.
    ///
    /// # Errors
    /// As the store says.
    pub async fn profile_with_plans(&self) -> Result<Vec<StatementProfile>, Error> {
        let mut plans = match self {
            Self::Sqlite(db) => sqlite::plans(db).await?,
            Self::Postgres(db) => postgres::plans(db).await?,
        };
        let mut profile = self.profile();
        for statement in &mut profile {
            statement.plan = plans.remove(&statement.text).unwrap_or_default();
        }
        Ok(profile)
    }

    fn shapes(&self) -> &Shapes {
        match self {
            Self::Sqlite(db) => db.shapes(),
            Self::Postgres(db) => db.shapes(),
        }
    }
}

/// Plans by the statement's text without data.
type Plans = BTreeMap<Box<str>, Vec<String>>;

fn profile_of(shapes: &Shapes) -> Vec<StatementProfile> {
    let mut sums: BTreeMap<Box<str>, (Box<str>, Sum)> = BTreeMap::new();
    for known in shapes.all() {
        let (_, sum) = sums
            .entry(known.shape.text.clone())
            .or_insert_with(|| (known.shape.name.clone(), Sum::new()));
        sum.add(&known.tally);
    }
    let mut profile: Vec<StatementProfile> = sums
        .into_iter()
        .filter(|(_, (_, sum))| sum.calls > 0)
        .map(|(text, (name, sum))| StatementProfile {
            name,
            text,
            calls: sum.calls,
            rows: sum.rows,
            errors: sum.errors,
            total: sum.busy,
            p50: sum.quantile(500),
            p95: sum.quantile(950),
            max: sum.max,
            plan: Vec::new(),
        })
        .collect();
    profile.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.text.cmp(&b.text)));
    profile
}

#[cfg(test)]
mod tests;
