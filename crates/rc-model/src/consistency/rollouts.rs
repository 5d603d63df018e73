//! Versions in `service-catalog.yaml` against the services, and rollouts in `tenants.yaml` against both.

use std::collections::HashMap;
use std::sync::Arc;

use super::Documents;
use crate::catalog::Builtin;
use crate::check::suggest::{closest, one_of_or};
use crate::source::{Diagnostic, SourceFile, quote};
use crate::split::STABLE;
use crate::yaml::{Entry, Node};

pub(super) fn check(documents: &Documents<'_>, problems: &mut Vec<Diagnostic>) {
    let services = documents.catalog.entry("services");
    if let Some((source, services)) = services {
        for service in services.value.entries() {
            check_versions(source, service, services.value.entries(), problems);
        }
    }
    let Some((source, rollouts)) = documents.tenants.entry("rollouts") else {
        return;
    };
    let mut scopes = HashMap::new();
    for rollout in rollouts.value.entries() {
        check_scope(source, rollout, &mut scopes, problems);
        if let Some((_, tenants)) = documents.tenants.entry("tenants") {
            for key in ["pin", "percent_of"] {
                let own = rollout.value.get(key).map_or(&[][..], Node::entries);
                for tenant in own.iter().filter(|own| tenants.value.entry(&own.key).is_none()) {
                    let names = tenants.value.entries().iter().map(|entry| entry.key.as_str());
                    problems.push(unknown(source, tenant, "tenant", &tenant.key, names));
                }
            }
        }
        // Without a catalog there are the built-in services, and none has versions.
        if !documents.catalog.is_broken() {
            let services = services.map_or(&[][..], |(_, services)| services.value.entries());
            check_target(source, rollout, services, problems);
        }
    }
}

/// Each version names another service of the catalog.
fn check_versions(
    source: &Arc<SourceFile>,
    service: &Entry,
    services: &[Entry],
    problems: &mut Vec<Diagnostic>,
) {
    let Some(versions) = service.value.entry("versions") else {
        return;
    };
    for version in versions.value.entries() {
        if version.key == STABLE {
            let message = format!("the version {} is the service itself", quote(STABLE));
            problems.push(
                Diagnostic::error("RC-CFG-017", source, version.key_span, message)
                    .hint("give the other version another name, such as `v2`"),
            );
        }
        let Some(name) = version.value.as_text() else {
            continue;
        };
        if name == service.key
            || [Builtin::Gateway, Builtin::ProvLedger]
                .map(Builtin::name)
                .contains(&name)
        {
            let message = format!("{} cannot be a version of {}", quote(name), quote(&service.key));
            problems.push(
                Diagnostic::error("RC-CFG-017", source, version.value.span, message)
                    .hint("name the service that runs the other version; it needs a `command` and no routes"),
            );
        } else if services.iter().all(|other| other.key != name) {
            let names = services.iter().map(|other| other.key.as_str());
            problems.push(unknown(
                source,
                version,
                "service",
                name,
                names.filter(|other| *other != service.key),
            ));
        }
    }
}

/// No two rollouts divide the same requests.
fn check_scope<'a>(
    source: &Arc<SourceFile>,
    rollout: &'a Entry,
    scopes: &mut HashMap<(&'a str, Option<&'a str>), &'a Entry>,
    problems: &mut Vec<Diagnostic>,
) {
    let Some(service) = rollout.value.get("service").and_then(Node::as_text) else {
        return;
    };
    let route = rollout.value.get("route").and_then(Node::as_text);
    if let Some(first) = scopes.insert((service, route), rollout) {
        let message = format!(
            "{} and {} divide the same requests of {}",
            quote(&first.key),
            quote(&rollout.key),
            quote(service)
        );
        problems.push(
            Diagnostic::error("RC-CFG-017", source, rollout.key_span, message)
                .hint("remove one of them, or give it a `route` of its own")
                .note(source, first.key_span, "the other one"),
        );
    }
}

/// The service has the versions that the rollout names.
fn check_target(
    source: &Arc<SourceFile>,
    rollout: &Entry,
    services: &[Entry],
    problems: &mut Vec<Diagnostic>,
) {
    let Some(service) = rollout.value.entry("service") else {
        return;
    };
    let Some(name) = service.value.as_text() else {
        return;
    };
    let Some(found) = services.iter().find(|found| found.key == name) else {
        let names = services.iter().map(|service| service.key.as_str());
        problems.push(unknown(source, service, "service", name, names));
        return;
    };
    let versions = found.value.get("versions").map_or(&[][..], Node::entries);
    let names = || versions.iter().map(|version| version.key.as_str());
    let mut named = Vec::new();
    if let Some(to) = rollout.value.entry("to") {
        named.push((to, false));
    }
    let pins = rollout.value.get("pin").map_or(&[][..], Node::entries);
    named.extend(pins.iter().map(|pin| (pin, true)));
    for (entry, stable) in named {
        let Some(version) = entry.value.as_text() else {
            continue;
        };
        if !(stable && version == STABLE) && names().all(|name| name != version) {
            problems.push(unknown(source, entry, "version", version, names()));
        }
    }
}

/// A name, the value of `entry` or its key, that stands for nothing.
fn unknown<'a>(
    source: &Arc<SourceFile>,
    entry: &Entry,
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a str>,
) -> Diagnostic {
    let names: Vec<&str> = names.collect();
    let hint = match closest(name, names.iter().copied()) {
        Some(guess) => format!("did you mean `{guess}`?"),
        None if what == "version" => one_of_or(
            &names,
            "write it under `versions:` of the service in service-catalog.yaml",
        ),
        None => one_of_or(&names, &format!("add the {what}")),
    };
    let span = if entry.key == name {
        entry.key_span
    } else {
        entry.value.span
    };
    let message = format!("there is no {what} {}", quote(name));
    Diagnostic::error("RC-CFG-011", source, span, message).hint(hint)
}

#[cfg(test)]
mod tests;
