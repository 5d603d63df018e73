//! From the project's files to what runs: specs, ports, and the endpoint table.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rc_model::catalog::{Builtin, Method, Service};
use rc_model::endpoints::{Endpoint, Endpoints};
use rc_model::workspace::{Model, Sources};
use rc_model::{Digest, Layout, ServiceId, TierId};
use rc_runtime::{Kind, Probe, ServiceSpec, procfs};

use crate::cx::OtelEnv;
use crate::fault::Fault;

/// One of ours is ready within this, or something is wrong with it.
const READY_OURS_MAX: Duration = Duration::from_secs(60);
/// A user's own command may build itself first.
const READY_USERS_MAX: Duration = Duration::from_secs(600);
/// Where the gateway listens when nobody says otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Tried in turn when the default is taken.
const NEARBY_PORTS: std::ops::Range<u16> = 8081..8100;

/// What is to run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) specs: Vec<ServiceSpec>,
    /// What is built before they start: each is a run of a service's `build`, with its output in the service's log.
    pub(super) builds: Vec<ServiceSpec>,
    pub(super) endpoints: Endpoints,
    pub(super) tiers: BTreeMap<ServiceId, TierId>,
    /// Where the platform answers; `None` without a gateway.
    pub(super) url: Option<String>,
    /// What a person should know about the choices that were made.
    pub(super) notes: Vec<String>,
}

/// Ports that were chosen. Kept while the supervisor runs, so that a restarted service keeps its own.
#[derive(Debug, Default)]
pub(super) struct Ports {
    gateway: Option<Listen>,
    services: BTreeMap<ServiceId, u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listen {
    /// What the file says.
    wanted: Option<SocketAddr>,
    /// What it became.
    address: SocketAddr,
}

/// What does not change while the supervisor runs.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) layout: Layout,
    /// This program, to be started as a child.
    pub(super) program: PathBuf,
    /// `RC_STORE_URL`, handed to our own services only: it may hold a password.
    pub(super) store_url: Option<String>,
    /// `RC_BUS_URL`, in the same way.
    pub(super) bus_url: Option<String>,
    /// What builds get beyond what services get.
    pub(super) build_env: BTreeMap<String, String>,
    /// Where spans go, handed to our own services only: it may hold a receiver's key.
    pub(super) otel: OtelEnv,
}

impl Ground {
    /// Plans what `model` asks for. Addresses that are new are checked to be free.
    pub(super) fn plan(&self, model: &Model, ports: &mut Ports) -> Result<Plan, Fault> {
        let mut plan = Plan {
            specs: Vec::new(),
            builds: Vec::new(),
            endpoints: Endpoints::default(),
            tiers: BTreeMap::new(),
            url: None,
            notes: Vec::new(),
        };
        // Held until all are chosen, so that no two services get the same port.
        let mut held = Vec::new();
        ports
            .services
            .retain(|id, _| model.catalog.services.contains_key(id));
        for (id, service) in &model.catalog.services {
            plan.tiers.insert(id.clone(), service.tier.clone());
            let spec = match service.builtin(id) {
                Some(Builtin::Gateway) => {
                    let address = self.listen(model, ports, &mut plan.notes, &mut held)?;
                    let scheme = if model.project.gateway.tls.is_some() {
                        "https"
                    } else {
                        "http"
                    };
                    let url = format!("{scheme}://{}", reachable(address));
                    plan.url = Some(url.clone());
                    self.ours(
                        id,
                        service,
                        model,
                        &["--listen".into(), address.to_string().into()],
                        url,
                    )
                }
                Some(Builtin::ProvLedger) => {
                    let address = Endpoint::Unix(self.layout.socket(id)).to_string();
                    self.ours(id, service, model, &[], address)
                }
                Some(Builtin::Ingest | Builtin::DocsApi) => {
                    let endpoint = Endpoint::Unix(self.layout.socket(id));
                    let address = endpoint.to_string();
                    plan.endpoints.services.insert(id.clone(), endpoint);
                    self.ours(id, service, model, &[], address)
                }
                None => {
                    let port = port_of(id, service, ports, &mut held)?;
                    let endpoint = Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
                    let address = endpoint.to_string();
                    plan.endpoints.services.insert(id.clone(), endpoint);
                    if !service.build.is_empty() {
                        plan.builds.push(self.build(id, service));
                    }
                    self.users(id, service, port, address)
                }
            };
            plan.specs.push(spec);
        }
        drop(held);
        outlive(&mut plan.specs);
        Ok(plan)
    }

    fn listen(
        &self,
        model: &Model,
        ports: &mut Ports,
        notes: &mut Vec<String>,
        held: &mut Vec<TcpListener>,
    ) -> Result<SocketAddr, Fault> {
        let wanted = model.project.gateway.listen;
        if let Some(listen) = ports.gateway.filter(|listen| listen.wanted == wanted) {
            return Ok(listen.address);
        }
        let address = match wanted {
            Some(address) => {
                let hint = "stop it, or choose another `gateway.listen` in `royalcrown.yaml`";
                hold(address, held).map_err(|error| taken("the gateway's address", address, &error, hint))?
            }
            None => match hold(DEFAULT_LISTEN, held) {
                Ok(address) => address,
                Err(_) => {
                    let address = nearby(held)?;
                    let holder = holder(DEFAULT_LISTEN);
                    notes.push(format!(
                        "{DEFAULT_LISTEN} is taken{holder}; the gateway listens on {address}"
                    ));
                    address
                }
            },
        };
        ports.gateway = Some(Listen { wanted, address });
        Ok(address)
    }

    fn ours(
        &self,
        id: &ServiceId,
        service: &Service,
        model: &Model,
        more: &[OsString],
        address: String,
    ) -> ServiceSpec {
        let mut args: Vec<OsString> = vec!["serve".into(), id.as_str().into(), "--supervised".into()];
        args.extend(["--project".into(), self.layout.project().as_os_str().to_owned()]);
        args.extend_from_slice(more);
        let mut env = BTreeMap::new();
        // The ledger stores on this machine alone.
        let has_store = *id != Builtin::ProvLedger.id();
        if let Some(url) = self.store_url.as_ref().filter(|_| has_store) {
            env.insert("RC_STORE_URL".to_owned(), url.clone());
        }
        let has_bus = [Builtin::Ingest.id(), Builtin::DocsApi.id()].contains(id);
        if let Some(url) = self.bus_url.as_ref().filter(|_| has_bus) {
            env.insert("RC_BUS_URL".to_owned(), url.clone());
        }
        let otel = self.otel.vars();
        env.extend(otel.map(|(name, value)| (name.to_owned(), value.to_owned())));
        // What a service reads once at its start: a change restarts it, because it changes the spec.
        env.insert("RC_SETTINGS".to_owned(), settings(id, model).to_string());
        ServiceSpec {
            program: self.program.clone(),
            args,
            env,
            ready: Probe::UnixHttp {
                socket: self.layout.socket(id),
                path: service.ready.clone().unwrap_or_else(|| "/ready".to_owned()),
            },
            ready_timeout: READY_OURS_MAX,
            kind: Kind::Ours,
            ..self.common(id, service, address)
        }
    }

    fn users(&self, id: &ServiceId, service: &Service, port: u16, address: String) -> ServiceSpec {
        let (program, args) = self.words(&service.command);
        let mut env = service.env.clone();
        env.insert("PORT".to_owned(), port.to_string());
        ServiceSpec {
            program,
            args,
            env,
            ready: match &service.ready {
                Some(path) => Probe::TcpHttp {
                    port,
                    path: path.clone(),
                },
                None => Probe::TcpOpen { port },
            },
            ready_timeout: READY_USERS_MAX,
            kind: Kind::Guarded,
            ..self.common(id, service, address)
        }
    }

    fn build(&self, id: &ServiceId, service: &Service) -> ServiceSpec {
        let (program, args) = self.words(&service.build);
        let mut env = self.build_env.clone();
        env.extend(service.env.clone());
        ServiceSpec {
            program,
            args,
            env,
            kind: Kind::Guarded,
            ..self.common(id, service, String::new())
        }
    }

    /// A command line of the files, as program and arguments.
    fn words(&self, words: &[String]) -> (PathBuf, Vec<OsString>) {
        match words {
            [program, args @ ..] => (
                self.program_of(program),
                args.iter().map(OsString::from).collect(),
            ),
            // The files' check refuses it; the guard says it again.
            [] => (PathBuf::new(), Vec::new()),
        }
    }

    /// A program with a slash is relative to the project, as everything in its files is.
    fn program_of(&self, program: &str) -> PathBuf {
        if program.contains('/') {
            self.layout.project().join(program)
        } else {
            PathBuf::from(program)
        }
    }

    fn common(&self, id: &ServiceId, service: &Service, address: String) -> ServiceSpec {
        ServiceSpec {
            id: id.clone(),
            program: PathBuf::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: self.layout.project().to_owned(),
            ready: Probe::TcpOpen { port: 0 },
            ready_timeout: READY_OURS_MAX,
            needs: service.needs.clone(),
            outlived_by: Vec::new(),
            drain: service.drain.duration(),
            log_file: self.layout.log_file(id),
            kind: Kind::Ours,
            address,
        }
    }
}

const NO_PORT_HINT: &str = "does the loopback interface work? `ip addr show lo` says";

/// The gateway is stopped before whatever it sends to, the reader of events before their writer, and the
/// ledger after everything else, so that the last entries get in.
fn outlive(specs: &mut [ServiceSpec]) {
    let ids: Vec<ServiceId> = specs.iter().map(|spec| spec.id.clone()).collect();
    let ledger = Builtin::ProvLedger.id();
    let ledger = specs
        .iter()
        .any(|spec| spec.kind == Kind::Ours && spec.id == ledger)
        .then_some(ledger);
    for spec in specs.iter_mut() {
        let own = Builtin::from_name(spec.id.as_str()).filter(|_| spec.kind == Kind::Ours);
        spec.outlived_by = match own {
            Some(Builtin::Gateway) => ids.iter().filter(|id| **id != spec.id).cloned().collect(),
            Some(Builtin::ProvLedger) => Vec::new(),
            Some(Builtin::DocsApi) => [Some(Builtin::Ingest.id()), ledger.clone()]
                .into_iter()
                .flatten()
                .collect(),
            Some(Builtin::Ingest) | None => ledger.iter().cloned().collect(),
        };
    }
}

/// Digest of the settings that `id` reads once, at its start.
fn settings(id: &ServiceId, model: &Model) -> Digest {
    let project = &model.project;
    let gateway = (id.as_str() == Builtin::Gateway.name()).then_some(&project.gateway);
    let once = serde_json::json!({
        "store": project.store,
        "bus": project.bus,
        "events": project.events,
        "logs": project.logs,
        "telemetry": project.telemetry,
        "region": project.region,
        "tls": gateway.and_then(|gateway| gateway.tls.as_ref()),
        "workers": gateway.and_then(|gateway| gateway.workers),
        "ratelimit_headers": gateway.map(|gateway| gateway.ratelimit_headers),
    });
    Digest::of(once.to_string().as_bytes())
}

/// The service's port: its own, the one it had, or a free one.
fn port_of(
    id: &ServiceId,
    service: &Service,
    ports: &mut Ports,
    held: &mut Vec<TcpListener>,
) -> Result<u16, Fault> {
    let known = ports.services.get(id).copied();
    let port = match (service.port, known) {
        (Some(wanted), Some(known)) if wanted == known => return Ok(known),
        (None, Some(known)) => return Ok(known),
        (wanted, _) => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, wanted.unwrap_or(0)));
            let what = format!("the address of service `{id}`");
            let hint = format!(
                "stop it, or remove `port` from `{id}` in `service-catalog.yaml`: it gets a free one"
            );
            hold(address, held)
                .map_err(|error| taken(&what, address, &error, &hint))?
                .port()
        }
    };
    ports.services.insert(id.clone(), port);
    Ok(port)
}

/// A free address close to the default, which is easier to remember than just any.
fn nearby(held: &mut Vec<TcpListener>) -> Result<SocketAddr, Fault> {
    let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match NEARBY_PORTS
        .map(local)
        .find_map(|address| hold(address, held).ok())
    {
        Some(address) => Ok(address),
        None => hold(local(0), held).map_err(|error| taken("a free port", local(0), &error, NO_PORT_HINT)),
    }
}

/// Holds `address` for a moment and gives it with its port.
fn hold(address: SocketAddr, held: &mut Vec<TcpListener>) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    held.push(listener);
    Ok(address)
}

fn taken(what: &str, address: SocketAddr, error: &std::io::Error, hint: &str) -> Fault {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => Fault::world(
            "RC-UP-002",
            format!("{what} {address} is taken{}", holder(address)),
        )
        .hint(hint),
        std::io::ErrorKind::PermissionDenied => {
            Fault::world("RC-UP-002", format!("{what} {address} may not be used: {error}"))
                .hint("ports below 1024 are for root; choose a higher one")
        }
        _ => Fault::world("RC-UP-002", format!("{what} {address} cannot be used: {error}")).hint(hint),
    }
}

/// ` by pid 12 (nginx: master)`, where that can be seen.
fn holder(address: SocketAddr) -> String {
    procfs::listener(address).map_or_else(String::new, |holder| {
        format!(" by pid {} ({})", holder.pid, holder.command)
    })
}

/// What a person can look at of the services of their own.
pub(super) fn try_urls(model: &Model, url: &str) -> Vec<String> {
    let services = model.catalog.services.iter();
    services
        .filter(|(id, service)| service.builtin(id).is_none())
        .flat_map(|(_, service)| &service.routes)
        .filter(|route| route.methods.is_empty() || route.methods.contains(&Method::Get))
        .map(|route| format!("{url}{}", route.path))
        .collect()
}

/// An address that a client on this machine can use.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        std::net::IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        std::net::IpAddr::V6(ip) if ip.is_unspecified() => {
            (std::net::Ipv6Addr::LOCALHOST, address.port()).into()
        }
        _ => address,
    }
}

/// Makes the state folder: for the owner only, and never part of a commit.
pub(super) fn prepare_state(layout: &Layout) -> Result<(), Fault> {
    let state = layout.state();
    let logs = state.join("logs");
    for dir in [&state, &layout.run(), &logs, &state.join("data")] {
        fs_err::create_dir_all(dir)
            .and_then(|()| fs_err::set_permissions(dir, std::fs::Permissions::from_mode(0o700)))
            .map_err(|error| unusable(&state, error))?;
    }
    let ignore = state.join(".gitignore");
    if !ignore.exists() {
        fs_err::write(&ignore, "*\n").map_err(|error| unusable(&state, error))?;
    }
    Ok(())
}

/// The fault of a state folder that cannot be used.
pub(super) fn unusable(state: &Path, error: std::io::Error) -> Fault {
    Fault::world(
        "RC-UP-003",
        format!("the state folder {} cannot be used", state.display()),
    )
    .because(error)
    .hint("it must be yours and writable, on a disk with room; `rc doctor` looks closer")
}

/// Writes the endpoint table whole: a reader sees the old one or the new one.
pub(super) fn write_endpoints(layout: &Layout, endpoints: &Endpoints) -> Result<(), Fault> {
    let path = layout.endpoints_file();
    let fresh = path.with_extension("json.new");
    let write = || -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(endpoints)?;
        let mut file = fs_err::File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        drop(file);
        fs_err::rename(&fresh, &path)
    };
    write().map_err(|error| unusable(&layout.state(), error))
}

/// Keeps the texts of `model`, for services that start anew while the user's files are broken.
pub(super) fn keep_in_force(layout: &Layout, sources: &Sources, model: &Model) -> Result<(), Fault> {
    let path = layout.in_force_file();
    // They may have changed since they were read: whoever sees that change keeps what it applies. Until then
    // there is nothing rather than what a killed supervisor left.
    let kept = if sources.digest() == model.digest {
        sources.keep(&path)
    } else {
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    };
    kept.map_err(|error| unusable(&layout.state(), error))
}

#[cfg(test)]
mod tests;
