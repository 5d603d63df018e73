//! `gateway.yaml` against itself.

use std::sync::Arc;

use super::catalog::{check_routes_of_gateway, routes};
use super::{Document, Documents, check_not_zero, tenants};
use crate::source::{Diagnostic, SourceFile, quote};
use crate::yaml::Node;

pub(super) fn check(source: &Arc<SourceFile>, root: &Node, problems: &mut Vec<Diagnostic>) {
    let documents = Documents {
        project: Document::Absent,
        catalog: Document::Absent,
        tenants: Document::Read { source, root },
    };
    tenants::check(&documents, problems);
    check_not_zero(
        source,
        root.get("anonymous").and_then(|section| section.entry("timeout")),
        problems,
    );
    check_identity(source, root, problems);
    let services = root.get("services").map_or(&[][..], Node::entries);
    if services.is_empty() {
        let span = root.entry("services").map_or(root.span, |entry| entry.key_span);
        let first = super::first_line(source, span);
        problems.push(
            Diagnostic::warning("RC-CFG-018", source, first, "there is no service")
                .label("every request gets 404")
                .hint("add `services: {NAME: {endpoints: [http://127.0.0.1:9000], routes: [{path: /}]}}`"),
        );
    }
    for service in services {
        let name = quote(&service.key);
        if let Some(endpoints) = service.value.entry("endpoints")
            && endpoints.value.items().is_empty()
            && endpoints.value.value == crate::yaml::Value::List(Vec::new())
        {
            let message = format!("the service {name} has no endpoint");
            problems.push(
                Diagnostic::error("RC-CFG-008", source, endpoints.key_span, message)
                    .label("nobody would answer")
                    .hint("write where it answers, such as `endpoints: [http://127.0.0.1:9000]`"),
            );
        }
        if routes(service).is_empty() {
            let message = format!("no path leads to the service {name}");
            problems.push(
                Diagnostic::warning("RC-CFG-018", source, service.key_span, message)
                    .hint("add `routes: [{path: /}]`"),
            );
        }
    }
    check_routes_of_gateway(source, root, services, problems);
}

/// Tenants whom nobody can be.
fn check_identity(source: &Arc<SourceFile>, root: &Node, problems: &mut Vec<Diagnostic>) {
    let Some(tenants) = root
        .entry("tenants")
        .filter(|entry| !entry.value.entries().is_empty())
    else {
        return;
    };
    let identity = root.get("identity");
    let says = |key: &str| identity.and_then(|identity| identity.get(key)?.as_text());
    if says("keys").is_none() && says("header").is_none_or(|header| header == "never") {
        let message = "there are tenants, and no way to know whose a request is";
        problems.push(
            Diagnostic::warning("RC-CFG-018", source, tenants.key_span, message)
                .label("every request counts as anonymous")
                .hint("add `identity: {keys: gateway.keys}`; `rc gateway key TENANT --add` makes keys"),
        );
    }
}
