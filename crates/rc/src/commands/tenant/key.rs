//! `rc tenant key`: API keys.

use clap::Subcommand;
use http::Method;
use rc_client::Client;
use rc_model::{Clock as _, KeyId, Span, SystemClock, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use super::table;
use crate::commands::platform;
use crate::commands::search::printable;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// API keys of tenants.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a key for a tenant.
///
/// The key is shown this once and kept nowhere: the platform stores a hash of it.
#[derive(Debug, clap::Args)]
struct Create {
    /// Whose key
    #[arg(value_name = "TENANT")]
    tenant: TenantId,
    /// What it is for, so that people know which one to revoke
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// When it stops working, such as `30d` or `12h`; without it, never
    #[arg(long, value_name = "SPAN", value_parser = Span::parse)]
    expires: Option<Span>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = platform::reason)]
    reason: Option<String>,
}

/// The id of a key. Somebody who pastes the whole key must not see its secret again in an error.
fn key_id(text: &str) -> Result<KeyId, String> {
    match text.strip_prefix("rck_").and_then(|rest| rest.split_once('_')) {
        Some((id, _secret)) => Err(match KeyId::new(id) {
            Ok(id) => format!("that is a whole key; its id is `{id}`"),
            Err(_) => "that is a whole key; give its id".to_owned(),
        }),
        None => KeyId::new(text).map_err(|error| error.to_string()),
    }
}

/// List keys: their ids, never the keys.
#[derive(Debug, clap::Args)]
struct List {
    /// Only this tenant's
    #[arg(value_name = "TENANT")]
    tenant: Option<TenantId>,
}

/// Make a key stop working, at once and for good.
#[derive(Debug, clap::Args)]
struct Revoke {
    /// The key's id, as `rc tenant key list` shows it
    #[arg(value_name = "KEY_ID", value_parser = key_id)]
    key_id: KeyId,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = platform::reason)]
    reason: Option<String>,
}

/// A key as the administration describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) key_id: String,
    /// Only in the answer to its creation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<String>,
    pub(super) tenant: String,
    #[serde(default)]
    label: Option<String>,
    created_at: Timestamp,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    revoked_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

impl Key {
    /// Neither revoked nor expired.
    pub(super) fn is_usable(&self) -> bool {
        self.state(SystemClock.now()) == "active"
    }

    fn state(&self, now: Timestamp) -> &'static str {
        if self.revoked_at.is_some() {
            "revoked"
        } else if self.expires_at.is_some_and(|at| at <= now) {
            "expired"
        } else {
            "active"
        }
    }
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    match args.verb {
        Verb::Create(args) => create(cx, args).await,
        Verb::List(args) => list(cx, args).await,
        Verb::Revoke(args) => revoke(cx, args).await,
    }
}

async fn create(cx: &Cx, args: Create) -> Result<Outcome, miette::Report> {
    platform::known_tenant(cx, &args.tenant)?;
    let client = platform::administration(cx).await?;
    let body = serde_json::json!({
        "tenant": args.tenant,
        "label": args.label,
        "expires_in_s": args.expires.map(|span| span.duration().as_secs()),
        "reason": args.reason,
    });
    let key: Key =
        platform::administer(&client, "keys", Method::POST, "/-/keys".to_owned(), Some(&body)).await?;
    if cx.json() {
        cx.print_json(&key);
        return Ok(Outcome::Done);
    }
    let until = key
        .expires_at
        .map_or_else(String::new, |at| format!(", works until {at}"));
    cx.note(format!(
        "key {} for {}{until}; it is shown this once:",
        key.key_id, key.tenant
    ));
    cx.say(key.key.as_deref().unwrap_or_default());
    cx.note("\nuse it: put it into RC_API_KEY, or send `Authorization: Bearer KEY`");
    Ok(Outcome::Done)
}

async fn list(cx: &Cx, args: List) -> Result<Outcome, miette::Report> {
    if let Some(tenant) = &args.tenant {
        platform::known_tenant(cx, tenant)?;
    }
    let client = platform::administration(cx).await?;
    let keys = fetch(&client, args.tenant.as_ref()).await?;
    if cx.json() {
        cx.print_json(&Keys { keys });
        return Ok(Outcome::Done);
    }
    if keys.is_empty() {
        cx.say("there are no keys; `rc tenant key create TENANT` makes one");
        return Ok(Outcome::Done);
    }
    let now = SystemClock.now();
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            vec![
                key.key_id.clone(),
                key.tenant.clone(),
                key.state(now).to_owned(),
                key.created_at.to_string(),
                key.expires_at
                    .map_or_else(|| "never".to_owned(), |at| at.to_string()),
                printable(key.label.as_deref().unwrap_or_default()),
            ]
        })
        .collect();
    cx.say(table(
        &["KEY ID", "TENANT", "STATE", "CREATED", "EXPIRES", "LABEL"],
        &rows,
    ));
    Ok(Outcome::Done)
}

async fn revoke(cx: &Cx, args: Revoke) -> Result<Outcome, miette::Report> {
    let client = platform::administration(cx).await?;
    let body = args.reason.map(|reason| serde_json::json!({ "reason": reason }));
    let target = format!("/-/keys/{}", args.key_id);
    let key: Key = platform::administer(&client, "keys", Method::DELETE, target, body.as_ref()).await?;
    if cx.json() {
        cx.print_json(&key);
    } else {
        cx.say(format!("key {} of {} is revoked", key.key_id, key.tenant));
    }
    Ok(Outcome::Done)
}

/// All keys, or one tenant's.
///
/// # Errors
/// What the platform says against it.
pub(super) async fn fetch(client: &Client, tenant: Option<&TenantId>) -> Result<Vec<Key>, Fault> {
    let target = tenant.map_or_else(
        || "/-/keys".to_owned(),
        |tenant| format!("/-/keys?tenant={tenant}"),
    );
    let keys: Keys = platform::administer(client, "keys", Method::GET, target, None).await?;
    Ok(keys.keys)
}
