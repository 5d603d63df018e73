//! Plans of PostgreSQL: the generic ones, which are what prepared statements come to.

use super::Plans;
use super::plan::is_explained;
use crate::{Error, Postgres};

pub(super) async fn plans(db: &Postgres) -> Result<Plans, Error> {
    // A session of its own, closed at the end: it leaves prepared statements behind.
    let mut client = db.client().await?.unpooled();
    let tx = client.system().await?;
    let mut plans = Plans::new();
    for known in db.shapes().all() {
        if !is_explained(&known.source) {
            continue;
        }
        // What cannot be explained (its table is gone) is left out.
        if let Some(plan) = tx.explain(&known.source).await? {
            plans.insert(known.shape.text.clone(), plan);
        }
    }
    tx.rollback().await?;
    Ok(plans)
}
