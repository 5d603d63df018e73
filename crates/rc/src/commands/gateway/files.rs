//! What a gateway is told, whether by one file or by a project's: each value with the place where it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rc_model::catalog::{Builtin, CatalogFile, Route};
use rc_model::gateway::{AnonymousSection, GatewayModel};
use rc_model::resilience::Health;
use rc_model::source::SourceFile;
use rc_model::tenants::TenantsFile;
use rc_model::workspace::{CATALOG_FILE, TENANTS_FILE};
use rc_model::yaml::{self, Entry, Node};
use rc_model::{Digest, Model, ServiceId, Sources};
use serde_json::Value;

use crate::cx::Cx;
use crate::fault::Fault;

/// Everything that one gateway is told.
pub(super) struct Told {
    pub(super) tenants: TenantsFile,
    /// Where tiers and tenants are written.
    pub(super) tenants_doc: Doc,
    pub(super) routes: Vec<(ServiceId, Route)>,
    /// Where services are written.
    pub(super) services_doc: Doc,
    pub(super) anonymous: AnonymousSection,
    /// When services are left alone.
    pub(super) health: BTreeMap<ServiceId, Health>,
    /// What is left: places of services, and settings. By name.
    pub(super) services: Vec<(ServiceId, Value)>,
    pub(super) settings: Value,
    /// As the running gateway would call it.
    pub(super) digest: Digest,
    /// Where a gateway that runs with it is asked.
    pub(super) socket: PathBuf,
}

/// A text with its tree; nothing where there is no file.
#[derive(Default)]
pub(super) struct Doc(Option<(Arc<SourceFile>, Node)>);

impl Doc {
    fn of(source: Option<&Arc<SourceFile>>) -> Self {
        let source = source.map(Arc::clone);
        // The model was read from the same text, so that it has a tree.
        Self(source.and_then(|source| yaml::parse(&source).ok().map(|root| (source, root))))
    }

    /// The node at the end of a path of keys.
    pub(super) fn node(&self, path: &[&str]) -> Option<&Node> {
        let (_, root) = self.0.as_ref()?;
        path.iter().try_fold(root, |node, key| node.get(key))
    }

    /// Where the key at the end of `path` is written: `tenants.yaml:12`.
    pub(super) fn place(&self, path: &[&str]) -> Option<String> {
        let (last, before) = path.split_last()?;
        let entry = self.node(before)?.entry(last)?;
        self.of_entry(entry)
    }

    /// Where `entry` of this text is written.
    pub(super) fn of_entry(&self, entry: &Entry) -> Option<String> {
        let (source, _) = self.0.as_ref()?;
        let line = source.position(entry.key_span.start).line;
        Some(format!("{}:{line}", source.name()))
    }

    /// Where `node` of this text begins.
    pub(super) fn of_node(&self, node: &Node) -> Option<String> {
        let (source, _) = self.0.as_ref()?;
        Some(format!(
            "{}:{}",
            source.name(),
            source.position(node.span.start).line
        ))
    }
}

impl Told {
    /// The file of a gateway on its own, or the project's files without one.
    pub(super) fn read(cx: &Cx, config: Option<&std::path::Path>) -> Result<Self, Fault> {
        match config {
            Some(config) => Ok(Self::alone(super::model(cx, config)?)),
            None => {
                let model = cx.model()?;
                Ok(Self::project(&Sources::from_dir(&cx.project_dir()), model, cx))
            }
        }
    }

    pub(super) fn alone(model: GatewayModel) -> Self {
        let services = &model.file.services;
        let routes = services.iter().flat_map(|(id, service)| {
            let open = model.file.identity.is_none();
            service.routes.iter().cloned().map(move |mut route| {
                route.public |= open;
                (id.clone(), route)
            })
        });
        let places = services
            .iter()
            .map(|(id, service)| (id.clone(), json(&service.endpoints)));
        let health = services.iter().map(|(id, service)| (id.clone(), service.health));
        let doc = || Doc::of(Some(&model.source));
        let mut settings = json(&model.file);
        if let Some(settings) = settings.as_object_mut() {
            for told_elsewhere in ["services", "tiers", "tenants", "anonymous"] {
                settings.remove(told_elsewhere);
            }
        }
        Self {
            routes: routes.collect(),
            services: places.collect(),
            health: health.collect(),
            tenants_doc: doc(),
            services_doc: doc(),
            anonymous: model.file.anonymous.clone(),
            settings,
            digest: model.digest,
            socket: model.admin_socket(),
            tenants: model.tenants,
        }
    }

    pub(super) fn project(sources: &Sources, model: Model, cx: &Cx) -> Self {
        let all = model.catalog.services.iter();
        let health = all.clone().map(|(id, service)| (id.clone(), service.health));
        let services = all.map(|(id, service)| {
            let place = match service.builtin(id) {
                Some(_) => Value::from("one of ours"),
                None => serde_json::json!({ "command": service.command, "port": service.port }),
            };
            (id.clone(), place)
        });
        Self {
            routes: routes(&model.catalog),
            services: services.collect(),
            health: health.collect(),
            tenants_doc: Doc::of(sources.source(TENANTS_FILE)),
            services_doc: Doc::of(sources.source(CATALOG_FILE)),
            anonymous: AnonymousSection::default(),
            settings: json(&model.project.gateway),
            digest: model.digest,
            socket: cx.layout().socket(&Builtin::Gateway.id()),
            tenants: model.tenants,
        }
    }
}

/// All routes of a project, in the order in which the gateway has them.
pub(super) fn routes(catalog: &CatalogFile) -> Vec<(ServiceId, Route)> {
    let services = catalog.services.iter();
    services
        .flat_map(|(id, service)| {
            let routes = service.effective_routes(id);
            routes.into_iter().map(move |route| (id.clone(), route))
        })
        .collect()
}

/// As JSON; the models of files have string keys only.
pub(super) fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Every value of `value` with its path: `rps.rate`, `2000/s`. A list is one value.
pub(super) fn leaves(value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect("", value, &mut found);
    found
}

fn collect(path: &str, value: &Value, found: &mut Vec<(String, String)>) {
    let text = match value {
        Value::Null => return,
        Value::Object(members) => {
            for (key, member) in members {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                collect(&path, member, found);
            }
            return;
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect();
            items.join(", ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    found.push((path.to_owned(), text));
}
