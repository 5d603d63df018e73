//! `rc tenant usage`: what a tenant stores, and what it may.

use rc_model::TenantId;
use rc_model::catalog::Builtin;
use rc_model::tenants::{LimitMode, StorageLimit};
use rc_model::units::ByteSize;
use rc_services::ingest::{RECOUNT_PATH, RecountLine, RecountWish, USAGE_PATH, UsageLine};
use serde::Serialize;

use crate::commands::events::ask;
use crate::commands::platform;
use crate::cx::Cx;
use crate::fault::Outcome;

/// Show how much a tenant stores, and how much it may
///
/// What counts are the current versions of its documents, as JSON. `--recount` adds them all up first and repairs the
/// ledger if it says something else; writes of the tenant wait meanwhile.
///
/// Exit codes: 0 within the limit, 1 the tenant has as much as it may have, or more.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose documents
    #[arg(value_name = "TENANT")]
    tenant: TenantId,
    /// Count all documents, and repair the ledger
    #[arg(long, requires = "reason")]
    recount: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = ask::reason, requires = "recount")]
    reason: Option<String>,
}

/// The shape of `--output json`.
#[derive(Debug, Serialize)]
struct Shown {
    tenant: String,
    used_bytes: u64,
    /// What writes under way add at most.
    reserved_bytes: u64,
    /// Documents whose size is not known yet; they count as nothing until it is.
    unmeasured_documents: u64,
    /// Absent: as much as there is room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<LimitMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recount: Option<RecountLine>,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    platform::known_tenant(cx, &args.tenant)?;
    let limit = platform::tenants(cx)?
        .effective(&args.tenant)
        .and_then(|limits| limits.storage);
    let recount: Option<RecountLine> = match args.reason {
        Some(reason) => {
            let tenant = args.tenant.clone();
            let wish = RecountWish { tenant, reason };
            Some(ask::act(cx, Builtin::Ingest, RECOUNT_PATH, &wish).await?)
        }
        None => None,
    };
    let target = format!("{USAGE_PATH}?tenant={}", args.tenant);
    let usage: UsageLine = ask::get(cx, Builtin::Ingest, &target).await?;
    let full = limit.is_some_and(|storage| usage.used_bytes >= storage.limit.bytes());
    if cx.json() {
        cx.print_json(&Shown {
            tenant: args.tenant.to_string(),
            used_bytes: usage.used_bytes,
            reserved_bytes: usage.reserved_bytes,
            unmeasured_documents: usage.unmeasured_documents,
            limit_bytes: limit.map(|storage| storage.limit.bytes()),
            mode: limit.map(|storage| storage.mode),
            recount,
        });
    } else {
        tell(cx, &usage, limit, recount.as_ref());
    }
    Ok(if full { Outcome::No } else { Outcome::Done })
}

fn tell(cx: &Cx, usage: &UsageLine, limit: Option<StorageLimit>, recount: Option<&RecountLine>) {
    let mut lines = Vec::new();
    if let Some(RecountLine {
        used_bytes_before,
        used_bytes,
    }) = recount
    {
        lines.push(match used_bytes_before == used_bytes {
            true => "the ledger was right".to_owned(),
            false => format!("the ledger said {used_bytes_before} bytes and is repaired"),
        });
    }
    lines.push(format!("used      {}", size(usage.used_bytes)));
    lines.push(format!("reserved  {}", size(usage.reserved_bytes)));
    lines.push(match limit {
        None => "limit     none".to_owned(),
        Some(StorageLimit { limit, mode }) => {
            let mode = match mode {
                LimitMode::Enforce => "",
                LimitMode::Shadow => ", only counted (shadow)",
                LimitMode::Off => ", off",
            };
            format!("limit     {}{mode}", size(limit.bytes()))
        }
    });
    if usage.unmeasured_documents > 0 {
        lines.push(format!(
            "{} documents of an earlier version of the platform are not counted yet",
            usage.unmeasured_documents
        ));
    }
    cx.say(lines.join("\n"));
}

/// Bytes, and beside them in a unit that can be read.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes >= 1 << shift);
    match unit {
        Some((name, shift)) => {
            let value = bytes as f64 / (1_u64 << shift) as f64;
            format!("{bytes} bytes ({value:.1} {name})")
        }
        None => ByteSize::new(bytes).to_string(),
    }
}
