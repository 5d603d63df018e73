//! What a read model in one schema takes over from one in another.

use std::collections::HashMap;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rc_events::Place;
use rc_events::consumer::KeyAt;
use rc_events::consumer::postgres as consumer;
use rc_store::Error;

use super::{PostgresDocs, delete, put, stored};
use crate::docs::store::{CONSUMER, Generation, Given, plan_of};
use crate::document::TOPIC;

/// Documents of all tenants by their ids; system work, behind no tenant's policy.
const OF_PLACES: &str = "SELECT d.tenant, d.id, version, time_ms, updated_ms, fingerprint, title, attrs, text
     FROM unnest($1::text[], $2::text[]) AS w (tenant, id)
     JOIN documents AS d ON d.tenant = w.tenant AND d.id = w.id";

impl Generation for PostgresDocs {
    fn keys_after(&self, after: Option<Place>, rows: i64) -> BoxFuture<'_, Result<Vec<KeyAt>, Error>> {
        async move {
            let mut client = self.db.client().await?;
            let tx = client.system().await?;
            consumer::keys_after(&tx, CONSUMER, after.as_ref(), rows).await
        }
        .boxed()
    }

    fn behind(&self, keys: Vec<KeyAt>) -> BoxFuture<'_, Result<Vec<Place>, Error>> {
        async move {
            let places: Vec<Place> = keys.iter().map(|key| key.place.clone()).collect();
            let mut client = self.db.client().await?;
            let tx = client.system().await?;
            let here = consumer::keys(&tx, CONSUMER, &places).await?;
            let here: HashMap<Place, u64> = here.into_iter().map(|key| (key.place, key.last)).collect();
            let behind = keys
                .into_iter()
                .filter(|key| here.get(&key.place).is_none_or(|last| *last < key.last));
            Ok(behind.map(|key| key.place).collect())
        }
        .boxed()
    }

    fn give(&self, places: Vec<Place>) -> BoxFuture<'_, Result<Vec<Given>, Error>> {
        async move {
            let (tenants, ids): (Vec<&str>, Vec<&str>) = places
                .iter()
                .filter(|place| place.topic == TOPIC)
                .map(|place| (place.tenant.as_str(), place.key.as_str()))
                .unzip();
            let mut client = self.db.client().await?;
            let tx = client.system().await?;
            // Keys first: a document that is newer than its key's number is judged as a duplicate later, the
            // other way round its last change would be missing.
            let keys = consumer::keys(&tx, CONSUMER, &places).await?;
            let mut documents = HashMap::new();
            for row in tx.query(OF_PLACES, &[&tenants, &ids]).await? {
                let of: (String, String) = (row.try_get(0)?, row.try_get(1)?);
                documents.insert(of, stored(&row)?);
            }
            let given = keys.into_iter().map(|key| {
                let of = (key.place.tenant.to_string(), key.place.key.clone());
                let document = (key.place.topic == TOPIC)
                    .then(|| documents.remove(&of))
                    .flatten();
                Given { key, document }
            });
            Ok(given.collect())
        }
        .boxed()
    }

    fn take(&self, given: Vec<Given>) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let plan = plan_of(&given);
            let keys: Vec<KeyAt> = given.into_iter().map(|given| given.key).collect();
            let mut client = self.db.client().await?;
            let tx = client.system().await?;
            delete(&tx, &plan.deletes).await?;
            put(&tx, &plan.puts).await?;
            consumer::take_keys(&tx, CONSUMER, &keys).await?;
            tx.commit().await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        // The pool serves the next generation in this schema.
        std::future::ready(()).boxed()
    }
}
