//! A fresh key for each demo tenant, so that the first request needs no preparation.
//!
//! The gateway keeps only hashes, so an old key cannot be shown again: it is replaced.

use std::time::Duration;

use bytes::Bytes;
use rc_model::catalog::Builtin;
use rc_model::tenants::TenantsFile;
use rc_model::{Layout, Problem, TenantId};
use rc_serve::uds;
use serde::Deserialize;

use super::wire::DemoKey;

/// Marks the keys that are replaced at each start.
const LABEL: &str = "rc up";
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// So many demo tenants get a key; a file that declares more of them is not meant for trying things.
const DEMO_TENANTS_MAX: usize = 20;

#[derive(Deserialize)]
struct Created {
    key_id: String,
    key: String,
}

/// Makes the keys, in the order of the tenants' names.
///
/// # Errors
/// What the gateway said, in words.
pub(super) async fn create(layout: &Layout, tenants: &TenantsFile) -> Result<Vec<DemoKey>, String> {
    let mut keys = Vec::new();
    for tenant in tenants.demo().take(DEMO_TENANTS_MAX) {
        let Created { key_id, key } = create_one(layout, tenant).await?;
        let tier = tenants.tenants.get(tenant).map(|entry| entry.tier.clone());
        keys.push(DemoKey {
            tenant: tenant.clone(),
            tier,
            key_id,
            key,
        });
    }
    Ok(keys)
}

async fn create_one(layout: &Layout, tenant: &TenantId) -> Result<Created, String> {
    let body = serde_json::json!({ "tenant": tenant, "label": LABEL, "replace": true, "cause": "demo" });
    let request = http::Request::post("/-/keys")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(body.to_string()))
        .map_err(|error| error.to_string())?;
    let socket = layout.socket(&Builtin::Gateway.id());
    let answer = uds::call(&socket, request, ANSWER_MAX)
        .await
        .map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        let problem: Option<Problem> = serde_json::from_slice(answer.body()).ok();
        let said =
            problem.map(|problem| format!("{}: {}", problem.title, problem.detail.unwrap_or_default()));
        return Err(said.unwrap_or_else(|| format!("it answered {}", answer.status())));
    }
    serde_json::from_slice(answer.body()).map_err(|error| format!("its answer cannot be read: {error}"))
}
