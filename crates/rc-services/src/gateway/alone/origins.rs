//! Where services answer, as addresses: names are looked up when the file is read, and again now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use rc_model::ServiceId;
use rc_model::gateway::{GatewayModel, Origin};
use rc_traffic::Endpoint;

/// Longest wait for one name.
const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// The endpoints of each service, in an order that does not depend on the answers'.
pub(super) type Resolved = BTreeMap<ServiceId, Vec<Endpoint>>;

/// Looks all names up.
///
/// # Errors
/// Which name has no address, and why.
pub(super) async fn resolve(model: &GatewayModel) -> Result<Resolved, String> {
    let mut resolved = Resolved::new();
    for (id, service) in &model.file.services {
        let mut found = BTreeSet::new();
        for origin in &service.endpoints {
            match literal(model, origin) {
                Ok(endpoint) => {
                    found.insert(endpoint);
                }
                Err((host, port)) => {
                    let addresses = lookup(host, port).await;
                    let addresses =
                        addresses.map_err(|why| format!("`{origin}` of the service `{id}`: {why}"))?;
                    found.extend(addresses.into_iter().map(Endpoint::Tcp));
                }
            }
        }
        resolved.insert(id.clone(), found.into_iter().collect());
    }
    Ok(resolved)
}

/// As [`resolve`] without asking anybody: a name stands for an address that nobody has.
pub(super) fn unresolved(model: &GatewayModel) -> Resolved {
    let services = model.file.services.iter();
    services
        .map(|(id, service)| {
            let endpoints = service.endpoints.iter().map(|origin| {
                let nobody = |(_, port)| Endpoint::Tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
                literal(model, origin).unwrap_or_else(nobody)
            });
            let endpoints: BTreeSet<_> = endpoints.collect();
            (id.clone(), endpoints.into_iter().collect())
        })
        .collect()
}

/// Whether anything has to be looked up.
pub(super) fn has_names(model: &GatewayModel) -> bool {
    let mut origins = model
        .file
        .services
        .values()
        .flat_map(|service| &service.endpoints);
    origins.any(|origin| literal(model, origin).is_err())
}

/// An endpoint that needs no look-up, or the name and port that do.
fn literal<'a>(model: &GatewayModel, origin: &'a Origin) -> Result<Endpoint, (&'a str, u16)> {
    match origin {
        Origin::Unix(path) => Ok(Endpoint::Unix(model.beside(path))),
        Origin::Http { host, port } => host
            .parse::<IpAddr>()
            .map(|ip| Endpoint::Tcp(SocketAddr::new(ip, *port)))
            .map_err(|_a_name| (host.as_str(), *port)),
    }
}

/// The addresses of a name. Of a name with both kinds the IPv4 ones: `localhost` has both nearly everywhere, and what
/// listens there nearly always has one.
async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let answer = tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host((host, port))).await;
    let answer = answer.map_err(|_elapsed| format!("no answer within {} s", LOOKUP_MAX.as_secs()))?;
    let all: Vec<SocketAddr> = answer.map_err(|error| error.to_string())?.collect();
    let first: Vec<SocketAddr> = all.iter().copied().filter(SocketAddr::is_ipv4).collect();
    let addresses = if first.is_empty() { all } else { first };
    if addresses.is_empty() {
        return Err("the name has no address".to_owned());
    }
    Ok(addresses)
}
