//! The one task that knows what is in force: it watches the file, answers the administration, and installs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rc_model::gateway::GatewayModel;
use rc_model::problem::FieldError;
use rc_model::{Diagnostic, Digest, Problem, Timestamp};
use rc_serve::memory::Slack;
use rc_serve::metrics::OPENMETRICS;
use rc_serve::off_thread;
use rc_traffic::hooks::CallerUid;
use rc_traffic::{Gateway, Snapshot};
use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use super::origins::{self, Resolved};
use super::{key_table, snapshot_spec};
use crate::gateway::admin::{Calls, by_owner, json, levels, respond, text};
use crate::gateway::config::{self, ConfigReport, Refused};
use crate::gateway::files;
use crate::service::Deps;

/// How often the files are looked at.
const FILES_POLL: Duration = Duration::from_millis(250);
/// How often names of services are looked up again.
const NAMES_POLL: Duration = Duration::from_secs(30);
/// The media type of the file (RFC 9512).
const YAML: &str = "application/yaml";

/// What is in force, and what is known about what is not.
pub(super) struct Keeper {
    deps: Deps,
    gateway: Gateway,
    model: GatewayModel,
    resolved: Resolved,
    version: u64,
    since: Timestamp,
    refused: Option<Refused>,
    refusals: Counter,
    /// Whether the file, as it was last read, is in force.
    in_force: Gauge,
    /// Whether the log says already that names cannot be looked up.
    names_lost: bool,
    slack: Slack,
}

/// A configuration that only needs to be installed.
struct Prepared {
    model: GatewayModel,
    resolved: Resolved,
    snapshot: Snapshot,
}

/// What a file that changes must look like twice before it is read: half a file may well be valid.
type Look = Vec<Option<(u64, u64, i64, i64)>>;

impl Keeper {
    pub(super) fn new(deps: Deps, gateway: Gateway, model: GatewayModel, resolved: Resolved) -> Self {
        deps.marks.data_version.set_configuration(model.digest);
        let (refusals, in_force) = (Counter::default(), Gauge::default());
        in_force.set(1);
        deps.metrics.with_registry(|registry| {
            registry.register(
                "rc_gateway_config_refused",
                "Configurations that were not put in force because of their faults",
                refusals.clone(),
            );
            registry.register(
                "rc_gateway_config_in_force",
                "1 when the file is in force as it was last read, 0 when the one before it is",
                in_force.clone(),
            );
        });
        Self {
            since: deps.clock.now(),
            deps,
            gateway,
            model,
            resolved,
            version: 1,
            refused: None,
            refusals,
            in_force,
            names_lost: false,
            slack: Slack::default(),
        }
    }

    /// Watches and answers until the process stops.
    pub(super) async fn run(mut self, mut calls: Calls, mut hang_ups: Signal) {
        let stopping = self.deps.tree.stopping();
        let mut seen = self.look().await;
        let mut changing: Option<Look> = None;
        // Reading the file at the start was such work, too.
        self.slack.used();
        let mut tick = tokio::time::interval(FILES_POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut names = tokio::time::interval_at(tokio::time::Instant::now() + NAMES_POLL, NAMES_POLL);
        names.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let found = self.look().await;
                    if found == seen {
                        changing = None;
                    } else if changing.as_ref() == Some(&found) {
                        (seen, changing) = (found, None);
                        self.reload().await;
                    } else {
                        changing = Some(found);
                    }
                    self.slack.give_back().await;
                }
                Some(()) = hang_ups.recv() => {
                    tracing::info!("asked to read the file again");
                    seen = self.look().await;
                    self.reload().await;
                }
                _ = names.tick() => self.look_up_again().await,
                call = calls.recv() => {
                    let Some((request, answer)) = call else { return };
                    let response = self.answer(&request).await.unwrap_or_else(|problem| respond(&problem));
                    // What this very request has written is no news.
                    if request.method() == Method::PUT {
                        seen = self.look().await;
                    }
                    // The caller may have gone; there is nobody left to tell.
                    let _ = answer.send(response);
                }
                () = stopping.cancelled() => return,
            }
        }
    }

    async fn look(&self) -> Look {
        let keys = self.model.file.identity.keys.as_ref();
        let files: Vec<PathBuf> = [self.model.path().to_owned()]
            .into_iter()
            .chain(keys.map(|keys| self.model.beside(keys)))
            .collect();
        off_thread(move || files.iter().map(|file| files::stamp(file)).collect()).await
    }

    async fn answer(&mut self, request: &Request<Bytes>) -> Result<Response<Bytes>, Problem> {
        by_owner(request).map_err(|problem| *problem)?;
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => {
                let metrics = self.gateway.with_exemplars(&self.deps.metrics.render());
                Ok(text(OPENMETRICS, metrics))
            }
            (&Method::GET, "/-/config") => {
                let accept = request
                    .headers()
                    .get(header::ACCEPT)
                    .and_then(|value| value.to_str().ok());
                let response = if accept.is_some_and(|accept| accept.contains(YAML)) {
                    text(YAML, self.model.source.text().to_owned())
                } else {
                    json(StatusCode::OK, &self.report())
                };
                Ok(config::tagged(response, self.text_digest()))
            }
            (&Method::PUT, "/-/config") => self.put(request).await,
            (&Method::POST, "/-/reload") => {
                self.reload().await;
                Ok(config::tagged(
                    json(StatusCode::OK, &self.report()),
                    self.text_digest(),
                ))
            }
            (&Method::GET, "/-/levels") => {
                levels(&self.gateway, request.uri().query()).map_err(|problem| *problem)
            }
            _ => Err(Problem::new(404, "RC-SRV-001", "no such path")),
        }
    }

    /// Replaces the file and puts the new one in force, or does neither.
    async fn put(&mut self, request: &Request<Bytes>) -> Result<Response<Bytes>, Problem> {
        config::check_seen(request.headers(), self.text_digest()).map_err(|problem| *problem)?;
        let path = self.model.path().to_owned();
        let invalid = |errors: Vec<FieldError>| {
            let mut problem = Problem::new(422, "RC-GW-072", "the configuration has faults");
            problem.errors = errors;
            problem
        };
        let whole_file = |detail: String| {
            let pointer = String::new();
            FieldError { pointer, detail }
        };
        let text = std::str::from_utf8(request.body())
            .map_err(|error| invalid(vec![whole_file(format!("it is not UTF-8: {error}"))]))?
            .to_owned();
        let found = off_thread({
            let path = path.clone();
            move || on_disk(&path)
        });
        let found = found.await.map_err(|error| config::managed(error.to_string()))?;
        if Digest::of(found.as_bytes()) != self.text_digest() {
            return Err(config::managed(
                "the file has been edited and the edit is not in force; mend or undo it first",
            ));
        }
        let read = off_thread({
            let (path, text) = (path.clone(), text.clone());
            move || GatewayModel::from_text(&path, &text)
        });
        let model = read.await.map_err(|problems| {
            let errors = problems.iter().filter(|problem| problem.is_error());
            invalid(errors.map(|problem| whole_file(line_of(problem))).collect())
        })?;
        let prepared = self.prepare(model).await;
        let prepared = prepared.map_err(|why| invalid(vec![whole_file(why)]))?;
        off_thread(move || write_whole(&path, &text))
            .await
            .map_err(|error| config::managed(format!("the file cannot be written: {error}")))?;
        let uid = request.extensions().get::<CallerUid>().map(|caller| caller.0);
        tracing::info!(
            uid,
            "the configuration was replaced over the administration's socket"
        );
        self.install(prepared);
        Ok(config::tagged(
            json(StatusCode::OK, &self.report()),
            self.text_digest(),
        ))
    }

    /// Reads the files and puts them in force, or says why not.
    async fn reload(&mut self) {
        self.slack.used();
        let path = self.model.path().to_owned();
        match off_thread(move || GatewayModel::from_file(&path)).await {
            Err(problems) => {
                let errors = problems.iter().filter(|problem| problem.is_error());
                self.refuse(errors.map(line_of).collect());
            }
            Ok(model) if model.digest == self.model.digest => {
                self.refused = None;
                self.in_force.set(1);
            }
            Ok(model) => match self.prepare(model).await {
                Ok(prepared) => self.install(prepared),
                Err(why) => self.refuse(vec![why]),
            },
        }
    }

    async fn prepare(&self, model: GatewayModel) -> Result<Prepared, String> {
        let resolved = origins::resolve(&model).await?;
        let version = self.version + 1;
        off_thread(move || {
            let snapshot = Snapshot::build(snapshot_spec(&model, &resolved, version));
            Ok(Prepared {
                snapshot: snapshot.map_err(|error| error.to_string())?,
                model,
                resolved,
            })
        })
        .await
    }

    fn install(&mut self, prepared: Prepared) {
        let before = self.model.digest;
        if self.model.needs_restart(&prepared.model) {
            tracing::warn!(
                "changed listeners, addresses, workers, logs and who is believed take effect at the next start"
            );
        }
        self.gateway.set_keys(key_table(&prepared.model));
        self.gateway.install(prepared.snapshot);
        self.deps
            .marks
            .data_version
            .set_configuration(prepared.model.digest);
        self.version += 1;
        self.since = self.deps.clock.now();
        (self.model, self.resolved) = (prepared.model, prepared.resolved);
        self.refused = None;
        self.in_force.set(1);
        tracing::info!(
            version = self.version,
            before = %before.short(),
            digest = %self.model.digest.short(),
            tenants = self.model.tenants.tenants.len(),
            services = self.model.file.services.len(),
            "configuration applied"
        );
    }

    fn refuse(&mut self, problems: Vec<String>) {
        self.in_force.set(0);
        if self
            .refused
            .as_ref()
            .is_some_and(|refused| refused.problems == problems)
        {
            return;
        }
        self.refusals.inc();
        for problem in &problems {
            tracing::warn!(
                problem,
                "the changed configuration is refused; the one before it stays"
            );
        }
        self.refused = Some(Refused {
            at: self.deps.clock.now(),
            problems,
        });
    }

    /// Follows names that lead elsewhere by now. A name that cannot be looked up leads where it led.
    async fn look_up_again(&mut self) {
        if !origins::has_names(&self.model) {
            return;
        }
        let resolved = match origins::resolve(&self.model).await {
            Ok(resolved) => resolved,
            Err(why) => {
                if !std::mem::replace(&mut self.names_lost, true) {
                    tracing::warn!(code = "RC-GW-074", "{why}; requests go where they went");
                }
                return;
            }
        };
        self.names_lost = false;
        if resolved == self.resolved {
            return;
        }
        match Snapshot::build(snapshot_spec(&self.model, &resolved, self.version + 1)) {
            Ok(snapshot) => {
                self.gateway.install(snapshot);
                self.version += 1;
                self.resolved = resolved;
                tracing::info!(version = self.version, "names of services lead elsewhere");
            }
            Err(error) => {
                tracing::warn!(%error, "addresses of services cannot be used; requests go where they went")
            }
        }
    }

    fn report(&self) -> ConfigReport {
        ConfigReport {
            version: self.version,
            digest: self.model.digest.to_string(),
            since: self.since,
            tenants: self.model.tenants.tenants.len(),
            services: self.model.file.services.len(),
            refused: self.refused.clone(),
        }
    }

    /// Of the file alone: keys are no part of what `PUT` replaces.
    fn text_digest(&self) -> Digest {
        Digest::of(self.model.source.text().as_bytes())
    }
}

/// `gateway.yaml:3:7: message (hint)`
fn line_of(problem: &Diagnostic) -> String {
    let hint = problem
        .hint
        .as_ref()
        .map(|hint| format!(" ({})", hint.replace('\n', "; ")));
    format!(
        "{}:{}:{}: {}{}",
        problem.file,
        problem.line,
        problem.column,
        problem.message,
        hint.unwrap_or_default()
    )
}

/// The file's text without a byte order mark.
fn on_disk(path: &Path) -> std::io::Result<String> {
    if fs_err::symlink_metadata(path)?.is_symlink() {
        return Err(std::io::Error::other(
            "the file is a link: whoever made it manages the file",
        ));
    }
    let text = fs_err::read_to_string(path)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Puts `text` in the place of the file at `path`: after a crash there is the one or the other.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let fresh = path.with_extension("yaml.new");
    let permissions = fs_err::metadata(path)?.permissions();
    let mut file = fs_err::File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(permissions)?;
    file.sync_all()?;
    fs_err::rename(&fresh, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs_err::File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
