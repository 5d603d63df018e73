//! The gateway's peer: nginx with keep-alive to the service and `limit_req` keyed by the API key.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::platform::{LIMIT_RPS, free_port};
use crate::procs::{self, Cores, PEER_START_MAX, Process};
use crate::rig::Rules;

/// A running nginx: a master and one worker.
#[derive(Debug)]
pub(crate) struct Nginx {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Starts `program` in `folder` as a proxy to `backend`.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        backend: u16,
        rules: &Rules,
        cores: &Cores,
    ) -> Result<Self> {
        fs_err::create_dir_all(folder)?;
        let port = free_port()?;
        let file = folder.join("nginx.conf");
        fs_err::write(&file, configuration(folder, port, backend, rules))?;
        let log = folder.join("nginx.log");
        let (folder, file) = (folder.display().to_string(), file.display().to_string());
        let args = ["-p", &folder, "-c", &file, "-e", "stderr"];
        let process = Process::start(program, &args, cores, &log)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let nginx = Self { process, address };
        procs::wait_until(PEER_START_MAX, "nginx listens", || {
            Ok(std::net::TcpStream::connect(address).is_ok() && nginx.processes()?.len() >= 2)
        })
        .map_err(|failure| Failure::new(format!("{failure}\n{}", procs::tail(&log))))?;
        Ok(nginx)
    }

    /// The master and the worker; the cache's keepers too, where there is one.
    pub(crate) fn processes(&self) -> Result<BTreeSet<u32>> {
        procs::family(self.process.pid)
    }

    /// Has it read its configuration again.
    pub(crate) fn reload(&self) -> Result<()> {
        self.process.signal(rustix::process::Signal::HUP)
    }
}

/// What `nginx -v` says: `nginx/1.22.1`.
pub(crate) fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("-v").output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = said.trim().rsplit(' ').next().unwrap_or_default();
    Ok(version.to_owned())
}

/// One worker; connections on both sides live as long as the run; nothing is logged but errors. Every
/// request is counted against its key; tenants with a rate of their own are refused above it. What a rule asks
/// for is added, and nothing else differs.
fn configuration(folder: &Path, port: u16, backend: u16, rules: &Rules) -> String {
    let folder = folder.display();
    let (mut http, mut location) = (String::new(), String::new());
    // Requests with an empty key are not counted.
    for (number, limit) in rules.rates.iter().enumerate() {
        let rps = limit.rps;
        write!(
            http,
            "    map $http_authorization $limited{number} {{ default \"\"; \"Bearer {key}\" 1; }}
    limit_req_zone $limited{number} zone=limited{number}:1m rate={rps}r/s;\n",
            key = limit.key,
        )
        .expect("writing to a string cannot fail");
        writeln!(
            location,
            "            limit_req zone=limited{number} burst={rps} nodelay;"
        )
        .expect("writing to a string cannot fail");
    }
    if let Some(connections) = rules.connections_per_key {
        http.push_str("    limit_conn_zone $http_authorization zone=connections:10m;\n");
        writeln!(location, "            limit_conn connections {connections};")
            .expect("writing to a string cannot fail");
    }
    if rules.cache {
        writeln!(http, "    proxy_cache_path {folder}/cache keys_zone=answers:10m;")
            .expect("writing to a string cannot fail");
        location.push_str(
            "            proxy_cache answers;
            proxy_cache_key $http_authorization$request_uri;
            proxy_cache_valid 200 10s;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 60s;
            proxy_cache_lock_age 60s;\n",
        );
    }
    let (ssl, files) = match &rules.tls {
        Some(files) => (
            " ssl",
            format!(
                "        ssl_certificate {};\n        ssl_certificate_key {};\n",
                files.certificate.display(),
                files.key.display()
            ),
        ),
        None => ("", String::new()),
    };
    format!(
        "user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {folder}/nginx.pid;
error_log stderr error;
events {{
    worker_connections 8192;
}}
http {{
    access_log off;
    limit_req_log_level info;
    limit_conn_log_level info;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    map_hash_bucket_size 256;
    limit_req_zone $http_authorization zone=tenants:10m rate={LIMIT_RPS}r/s;
{http}    upstream service {{
        server 127.0.0.1:{backend};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port}{ssl};
{files}        location / {{
            limit_req zone=tenants burst=100000 nodelay;
{location}            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    )
}
