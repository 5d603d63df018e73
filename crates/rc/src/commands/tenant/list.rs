//! `rc tenant list`: the project's tenants.

use rc_model::tenants::TenantsFile;
use serde::Serialize;

use super::key::{self, Key};
use super::table;
use crate::commands::platform;
use crate::cx::Cx;
use crate::fault::Outcome;

/// List the tenants of this project with their tiers and limits.
///
/// The number of usable keys is known only while the platform runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// One tenant.
#[derive(Debug, Serialize)]
struct Row {
    tenant: String,
    tier: String,
    demo: bool,
    /// Requests a second and how many may come at once.
    rate: String,
    burst: u64,
    /// Keys that are neither revoked nor expired; absent while the platform does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<usize>,
}

pub(crate) async fn run(cx: &Cx, _: Args) -> Result<Outcome, miette::Report> {
    let tenants = platform::tenants(cx)?;
    let keys = match platform::administration(cx).await {
        Ok(client) => Some(key::fetch(&client, None).await?),
        // The files are there all the same.
        Err(_) => None,
    };
    let rows = rows(&tenants, keys.as_deref());
    if cx.json() {
        cx.print_json(&serde_json::json!({ "tenants": rows }));
        return Ok(Outcome::Done);
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let keys = row.keys.map_or_else(|| "?".to_owned(), |keys| keys.to_string());
            let demo = if row.demo { "demo" } else { "" };
            vec![
                row.tenant.clone(),
                row.tier.clone(),
                row.rate.clone(),
                row.burst.to_string(),
                keys,
                demo.to_owned(),
            ]
        })
        .collect();
    cx.say(table(&["TENANT", "TIER", "RATE", "BURST", "KEYS", ""], &cells));
    if keys.is_none() {
        cx.note("\nthe platform does not run, so keys cannot be counted; `rc up` starts it");
    }
    Ok(Outcome::Done)
}

fn rows(tenants: &TenantsFile, keys: Option<&[Key]>) -> Vec<Row> {
    let row = |(id, tenant): (&rc_model::TenantId, &rc_model::tenants::Tenant)| {
        let limits = tenants.effective(id);
        Row {
            tenant: id.to_string(),
            tier: tenant.tier.to_string(),
            demo: tenant.demo,
            rate: limits
                .as_ref()
                .map_or_else(|| "?".to_owned(), |limits| limits.rps.rate.to_string()),
            burst: limits.as_ref().map_or(0, |limits| limits.rps.burst()),
            keys: keys.map(|keys| {
                keys.iter()
                    .filter(|key| key.tenant == id.as_str() && key.is_usable())
                    .count()
            }),
        }
    };
    tenants.tenants.iter().map(row).collect()
}
