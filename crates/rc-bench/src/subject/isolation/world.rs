//! One service with every proxy before it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{PATH, Rig};
use crate::backend::Capacity;
use crate::failure::{Failure, Result};
use crate::haproxy::Haproxy;
use crate::load::transport::Transport;
use crate::nginx::Nginx;
use crate::platform::{Platform, Project, free_port};
use crate::rig::tenants::Tenants;
use crate::rig::{Proxy, Rules, SERVICE_PRIORITY, Service};

/// Proxies as figures call them.
pub(super) const GATEWAY: &str = "gateway";
pub(super) const NGINX: &str = "nginx";
const NGINX_LIMIT_CONN: &str = "nginx with `limit_conn 64`";
const HAPROXY: &str = "HAProxy";

/// Connections that nginx admits of one tenant where it is told so.
const CONNECTIONS_PER_KEY: usize = 64;

/// What this build of the gateway can do beside the rest.
#[derive(Debug)]
pub(super) struct Build {
    /// Seats and fair queues: a tenant says how many of its requests run at once.
    pub(super) has_seats: bool,
    /// A cache, where one of many equal misses asks.
    pub(super) has_cache: bool,
}

impl Build {
    /// Asks the program for the schemas of the files in which users would ask for it.
    pub(super) fn of(rc: &Path) -> Result<Self> {
        let has = |schema: &str, property: &str| {
            let output = Command::new(rc)
                .args(["schema", schema])
                .stdin(Stdio::null())
                .output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            match output.status.success() {
                true => Ok(text.contains(&format!("\"{property}\""))),
                false => Err(Failure::new(format!("`rc schema {schema}` failed"))),
            }
        };
        Ok(Self {
            has_seats: has("tenants", "concurrency")?,
            has_cache: has("service-catalog", "cache")?,
        })
    }
}

/// What is started.
pub(super) struct Plan {
    /// The name of its folders.
    pub(super) name: &'static str,
    pub(super) capacity: Capacity,
    pub(super) tenants: Tenants,
    pub(super) rules: Rules,
    /// The gateway keeps the service's answers.
    pub(super) gateway_caches: bool,
    pub(super) peers: Peers,
}

/// Who is compared with beside nginx with `limit_req`.
pub(super) struct Peers {
    /// nginx with `limit_conn` too.
    pub(super) limit_conn: bool,
    pub(super) haproxy: bool,
    /// How everybody is spoken to.
    pub(super) transport: Transport,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            limit_conn: false,
            haproxy: true,
            transport: Transport::Tcp,
        }
    }
}

/// A running service, the gateway and its peers.
pub(super) struct World {
    pub(super) platform: Platform,
    /// The one with `limit_req` alone, when there is one, is the first.
    pub(super) nginx: Vec<Nginx>,
    /// Kept because it ends when it is dropped.
    _haproxy: Option<Haproxy>,
    pub(super) service: Service,
    pub(super) proxies: Vec<Proxy>,
}

impl World {
    pub(super) fn start(rig: &Rig<'_>, plan: Plan) -> Result<Self> {
        let (options, cores) = (rig.options, rig.subject);
        let port = free_port()?;
        let folder = |program: &str| options.scratch.join(format!("{}-{program}", plan.name));
        let project = Project {
            workers: Some(1),
            services: Some(services(rig, &plan, port)?),
            tenants: plan.tenants.clone(),
            tls: plan.rules.tls.clone(),
            cores: Some(cores.clone()),
            ..Project::default()
        };
        // Once for the database, and then with the keys in it: the gateway's doors open when it has read them.
        Platform::start(&options.rc, &folder("rc"), &project)?.stop()?;
        plan.tenants.write_keys(&folder("rc"))?;
        let platform = Platform::start(&options.rc, &folder("rc"), &project)?;
        let proxy = |name, address, processes| Proxy {
            name,
            address,
            transport: plan.peers.transport.clone(),
            processes,
        };
        let mut proxies = vec![proxy(GATEWAY, platform.address, platform.processes()?)];
        let mut nginx = Vec::new();
        if let Some(program) = &options.nginx {
            let plain = Nginx::start(program, &folder("nginx"), port, &plan.rules, cores)?;
            proxies.push(proxy(NGINX, plain.address, plain.processes()?));
            nginx.push(plain);
        }
        if let (true, Some(program)) = (plan.peers.limit_conn, &options.nginx) {
            let rules = Rules {
                connections_per_key: Some(CONNECTIONS_PER_KEY),
                ..plan.rules.clone()
            };
            let limited = Nginx::start(program, &folder("nginx-limit-conn"), port, &rules, cores)?;
            proxies.push(proxy(NGINX_LIMIT_CONN, limited.address, limited.processes()?));
            nginx.push(limited);
        }
        let mut haproxy = None;
        if let (true, Some(program)) = (plan.peers.haproxy, &options.haproxy) {
            let rules = Rules {
                slots: (plan.capacity.slots != usize::MAX).then_some(plan.capacity.slots),
                ..plan.rules.clone()
            };
            let started = Haproxy::start(program, &folder("haproxy"), port, &rules, cores)?;
            proxies.push(proxy(HAPROXY, started.address, started.processes()?));
            haproxy = Some(started);
        }
        Ok(Self {
            platform,
            nginx,
            _haproxy: haproxy,
            service: Service::at(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            proxies,
        })
    }

    /// Where that proxy stands, when it takes part.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.proxies.iter().position(|proxy| proxy.name == name)
    }

    /// Ends everything.
    pub(super) fn stop(self) -> Result<()> {
        self.platform.stop()
    }
}

/// The service of the plan and the gateway, as the catalog has them.
fn services(rig: &Rig<'_>, plan: &Plan, port: u16) -> Result<String> {
    let mut args = vec![
        std::env::current_exe()?.display().to_string(),
        "backend".to_owned(),
        format!("--port={port}"),
        format!("--cores={}", rig.rest.list()),
        format!("--time-us={}", plan.capacity.time.as_micros()),
        format!("--priority={SERVICE_PRIORITY}"),
    ];
    if plan.capacity.slots != usize::MAX {
        args.push(format!("--slots={}", plan.capacity.slots));
    }
    let cache = if plan.gateway_caches {
        "\n        cache: {ttl: 10s}"
    } else {
        ""
    };
    Ok(format!(
        "  echo:\n    tier: gold\n    owner: bench\n    command: {}\n    port: {port}\n    routes:\n      \
         - path: {PATH}{cache}\n  gateway:\n    tier: gold\n    owner: bench\n",
        serde_json::to_string(&args)?,
    ))
}
