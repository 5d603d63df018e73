//! What a read model in one file takes over from one in another.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rc_events::Place;
use rc_events::consumer::KeyAt;
use rc_events::consumer::sqlite as consumer;
use rc_store::{Error, TenantConn};

use super::{GET, SqliteDocs, stored, write};
use crate::docs::store::{CONSUMER, Generation, Given, plan_of};
use crate::document::TOPIC;

impl Generation for SqliteDocs {
    fn keys_after(&self, after: Option<Place>, rows: i64) -> BoxFuture<'_, Result<Vec<KeyAt>, Error>> {
        self.db
            .read("docs.keys", move |conn| {
                consumer::keys_after(conn, CONSUMER, after.as_ref(), rows)
            })
            .boxed()
    }

    fn behind(&self, keys: Vec<KeyAt>) -> BoxFuture<'_, Result<Vec<Place>, Error>> {
        self.db
            .read("docs.behind", move |conn| {
                let mut behind = Vec::new();
                for key in keys {
                    let here = consumer::key(conn, CONSUMER, &key.place)?;
                    if here.is_none_or(|here| here.last < key.last) {
                        behind.push(key.place);
                    }
                }
                Ok(behind)
            })
            .boxed()
    }

    fn give(&self, places: Vec<Place>) -> BoxFuture<'_, Result<Vec<Given>, Error>> {
        self.db
            .read("docs.give", move |conn| {
                let mut given = Vec::with_capacity(places.len());
                for place in &places {
                    let Some(key) = consumer::key(conn, CONSUMER, place)? else {
                        continue;
                    };
                    let document = if place.topic == TOPIC {
                        TenantConn::new(conn, &place.tenant).query_row(GET, &[&place.key], stored)?
                    } else {
                        None
                    };
                    given.push(Given { key, document });
                }
                Ok(given)
            })
            .boxed()
    }

    fn take(&self, given: Vec<Given>) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let written = self
                .db
                .write_alone("docs.take", move |conn| {
                    let written = write(conn, &plan_of(&given))?;
                    for Given { key, .. } in &given {
                        consumer::take_key(conn, CONSUMER, key)?;
                    }
                    Ok(written)
                })
                .await?;
            self.unmerged().extend(written);
            Ok(())
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.db.close().boxed()
    }
}
