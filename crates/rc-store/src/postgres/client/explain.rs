//! How the server would run a statement, whatever its parameters are.

use tokio_postgres::SimpleQueryMessage;

use super::{SystemTx, answer};
use crate::Error;
use crate::profile::parameters;

impl SystemTx<'_> {
    /// The generic plan of `sql`, which must be one statement and is not run; none where the server refuses to
    /// plan it. The session keeps a prepared statement: use a connection that is
    /// [`unpooled`](super::PgClient::unpooled).
    ///
    /// # Errors
    /// When the connection fails.
    pub(crate) async fn explain(&self, sql: &str) -> Result<Option<Vec<String>>, Error> {
        let nulls = vec!["NULL"; parameters(sql)].join(", ");
        let given = if nulls.is_empty() {
            nulls
        } else {
            format!("({nulls})")
        };
        let sql = sql.trim_end().trim_end_matches(';');
        let ask = format!(
            "SAVEPOINT rc_explain; SET LOCAL plan_cache_mode = force_generic_plan; \
             PREPARE rc_explained AS {sql}\n; EXPLAIN EXECUTE rc_explained{given}; DEALLOCATE rc_explained; \
             ROLLBACK TO SAVEPOINT rc_explain; RELEASE SAVEPOINT rc_explain"
        );
        let planned = answer(self.broken, self.limit, self.client.simple_query(&ask)).await;
        match planned {
            Ok(messages) => Ok(Some(lines(messages))),
            Err(error) if error.retry_after().is_some() => Err(error),
            Err(_refused) => {
                let back = "ROLLBACK TO SAVEPOINT rc_explain; RELEASE SAVEPOINT rc_explain";
                answer(self.broken, self.limit, self.client.batch_execute(back)).await?;
                // Whether it was prepared before the refusal is not known; names are not used twice then.
                let forget = "DO $$ BEGIN DEALLOCATE rc_explained; EXCEPTION WHEN others THEN NULL; END $$";
                answer(self.broken, self.limit, self.client.batch_execute(forget)).await?;
                Ok(None)
            }
        }
    }
}

fn lines(messages: Vec<SimpleQueryMessage>) -> Vec<String> {
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.collect()
}
