//! Several statements in one flight: all are sent before the first answer is awaited. A transaction of nine
//! statements waits for nine answers, and most of that time nobody works; what its statements have to know
//! of each other is usually their order alone, and the server keeps that.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio_postgres::Row;

use super::{Param, SystemTx, TenantTx, answer, plain, with_tenant};
use crate::postgres::span::Call;
use crate::{Error, TenantSql};

/// The rows of one statement, on their way.
type Answer<'f> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'f>>;

impl SystemTx<'_> {
    /// Sends statements together and waits for all; the rows of each. The server runs them in this order,
    /// each sees what those before it did, and after one that fails it refuses the rest.
    ///
    /// # Errors
    /// The first one's: as the server says.
    pub async fn flight<const N: usize>(
        &self,
        statements: &[(&str, &[Param<'_>]); N],
    ) -> Result<[Vec<Row>; N], Error> {
        Ok(each(self.fly(statements, None).await?))
    }

    /// [`Self::flight`] with the commit in it: nothing of it is durable unless all of it is.
    ///
    /// # Errors
    /// As [`Self::flight`] and [`Self::commit`].
    pub async fn commit_after(self, statements: &[(&str, &[Param<'_>])]) -> Result<(), Error> {
        let commit = async {
            self.end("COMMIT").await?;
            Ok(Vec::new())
        };
        self.fly(statements, Some(Box::pin(commit))).await?;
        Ok(())
    }

    async fn fly(
        &self,
        statements: &[(&str, &[Param<'_>])],
        last: Option<Answer<'_>>,
    ) -> Result<Vec<Vec<Row>>, Error> {
        // Before anything is sent: a statement that still had to be prepared would be overtaken.
        let mut prepared = Vec::with_capacity(statements.len());
        for (sql, _) in statements {
            prepared.push(answer(self.broken, self.limit, self.client.prepare_cached(sql)).await?);
        }
        let calls = statements
            .iter()
            .zip(&prepared)
            .map(|((sql, params), statement)| {
                let call = async move {
                    let call = Call::here(self.shapes, sql);
                    let rows = self.client.query(statement, params).await;
                    let asks = !statement.columns().is_empty();
                    call.ended(rows.map_err(Error::from), |rows| asks.then_some(rows.len()))
                };
                Box::pin(call) as Answer<'_>
            });
        let calls = calls.chain(last).collect();
        answer(self.broken, self.limit, in_order(calls)).await
    }
}

impl TenantTx<'_> {
    /// [`SystemTx::flight`] for one tenant: parameters start at `$2`.
    ///
    /// # Errors
    /// As [`SystemTx::flight`].
    pub async fn flight<const N: usize>(
        &self,
        statements: &[(TenantSql, &[Param<'_>]); N],
    ) -> Result<[Vec<Row>; N], Error> {
        let tenant = self.tenant.as_str();
        let bound = bound(&tenant, statements)?;
        Ok(each(self.tx.fly(&borrowed(&bound), None).await?))
    }

    /// [`SystemTx::commit_after`] for one tenant: parameters start at `$2`.
    ///
    /// # Errors
    /// As [`SystemTx::commit_after`].
    pub async fn commit_after(self, statements: &[(TenantSql, &[Param<'_>])]) -> Result<(), Error> {
        let tenant = self.tenant.as_str();
        let bound = bound(&tenant, statements)?;
        self.tx.commit_after(&borrowed(&bound)).await
    }
}

/// The rows of each statement.
fn each<const N: usize>(answers: Vec<Vec<Row>>) -> [Vec<Row>; N] {
    answers
        .try_into()
        .expect("a flight of N statements has N answers")
}

fn bound<'p>(
    tenant: &'p &'p str,
    statements: &[(TenantSql, &[Param<'p>])],
) -> Result<Vec<(&'static str, Vec<Param<'p>>)>, Error> {
    let bind = |(sql, params): &(TenantSql, &[Param<'p>])| Ok((plain(*sql)?, with_tenant(tenant, params)));
    statements.iter().map(bind).collect()
}

fn borrowed<'b, 'p>(bound: &'b [(&'static str, Vec<Param<'p>>)]) -> Vec<(&'b str, &'b [Param<'p>])> {
    bound.iter().map(|(sql, params)| (*sql, &params[..])).collect()
}

/// Polls `calls` in their order, so that they are sent in their order, and ends with the first error. A call
/// that fails before it was sent (a parameter that does not fit) keeps those after it from being sent: a
/// commit at the end must not follow half of its statements.
async fn in_order(mut calls: Vec<Answer<'_>>) -> Result<Vec<Vec<Row>>, Error> {
    let mut answers: Vec<Option<Vec<Row>>> = calls.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (call, answer) in calls.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(outcome) = call.as_mut().poll(cx)
            {
                *answer = Some(outcome?);
            }
        }
        if answers.iter().any(Option::is_none) {
            return Poll::Pending;
        }
        Poll::Ready(Ok(answers.drain(..).flatten().collect()))
    })
    .await
}

#[cfg(test)]
mod tests;
