//! Tenant isolation in the store layer: a tenant statement is a [`TenantSql`], which does not compile
//! unless its text binds the tenant, and the tenant is bound by the connection, never by the caller.

mod check;

use std::borrow::Cow;

use rc_model::TenantId;
use rusqlite::{Row, ToSql};

use crate::Error;
use crate::sqlite::{Conn, Statement};

/// Stands for a name of the tenant's own inside a statement: `"docs_fts_{tenant}"`.
pub const TENANT_PLACEHOLDER: &str = "{tenant}";

/// A statement that binds its tenant as the first parameter.
///
/// Make it a `const`, so that a statement that forgot its tenant does not compile:
/// `const GET: TenantSql = TenantSql::new("SELECT body FROM docs WHERE tenant = ?1 AND id = ?2");`
///
/// Accepted texts (comments are not): a comparison `tenant = ?1` (`$1` on PostgreSQL), an `INSERT` whose
/// first column is `tenant` and whose first value is `?1`, or, on SQLite, a table of the tenant's own,
/// named with `{tenant}`.
#[derive(Debug, Clone, Copy)]
pub struct TenantSql(&'static str);

impl TenantSql {
    /// Takes the statement if it binds its tenant.
    ///
    /// # Panics
    /// When it does not; in a `const` that is a compile error.
    #[must_use]
    pub const fn new(sql: &'static str) -> Self {
        assert!(
            check::binds_tenant(sql),
            "a tenant statement must bind its tenant: `tenant = ?1` or `INSERT INTO t (tenant, ..) VALUES (?1, ..)`"
        );
        Self(sql)
    }

    /// The statement's text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.0
    }

    /// The text with the tenant's own names filled in. A tenant id is a DNS label, so it can neither end
    /// a quoted identifier nor a string.
    fn for_tenant(self, tenant: &TenantId) -> Cow<'static, str> {
        if self.0.contains(TENANT_PLACEHOLDER) {
            Cow::Owned(self.0.replace(TENANT_PLACEHOLDER, tenant.as_str()))
        } else {
            Cow::Borrowed(self.0)
        }
    }
}

/// A SQLite connection inside a transaction that can only run statements of one tenant.
///
/// Parameters start at `?2`; `?1` is the tenant, bound here.
pub struct TenantConn<'c> {
    conn: &'c Conn,
    tenant: &'c TenantId,
}

impl std::fmt::Debug for TenantConn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantConn")
            .field("tenant", self.tenant)
            .finish_non_exhaustive()
    }
}

impl<'c> TenantConn<'c> {
    /// Narrows `conn` to `tenant`. For jobs that serve many tenants in one transaction (projectors);
    /// request handlers get theirs from [`crate::TenantDb`].
    #[must_use]
    pub fn new(conn: &'c Conn, tenant: &'c TenantId) -> Self {
        Self { conn, tenant }
    }

    /// Whose statements these are.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        self.tenant
    }

    /// Runs a statement and returns the number of changed rows.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn execute(&self, sql: TenantSql, params: &[&dyn ToSql]) -> Result<usize, Error> {
        Ok(self.bound(sql, params)?.execute_bound()?)
    }

    /// The first row of a query, if there is one.
    ///
    /// # Errors
    /// As SQLite says, or as `map` says.
    pub fn query_row<T>(
        &self,
        sql: TenantSql,
        params: &[&dyn ToSql],
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        let mut statement = self.bound(sql, params)?;
        let mut rows = statement.query_bound();
        match rows.next()? {
            Some(row) => Ok(Some(map(row)?)),
            None => Ok(None),
        }
    }

    /// All rows of a query; the statement itself must bound their number.
    ///
    /// # Errors
    /// As SQLite says, or as `map` says.
    pub fn query_map<T>(
        &self,
        sql: TenantSql,
        params: &[&dyn ToSql],
        mut map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.bound(sql, params)?;
        let mut rows = statement.query_bound();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(map(row)?);
        }
        Ok(found)
    }

    /// Prepares a statement for many runs with different parameters: the multi-row path.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn prepare(&self, sql: TenantSql) -> Result<TenantStatement<'c>, Error> {
        // Spans show the text before the tenant's name is in it: it is the same for all tenants.
        let mut statement = self.conn.prepare_as(&sql.for_tenant(self.tenant), sql.text())?;
        if statement.parameter_count() > 0 {
            statement.bind(1, self.tenant.as_str())?;
        }
        Ok(TenantStatement { statement })
    }

    fn bound(&self, sql: TenantSql, params: &[&dyn ToSql]) -> Result<Statement<'c>, Error> {
        let mut prepared = self.prepare(sql)?;
        prepared.bind(params)?;
        Ok(prepared.statement)
    }
}

/// A prepared statement with its tenant bound; parameters start at `?2`.
pub struct TenantStatement<'c> {
    statement: Statement<'c>,
}

impl std::fmt::Debug for TenantStatement<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantStatement").finish_non_exhaustive()
    }
}

impl TenantStatement<'_> {
    /// Runs it and returns the number of changed rows.
    ///
    /// # Errors
    /// As SQLite says.
    pub fn execute(&mut self, params: &[&dyn ToSql]) -> Result<usize, Error> {
        self.bind(params)?;
        Ok(self.statement.execute_bound()?)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// As SQLite says, or as `map` says.
    pub fn query_row<T>(
        &mut self,
        params: &[&dyn ToSql],
        map: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        self.bind(params)?;
        let mut rows = self.statement.query_bound();
        match rows.next()? {
            Some(row) => Ok(Some(map(row)?)),
            None => Ok(None),
        }
    }

    fn bind(&mut self, params: &[&dyn ToSql]) -> Result<(), Error> {
        // A cached statement keeps old bindings: a parameter that was left out would keep its last value.
        let expected = self.statement.parameter_count().saturating_sub(1);
        if params.len() != expected {
            return Err(Error::bug(format!(
                "the statement takes {expected} parameters after the tenant and got {}",
                params.len()
            )));
        }
        for (index, param) in params.iter().enumerate() {
            self.statement.bind(index + 2, param)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
