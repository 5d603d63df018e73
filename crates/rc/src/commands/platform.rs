//! How client commands find the platform and as whom they speak to it.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use rc_client::{ApiKey, Client, Config, Endpoint, ErrorKind, Identity, RawRequest, Trust};
use rc_model::catalog::Builtin;
use rc_model::tenants::TenantsFile;
use rc_model::{Model, Sources, TenantId};
use rc_services::audit::Reason;
use serde::de::DeserializeOwned;

use crate::cx::Cx;
use crate::fault::Fault;

/// How long the running platform may take to say that it is there.
const HELLO_DEADLINE: Duration = Duration::from_secs(2);

/// How to reach the platform, and as whom.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Platform")]
pub(crate) struct PlatformArgs {
    /// Act as this tenant of the platform that runs in this project; without it and without a key, as the
    /// first demo tenant
    #[arg(long, value_name = "TENANT", conflicts_with_all = ["key", "key_file", "url"])]
    pub(crate) tenant: Option<TenantId>,
    /// Act as the owner of this API key; `--key-file` and `RC_API_KEY` do not show in the list of processes
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    key: Option<String>,
    /// Act as the owner of the API key in this file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Where the platform listens, such as `https://api.example.com`; `RC_URL` says it too
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Believe only the certificate authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

/// The platform, found.
pub(crate) struct Platform {
    pub(crate) client: Client,
    /// As whom, for people: `acme`, or `the key's owner`.
    pub(crate) acting_as: String,
    /// As whom, for telling one run from another: the tenant, or a digest of the key.
    pub(crate) caller: String,
    /// Where.
    pub(crate) endpoint: Endpoint,
    /// Set where the platform is the one that runs in this project.
    local: bool,
}

impl PlatformArgs {
    /// Finds the platform; `lanes` calls may be under way at once.
    ///
    /// # Errors
    /// A usage fault for options that do not fit together, a world fault when nothing runs.
    pub(crate) async fn connect(&self, cx: &Cx, lanes: usize) -> Result<Platform, Fault> {
        let url = self
            .url
            .as_deref()
            .or_else(|| cx.env.url.as_deref().filter(|_| self.tenant.is_none()));
        let key = self.key(cx)?;
        let (endpoint, local) = match url {
            Some(url) => (Endpoint::parse(url).map_err(usable)?, false),
            None => (gateway_socket(cx), true),
        };
        let (identity, acting_as, caller) = match (key, &endpoint) {
            (Some(key), _) => {
                let digest = key.fingerprint();
                (Identity::Key(key), "the key's owner".to_owned(), digest)
            }
            (None, Endpoint::Unix(_)) => {
                let tenant = self.tenant_or_demo(cx)?;
                let name = tenant.to_string();
                (Identity::Tenant(tenant), name.clone(), name)
            }
            (None, Endpoint::Tcp { .. }) => {
                return Err(Fault::usage(
                    "RC-CLI-013",
                    format!("{endpoint} knows its callers by API key, and none was given"),
                )
                .hint(
                    "give `--key-file FILE` or set RC_API_KEY; `rc tenant key create TENANT` makes a key",
                ));
            }
        };
        let mut config = Config::new(endpoint.clone(), identity);
        config.lanes_max = lanes;
        if let Some(cacert) = &self.cacert {
            config.trust = Trust::File(cx.cwd.join(cacert));
        }
        let platform = Platform {
            client: Client::new(config).map_err(usable)?,
            acting_as,
            caller,
            endpoint,
            local,
        };
        if local {
            hello(cx, &platform.endpoint).await?;
        }
        Ok(platform)
    }

    /// `--key`, else `--key-file`, else `RC_API_KEY` (unless a tenant is named).
    fn key(&self, cx: &Cx) -> Result<Option<ApiKey>, Fault> {
        let text =
            match (&self.key, &self.key_file) {
                (Some(key), _) => Some(key.clone()),
                (None, Some(file)) => {
                    let read = fs_err::read_to_string(cx.cwd.join(file));
                    Some(read.map_err(|error| {
                        Fault::usage("RC-CLI-013", "the key cannot be read").because(error)
                    })?)
                }
                (None, None) => cx.env.api_key.clone().filter(|_| self.tenant.is_none()),
            };
        text.map(|text| ApiKey::new(&text).map_err(usable)).transpose()
    }

    fn tenant_or_demo(&self, cx: &Cx) -> Result<TenantId, Fault> {
        if let Some(tenant) = &self.tenant {
            known_tenant(cx, tenant)?;
            return Ok(tenant.clone());
        }
        tenants(cx)?.demo().next().cloned().ok_or_else(|| {
            Fault::usage("RC-CLI-020", "this project has no demo tenant to act as")
                .hint("name a tenant with `--tenant`, or give a tenant of `tenants.yaml` `demo: true`")
        })
    }
}

impl Platform {
    /// What a person should know of a failed call.
    pub(crate) fn fault(&self, error: rc_client::Error) -> Fault {
        if self.local && error.kind() == ErrorKind::Unreachable {
            return Fault::world("RC-CLI-010", "the platform stopped answering")
                .because(error)
                .hint("`rc status` says what runs");
        }
        fault(error)
    }

    /// What to add to another command line so that it speaks to the same platform as the same tenant.
    pub(crate) fn flags(&self, args: &PlatformArgs) -> String {
        let mut flags = String::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                flags.push_str(&format!(" {name} {}", shell_word(&value)));
            }
        };
        add("--tenant", args.tenant.as_ref().map(ToString::to_string));
        add("--url", args.url.clone());
        add(
            "--key-file",
            args.key_file.as_ref().map(|path| path.display().to_string()),
        );
        add(
            "--cacert",
            args.cacert.as_ref().map(|path| path.display().to_string()),
        );
        if args.key.is_some() {
            // The key itself is not repeated on the screen.
            flags.push_str(" --key KEY");
        }
        flags
    }
}

/// A client for the administration of the platform that runs in this project.
///
/// # Errors
/// A world fault when nothing runs.
pub(crate) async fn administration(cx: &Cx) -> Result<Client, Fault> {
    service(cx, Builtin::Gateway).await
}

/// Asks the administration. A `POST` is not sent again when its answer is lost.
///
/// # Errors
/// What the platform says against it.
pub(crate) async fn administer<T: DeserializeOwned>(
    client: &Client,
    resource: &'static str,
    method: Method,
    target: String,
    body: Option<&serde_json::Value>,
) -> Result<T, Fault> {
    let json = HeaderValue::from_static("application/json");
    // Making something twice makes two; reading, setting and revoking can be repeated.
    let idempotent = method != Method::POST;
    let request = RawRequest {
        method,
        target,
        resource,
        headers: body
            .iter()
            .map(|_| (header::CONTENT_TYPE, json.clone()))
            .collect(),
        body: body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string())),
        idempotent,
        deadline: None,
    };
    let answer = client.raw(&request).await.map_err(fault)?;
    serde_json::from_slice(&answer.value.body)
        .map_err(|error| Fault::world("RC-CLI-018", "the gateway's answer is not understood").because(error))
}

/// Why, for the audit log: for `--reason`.
///
/// # Errors
/// What is wrong, for the usage message.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    Reason::check(text).map(|()| text.to_owned())
}

/// A client for one of the platform's own services in this project, on its own socket.
///
/// # Errors
/// A world fault when it does not run.
pub(crate) async fn service(cx: &Cx, service: Builtin) -> Result<Client, Fault> {
    let endpoint = Endpoint::Unix(cx.layout().socket(&service.id()));
    hello(cx, &endpoint).await?;
    Client::new(Config::new(endpoint, Identity::Nobody)).map_err(usable)
}

/// The tenants of this project's files.
///
/// # Errors
/// The files' own faults.
pub(crate) fn tenants(cx: &Cx) -> Result<TenantsFile, Fault> {
    let model = Model::read(&Sources::from_dir(&cx.project_dir()));
    model.map(|model| model.tenants).map_err(|faults| {
        let first = faults.first().map_or_else(String::new, ToString::to_string);
        Fault::usage("RC-CLI-021", "the project's files are not valid")
            .because(first)
            .hint("`rc catalog check` shows every fault")
    })
}

/// Whether the project's files have this tenant. Files with problems say nothing: the running platform
/// still has the ones before them, and decides.
pub(crate) fn known_tenant(cx: &Cx, tenant: &TenantId) -> Result<(), Fault> {
    let Ok(tenants) = tenants(cx) else {
        return Ok(());
    };
    if tenants.tenants.contains_key(tenant) {
        return Ok(());
    }
    let meant = rc_model::closest(tenant.as_str(), tenants.tenants.keys().map(TenantId::as_str));
    let hint = meant.map_or_else(
        || "`rc tenant list` shows the tenants".to_owned(),
        |name| format!("did you mean `{name}`?"),
    );
    Err(Fault::usage("RC-CLI-015", format!("this project has no tenant `{tenant}`")).hint(hint))
}

fn gateway_socket(cx: &Cx) -> Endpoint {
    Endpoint::Unix(cx.layout().socket(&Builtin::Gateway.id()))
}

/// Asks the gateway of this project whether it is there, so that a platform that does not run is said at
/// once and not after retries.
async fn hello(cx: &Cx, endpoint: &Endpoint) -> Result<(), Fault> {
    let mut config = Config::new(endpoint.clone(), Identity::Nobody);
    config.backoff.attempts_max = 1;
    let request = RawRequest {
        method: Method::GET,
        target: "/health".to_owned(),
        resource: "health",
        headers: Vec::new(),
        body: Bytes::new(),
        idempotent: true,
        deadline: Some(HELLO_DEADLINE),
    };
    match Client::new(config).map_err(usable)?.raw(&request).await {
        Err(error) if error.kind() == ErrorKind::Unreachable => {
            let project = cx.project_dir();
            let fault = Fault::world(
                "RC-CLI-010",
                format!("the platform does not run in {}", project.display()),
            );
            Err(fault
                .hint("start it with `rc up`; for another place, give `--project DIR`, or `--url` and a key"))
        }
        // It is there; what is wrong with it, the call itself will tell.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn usable(error: rc_client::Error) -> Fault {
    fault(error)
}

/// What a person should know of a failed call.
pub(crate) fn fault(error: rc_client::Error) -> Fault {
    match error.kind() {
        ErrorKind::Config => with_cause("RC-CLI-013", Fault::usage, error),
        ErrorKind::Unreachable => with_cause("RC-CLI-010", Fault::world, error)
            .hint("is the address right, and does the platform run there?"),
        ErrorKind::Interrupted | ErrorKind::Timeout => {
            with_cause("RC-CLI-011", Fault::world, error).hint("try again; `rc status` says what runs")
        }
        ErrorKind::Malformed | ErrorKind::TooLarge => with_cause("RC-CLI-018", Fault::world, error)
            .hint("is it Royalcrown that listens there, and of this version?"),
        ErrorKind::Refused => refused(&error),
    }
}

/// The error's own words become the message; only what lies beneath it is shown as the cause.
fn with_cause(code: &'static str, kind: fn(&'static str, String) -> Fault, error: rc_client::Error) -> Fault {
    use std::error::Error as _;
    let fault = kind(code, error.to_string());
    match error.source().map(ToString::to_string) {
        Some(cause) => fault.because(cause),
        None => fault,
    }
}

fn refused(error: &rc_client::Error) -> Fault {
    let status = error.status().unwrap_or(500);
    let known = error.code().and_then(rc_model::code::lookup);
    let code = known.map_or("RC-CLI-012", |known| known.code);
    let message = match error.problem().and_then(|problem| problem.errors.first()) {
        Some(first) => format!("{error} ({}: {})", first.pointer, first.detail),
        None => error.to_string(),
    };
    let fault = match status {
        // What is asked for is not there, or is not as the caller believes.
        404 | 409 => Fault::no(code, message),
        429 | 500.. => Fault::world(code, message),
        _ => Fault::usage(code, message),
    };
    let trace = error.problem().and_then(|problem| problem.trace_id.as_deref());
    let see = format!("`rc explain {code}` says more");
    fault.hint(match (status, trace) {
        (401, _) => format!("is the key right, and neither revoked nor expired? {see}"),
        (_, Some(trace)) => format!("{see}; the trace is {trace}"),
        (_, None) => see,
    })
}

/// `text` as one word of a shell's command line.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Reads `name=value`.
///
/// # Errors
/// What is wrong, for the usage message.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, such as `lang=en`".to_owned()),
    }
}

#[cfg(test)]
mod tests;
