//! The gateway's peer: nginx with keep-alive to the service and `limit_req` keyed by the API key.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::platform::{LIMIT_RPS, free_port};
use crate::procs::{self, Cores, Process};

/// Longest start.
const START_MAX: Duration = Duration::from_secs(10);

/// A running nginx: a master and one worker.
#[derive(Debug)]
pub(crate) struct Nginx {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Starts `program` in `folder` as a proxy to `backend`.
    pub(crate) fn start(program: &Path, folder: &Path, backend: u16, cores: &Cores) -> Result<Self> {
        fs_err::create_dir_all(folder)?;
        let port = free_port()?;
        let file = folder.join("nginx.conf");
        fs_err::write(&file, configuration(folder, port, backend))?;
        let log = folder.join("nginx.log");
        let (folder, file) = (folder.display().to_string(), file.display().to_string());
        let args = ["-p", &folder, "-c", &file, "-e", "stderr"];
        let process = Process::start(program, &args, cores, &log)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let nginx = Self { process, address };
        procs::wait_until(START_MAX, "nginx listens", || {
            Ok(std::net::TcpStream::connect(address).is_ok() && nginx.processes()?.len() == 2)
        })
        .map_err(|failure| Failure::new(format!("{failure}\n{}", procs::tail(&log))))?;
        Ok(nginx)
    }

    /// The master and the worker.
    pub(crate) fn processes(&self) -> Result<BTreeSet<u32>> {
        procs::family(self.process.pid)
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
/// request is counted against its key, and passes.
fn configuration(folder: &Path, port: u16, backend: u16) -> String {
    let folder = folder.display();
    format!(
        "user root;
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{
    worker_connections 1024;
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    limit_req_zone $http_authorization zone=tenants:10m rate={LIMIT_RPS}r/s;
    upstream service {{
        server 127.0.0.1:{backend};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            limit_req zone=tenants burst=100000 nodelay;
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    )
}
