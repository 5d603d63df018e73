//! `service-catalog.yaml` against itself, the tiers and the project.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::tenants::check_tier;
use super::{Document, Documents, check_ascending, check_not_zero, first_line, is_zero, tiers};
use crate::catalog::{Builtin, Method};
use crate::check::format;
use crate::check::suggest::{closest, one_of_or};
use crate::source::{ByteSpan, Diagnostic, SourceFile, quote};
use crate::yaml::{Entry, Node, Value};

/// The team that owns the built-in services when the catalog does not list any.
const DEFAULT_OWNER: &str = "platform";

pub(super) fn check(documents: &Documents<'_>, problems: &mut Vec<Diagnostic>) {
    let Document::Read { source, root } = documents.catalog else {
        return;
    };
    let Some(services) = root.entry("services") else {
        check_default_owner(source, root, problems);
        return;
    };
    if matches!(&services.value.value, Value::Map(entries) if entries.is_empty()) {
        problems.push(
            Diagnostic::warning("RC-CFG-018", source, services.key_span, "there is no service")
                .label("nothing would run")
                .hint("remove the key to get `gateway`, `ingest`, `docs-api` and `prov-ledger`"),
        );
    }
    let services = services.value.entries();
    let catalog = Catalog {
        source,
        root,
        services,
        has_builtins: true,
    };
    let tiers = tiers(documents);
    for service in services {
        if let (Some(tiers), Some(tier)) = (&tiers, service.value.get("tier")) {
            let owner = || format!("the service {}", quote(&service.key));
            check_tier(source, tier, owner, tiers, problems);
        }
        catalog.check_owner(service, problems);
        catalog.check_needs(service, problems);
        catalog.check_program(service, problems);
        catalog.check_forwarding(service, problems);
    }
    catalog.check_circles(problems);
    catalog.check_routes(problems);
    catalog.check_ports(documents, problems);
}

/// `owners:` without `services:` leaves the built-in services to a team that is not in it.
fn check_default_owner(source: &Arc<SourceFile>, root: &Node, problems: &mut Vec<Diagnostic>) {
    let Some(owners) = root
        .entry("owners")
        .filter(|owners| !owners.value.entries().is_empty())
    else {
        return;
    };
    if owners.value.entry(DEFAULT_OWNER).is_none() {
        problems.push(
            Diagnostic::error(
                "RC-CFG-011",
                source,
                owners.key_span,
                format!("the built-in services belong to `{DEFAULT_OWNER}`, which is not an owner here"),
            )
            .hint(format!(
                "add `{DEFAULT_OWNER}:`, or write down `services:` with their owners"
            )),
        );
    }
}

/// What the services of a `gateway.yaml` say about routes; there no name stands for one of ours.
pub(super) fn check_routes_of_gateway(
    source: &Arc<SourceFile>,
    root: &Node,
    services: &[Entry],
    problems: &mut Vec<Diagnostic>,
) {
    let catalog = Catalog {
        source,
        root,
        services,
        has_builtins: false,
    };
    for service in services {
        catalog.check_forwarding(service, problems);
    }
    catalog.check_collisions(problems);
}

pub(super) fn routes(service: &Entry) -> &[Node] {
    service.value.get("routes").map_or(&[], Node::items)
}

/// Whether the service is one of ours: its name is, and it has no command.
fn builtin(service: &Entry) -> Option<Builtin> {
    match service.value.get("command") {
        Some(command) if command.value != Value::List(Vec::new()) => None,
        _ => Builtin::from_name(&service.key),
    }
}

struct Catalog<'a> {
    source: &'a Arc<SourceFile>,
    root: &'a Node,
    services: &'a [Entry],
    /// Whether names of ours stand for our own services.
    has_builtins: bool,
}

impl<'a> Catalog<'a> {
    fn names(&self) -> impl Iterator<Item = &'a str> {
        self.services.iter().map(|service| service.key.as_str())
    }

    fn error(&self, code: &'static str, span: ByteSpan, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.source, first_line(self.source, span), message)
    }

    fn check_owner(&self, service: &Entry, problems: &mut Vec<Diagnostic>) {
        let Some(owners) = self
            .root
            .get("owners")
            .filter(|owners| !owners.entries().is_empty())
        else {
            return;
        };
        let Some(owner) = service.value.get("owner") else {
            return;
        };
        let Some(name) = owner.as_text().filter(|name| crate::id::check_name(name).is_ok()) else {
            return;
        };
        let names: Vec<&str> = owners.entries().iter().map(|entry| entry.key.as_str()).collect();
        if names.contains(&name) {
            return;
        }
        let hint = match closest(name, names.iter().copied()) {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => one_of_or(&names, "add it under `owners:`"),
        };
        let message = format!(
            "the service {} belongs to {}, which is not an owner",
            quote(&service.key),
            quote(name)
        );
        problems.push(
            self.error("RC-CFG-011", owner.span, message)
                .label("no owner of this name")
                .hint(hint),
        );
    }

    /// Only answers to GET are kept, and for some time.
    fn check_cache(&self, route: &Node, problems: &mut Vec<Diagnostic>) {
        let Some(cache) = route.entry("cache") else {
            return;
        };
        if let Some(ttl) = cache.value.get("ttl").filter(|ttl| is_zero(ttl)) {
            problems.push(
                self.error("RC-CFG-008", ttl.span, "`ttl` must be longer than nothing")
                    .label("nothing would be kept")
                    .hint("remove `cache`, or write a time such as `10s`"),
            );
        }
        let methods = route.get("methods").map_or(&[][..], Node::items);
        let names: Vec<&str> = methods.iter().filter_map(Node::as_text).collect();
        if !names.is_empty() && !names.contains(&"GET") {
            let message = "`cache` keeps answers to GET, which this route does not carry";
            problems.push(
                self.error("RC-CFG-017", cache.key_span, message)
                    .hint("add `GET` to its `methods`, or remove `cache`"),
            );
        }
    }

    fn check_needs(&self, service: &Entry, problems: &mut Vec<Diagnostic>) {
        for need in service.value.get("needs").map_or(&[][..], Node::items) {
            let Some(name) = need.as_text().filter(|name| crate::id::check_name(name).is_ok()) else {
                continue;
            };
            if self.names().any(|service| service == name) {
                continue;
            }
            let others: Vec<&str> = self.names().filter(|other| *other != service.key).collect();
            let hint = match closest(name, others.iter().copied()) {
                Some(guess) => format!("did you mean `{guess}`?"),
                None => one_of_or(&others, "add the service"),
            };
            let message = format!(
                "the service {} needs {}, which does not exist",
                quote(&service.key),
                quote(name)
            );
            problems.push(
                self.error("RC-CFG-011", need.span, message)
                    .label("no service of this name")
                    .hint(hint),
            );
        }
    }

    /// What a service says about how requests are forwarded to it.
    fn check_forwarding(&self, service: &Entry, problems: &mut Vec<Diagnostic>) {
        for guard in ["ejection", "breaker"] {
            let guard = service.value.get("health").and_then(|health| health.get(guard));
            check_not_zero(self.source, guard.and_then(|guard| guard.entry("time")), problems);
        }
        for route in routes(service) {
            check_not_zero(self.source, route.entry("timeout"), problems);
            let bounds = route.entry("concurrency");
            check_ascending(self.source, bounds, &["min", "initial", "max"], problems);
            self.check_cache(route, problems);
        }
    }

    /// What runs: a command, or one of our own services, which take none of a command's settings.
    fn check_program(&self, service: &Entry, problems: &mut Vec<Diagnostic>) {
        let command = service.value.entry("command");
        let words = command.map_or(&[][..], |command| command.value.items());
        for key in ["command", "build"] {
            let first = service.value.get(key).and_then(|words| words.items().first());
            if let Some(first) = first.filter(|first| first.as_text() == Some("")) {
                problems.push(
                    self.error(
                        "RC-CFG-008",
                        first.span,
                        format!("the program of `{key}` must not be empty"),
                    )
                    .hint("the first item is the program, the others are its arguments"),
                );
            }
        }
        if let Some(env) = service.value.entry("env") {
            self.check_env(env, problems);
        }
        if words.is_empty() && command.is_none_or(|command| matches!(command.value.value, Value::List(_))) {
            match Builtin::from_name(&service.key) {
                Some(_) => self.check_builtin(service, problems),
                // A malformed name has been reported; it may well be meant for one of ours.
                None if crate::id::check_name(&service.key).is_err() => {}
                None => self.missing_command(service, problems),
            }
        }
    }

    fn check_env(&self, env: &Entry, problems: &mut Vec<Diagnostic>) {
        for variable in env.value.entries() {
            let name = variable.key.as_str();
            let message = if name == "PORT" {
                "`PORT` is set for the service already"
            } else if name.is_empty() || name.contains('=') {
                "a variable's name must not be empty or contain `=`"
            } else {
                continue;
            };
            let hint = match name {
                "PORT" => "remove it, and write `port:` for a port of your choice",
                _ => "write `NAME: value`",
            };
            problems.push(self.error("RC-CFG-017", variable.key_span, message).hint(hint));
        }
    }

    fn missing_command(&self, service: &Entry, problems: &mut Vec<Diagnostic>) {
        let own = Builtin::ALL.map(Builtin::name);
        let absent = own
            .into_iter()
            .filter(|name| self.names().all(|service| service != *name));
        let hint = match closest(&service.key, absent) {
            Some(guess) => format!("did you mean `{guess}`? Else add `command: [PROGRAM, ARGUMENT]`"),
            None => "add `command: [PROGRAM, ARGUMENT]`; it must listen on `127.0.0.1:$PORT`".to_owned(),
        };
        problems.push(
            self.error(
                "RC-CFG-014",
                service.key_span,
                format!("the service {} has no `command`", quote(&service.key)),
            )
            .label("not one of Royalcrown's own services")
            .hint(hint),
        );
    }

    fn check_builtin(&self, service: &Entry, problems: &mut Vec<Diagnostic>) {
        for key in ["build", "port", "env", "ready"] {
            let Some(entry) = service
                .value
                .entry(key)
                .filter(|entry| entry.value.value != Value::Null)
            else {
                continue;
            };
            let hint = match (key, service.key.as_str()) {
                ("port", "gateway") => "its address is `gateway.listen` in royalcrown.yaml",
                _ => "remove it; it is for a service with a `command`",
            };
            let message = format!(
                "`{key}` has no effect on {}, one of Royalcrown's own services",
                quote(&service.key)
            );
            problems.push(
                self.error("RC-CFG-018", entry.key_span, message)
                    .demoted()
                    .hint(hint),
            );
        }
        let gateway = Builtin::from_name(&service.key) == Some(Builtin::Gateway);
        if let (true, Some(entry)) = (
            gateway && !routes(service).is_empty(),
            service.value.entry("routes"),
        ) {
            problems.push(
                self.error(
                    "RC-CFG-017",
                    entry.key_span,
                    "routes that lead to the gateway itself",
                )
                .label("requests would go round in a circle")
                .hint("write each route at the service that answers it"),
            );
        }
    }

    /// Reports each circle of `needs` once, at the need that closes it.
    fn check_circles(&self, problems: &mut Vec<Diagnostic>) {
        let needs: HashMap<&str, Vec<(&str, ByteSpan)>> = self
            .services
            .iter()
            .map(|service| {
                let needs = service.value.get("needs").map_or(&[][..], Node::items);
                let needs = needs.iter().filter_map(|need| Some((need.as_text()?, need.span)));
                (service.key.as_str(), needs.collect())
            })
            .collect();
        let mut done = HashSet::new();
        for start in self.names() {
            // Depth first without recursion: the path, and for each service on it the next need to follow.
            let mut path = vec![(start, 0)];
            while let Some((name, next)) = path.last_mut() {
                let step = needs.get(name).and_then(|needs| needs.get(*next));
                let Some((need, span)) = step.filter(|_| !done.contains(name)) else {
                    done.insert(*name);
                    path.pop();
                    continue;
                };
                *next += 1;
                if let Some(from) = path.iter().position(|(name, _)| name == need) {
                    let circle: Vec<&str> = path[from..]
                        .iter()
                        .map(|(name, _)| *name)
                        .chain([*need])
                        .collect();
                    problems.push(self.circle(&circle, *span));
                } else {
                    path.push((need, 0));
                }
            }
        }
    }

    fn circle(&self, circle: &[&str], span: ByteSpan) -> Diagnostic {
        if let [name, _] = circle {
            return self
                .error(
                    "RC-CFG-012",
                    span,
                    format!("the service {} needs itself", quote(name)),
                )
                .label("it could never start")
                .hint("remove it from its own `needs`");
        }
        let names: Vec<String> = circle.iter().map(|name| quote(name)).collect();
        let message = format!("services need each other in a circle: {}", names.join(" → "));
        self.error("RC-CFG-012", span, message)
            .label("none of them could start")
            .hint("remove one of these needs; `needs` is only about the order of the start")
    }

    fn check_routes(&self, problems: &mut Vec<Diagnostic>) {
        let gateway = self.names().any(|name| name == Builtin::Gateway.name());
        for service in self.services {
            if let (false, Some(first)) = (gateway, routes(service).first()) {
                problems.push(
                    self.error(
                        "RC-CFG-016",
                        first.span,
                        format!("{} has routes, but there is no `gateway`", quote(&service.key)),
                    )
                    .label("nothing would lead here")
                    .hint("add the service `gateway`, or remove the routes"),
                );
            }
        }
        self.check_collisions(problems);
    }

    fn check_collisions(&self, problems: &mut Vec<Diagnostic>) {
        let mut taken: BTreeMap<(String, &str), Claim<'_>> = BTreeMap::new();
        for service in self.services {
            for claim in self.claims(service) {
                // One report a route, not one a method.
                let methods = claim.methods.iter();
                let other = methods
                    .filter_map(|method| taken.get(&(claim.path.clone(), *method)))
                    .next();
                if let Some(other) = other {
                    problems.push(self.collision(&claim, other));
                    continue;
                }
                for method in &claim.methods {
                    taken.insert((claim.path.clone(), *method), claim.clone());
                }
            }
        }
    }

    fn collision(&self, claim: &Claim<'_>, other: &Claim<'_>) -> Diagnostic {
        let both: Vec<&str> = claim
            .methods
            .iter()
            .copied()
            .filter(|method| other.methods.contains(method))
            .collect();
        let methods = if both.len() == ALL_METHODS.len() {
            "all methods".to_owned()
        } else {
            both.join(", ")
        };
        let message = if claim.service == other.service {
            format!("{} is there twice for {}", quote(&claim.path), methods)
        } else {
            format!(
                "{} and {} both claim {} for {}",
                quote(other.service),
                quote(claim.service),
                quote(&claim.path),
                methods
            )
        };
        self.error("RC-CFG-013", claim.span, message)
            .note(
                self.source,
                first_line(self.source, other.span),
                "claimed here first",
            )
            .hint("give one of them another path, or `methods:` that do not overlap")
    }

    /// What the service asks the gateway for; what is malformed asks for nothing.
    fn claims(&self, service: &'a Entry) -> Vec<Claim<'a>> {
        let own = routes(service);
        if let (true, Some(builtin)) = (own.is_empty() && self.has_builtins, builtin(service)) {
            return builtin
                .routes()
                .into_iter()
                .map(|route| Claim {
                    service: &service.key,
                    span: service.key_span,
                    methods: route.methods.iter().map(|method| method.as_str()).collect(),
                    path: route.path,
                })
                .collect();
        }
        own.iter()
            .filter_map(|route| {
                let path = route.get("path")?;
                let text = path
                    .as_text()
                    .filter(|text| format::check("url-path", text).is_ok())?;
                let named = route.get("methods").map_or(&[][..], Node::items);
                let named: Vec<&str> = named.iter().filter_map(Node::as_text).collect();
                let methods = if named.is_empty() {
                    ALL_METHODS.to_vec()
                } else {
                    named
                };
                Some(Claim {
                    service: &service.key,
                    span: path.span,
                    path: text.to_owned(),
                    methods,
                })
            })
            .collect()
    }

    fn check_ports(&self, documents: &Documents<'_>, problems: &mut Vec<Diagnostic>) {
        let mut taken: HashMap<i128, (&Arc<SourceFile>, ByteSpan, String)> = HashMap::new();
        if let Some((source, listen)) = documents
            .project
            .entry("gateway")
            .and_then(|(source, gateway)| Some((source, gateway.value.get("listen")?)))
        {
            let address = listen.as_text().and_then(|text| text.parse::<SocketAddr>().ok());
            if let Some(address) = address.filter(|address| address.port() != 0) {
                taken.insert(
                    i128::from(address.port()),
                    (source, listen.span, "the gateway".to_owned()),
                );
            }
        }
        for service in self.services.iter().filter(|service| builtin(service).is_none()) {
            let Some(port) = service.value.get("port") else {
                continue;
            };
            let Some(number) = port.as_int() else { continue };
            if let Some((source, span, other)) = taken.get(&number) {
                problems.push(
                    self.error(
                        "RC-CFG-015",
                        port.span,
                        format!("{} and {other} use the same port {number}", quote(&service.key)),
                    )
                    .note(source, *span, "used here first")
                    .hint("remove `port:` and a free one is taken, or choose another"),
                );
                continue;
            }
            taken.insert(number, (self.source, port.span, quote(&service.key)));
        }
    }
}

/// A route that a service asks for.
#[derive(Clone)]
struct Claim<'a> {
    service: &'a str,
    path: String,
    methods: Vec<&'a str>,
    span: ByteSpan,
}

/// What a route without `methods` covers.
const ALL_METHODS: [&str; 7] = {
    let all = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Patch,
        Method::Delete,
        Method::Options,
    ];
    let mut names = [""; 7];
    let mut at = 0;
    while at < all.len() {
        names[at] = all[at].as_str();
        at += 1;
    }
    names
};
