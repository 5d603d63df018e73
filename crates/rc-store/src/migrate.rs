//! Numbered migrations with checksums: what a database has, what the binary wants, and the way between.
//!
//! Each component (a service, the outbox) numbers its own from 1. A database that was changed by hand,
//! has a gap, or is newer than the binary is refused before anything is touched.

mod postgres;
mod sqlite;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::{Error, ErrorKind};

/// One step of a schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// 1, 2, 3, ... without gaps.
    pub number: u32,
    /// What it does, as a file name would say it: `create_documents`.
    pub name: &'static str,
    /// The statements that apply it. They run in one transaction.
    pub up: &'static str,
    /// The statements that take it back.
    pub down: &'static str,
}

impl Migration {
    /// SHA-256 over number, name and `up`. `down` may be repaired later without being drift.
    fn checksum(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.number.to_be_bytes());
        hash.update(self.name.as_bytes());
        hash.update([0]);
        hash.update(self.up.as_bytes());
        HEXLOWER.encode(&hash.finalize())
    }
}

/// All steps of one component.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    component: &'static str,
    list: &'static [Migration],
}

impl Migrations {
    /// The steps of `component`, numbered from 1 without gaps.
    ///
    /// # Panics
    /// When the numbers have a gap; in a `const` that is a compile error.
    #[must_use]
    pub const fn new(component: &'static str, list: &'static [Migration]) -> Self {
        let mut index = 0;
        while index < list.len() {
            assert!(
                list[index].number as usize == index + 1,
                "migrations are numbered 1, 2, 3, ..."
            );
            index += 1;
        }
        Self { component, list }
    }

    /// Whose steps these are.
    #[must_use]
    pub const fn component(&self) -> &'static str {
        self.component
    }

    /// The steps.
    #[must_use]
    pub const fn list(&self) -> &'static [Migration] {
        self.list
    }

    /// The steps that a database with `applied` still needs.
    fn pending(&self, applied: &[Applied]) -> Result<&'static [Migration], Error> {
        let refuse = |what: String| Err(Error::new(ErrorKind::Migration, what));
        let component = self.component;
        for (index, stored) in applied.iter().enumerate() {
            let Some(known) = self.list.get(index) else {
                return refuse(format!(
                    "the database is newer than this binary: it has migration {} `{}` of `{component}`, and \
                     the binary knows {}",
                    stored.number,
                    stored.name,
                    self.list.len()
                ));
            };
            if stored.number != known.number {
                return refuse(format!(
                    "migration {} `{}` of `{component}` is missing in the database, and {} `{}` is there",
                    known.number, known.name, stored.number, stored.name
                ));
            }
            if stored.checksum != known.checksum() {
                return refuse(format!(
                    "migration {} of `{component}` was applied as `{}` and is another text (`{}`) in this \
                     binary",
                    stored.number, stored.name, known.name
                ));
            }
        }
        Ok(&self.list[applied.len()..])
    }

    /// The steps to take back, newest first, to come to `target`.
    fn taken_back(&self, applied: &[Applied], target: u32) -> Result<Vec<&'static Migration>, Error> {
        let pending = self.pending(applied)?;
        let current = self.list.len() - pending.len();
        let target = target as usize;
        if target > current {
            return Err(Error::new(
                ErrorKind::Migration,
                format!(
                    "`{}` is at migration {current}: it cannot go down to {target}",
                    self.component
                ),
            ));
        }
        Ok(self.list[target..current].iter().rev().collect())
    }

    fn status(&self, applied: &[Applied]) -> Result<MigrationStatus, Error> {
        let pending = self.pending(applied)?;
        Ok(MigrationStatus {
            component: self.component,
            current: u32::try_from(applied.len()).unwrap_or(u32::MAX),
            pending: pending.iter().map(Step::of).collect(),
        })
    }
}

/// A row of `schema_migrations`.
struct Applied {
    number: u32,
    name: String,
    checksum: String,
}

/// A migration's number and name, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
}

impl Step {
    fn of(migration: &Migration) -> Self {
        Self {
            number: migration.number,
            name: migration.name,
        }
    }
}

/// What a run changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// Whose steps.
    pub component: &'static str,
    /// The steps that this run applied (or took back), in the order it did.
    pub steps: Vec<Step>,
    /// The number of the last step that the database has; 0 for none.
    pub current: u32,
}

/// Where a database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Whose steps.
    pub component: &'static str,
    /// The number of the last step that the database has; 0 for none.
    pub current: u32,
    /// What a run would apply.
    pub pending: Vec<Step>,
}

#[cfg(test)]
mod tests;
