//! OpenAPI 3.1 descriptions, written by the code that serves them.
//!
//! Schemas come from the wire types; a service describes its paths beside its router and serves the same
//! description at `/openapi.json`. `cargo xtask gen` writes [`all`] to `apis/`, and a test fails when a
//! committed file is another one.

mod yaml;

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

pub use yaml::to_yaml;

/// The version of the specification that is followed.
pub const OPENAPI: &str = "3.1.0";

/// Where schemas live in a description.
const SCHEMAS: &str = "/components/schemas";

/// Every description: its file in `apis/` and its text.
#[must_use]
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        ("docs-api.yaml", to_yaml(&crate::docs::api::document())),
        ("ingest.yaml", to_yaml(&crate::ingest::api::document())),
    ]
}

/// A description that is being assembled.
pub struct Spec {
    info: Value,
    paths: Map<String, Value>,
    generator: SchemaGenerator,
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl Spec {
    /// An empty description.
    #[must_use]
    pub fn new(title: &str, description: &str) -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.meta_schema = None;
        });
        Self {
            info: json!({
                "title": title,
                "version": env!("CARGO_PKG_VERSION"),
                "description": description,
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            }),
            paths: Map::new(),
            generator: settings.into_generator(),
        }
    }

    /// A reference to the schema of `T`, which is put among the components.
    pub fn schema<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().to_value()
    }

    /// Adds a path with its operations, a Path Item Object.
    pub fn path(&mut self, path: &str, item: Value) {
        self.paths.insert(path.to_owned(), item);
    }

    /// A response with a JSON body of `T`.
    pub fn json<T: JsonSchema>(&mut self, description: &str) -> Value {
        let schema = self.schema::<T>();
        json!({
            "description": description,
            "content": { "application/json": { "schema": schema } },
        })
    }

    /// A response with problem details.
    pub fn problem(&mut self, description: &str) -> Value {
        let schema = self.schema::<rc_model::Problem>();
        json!({
            "description": description,
            "content": { "application/problem+json": { "schema": schema } },
        })
    }

    /// A problem that says when to come back.
    pub fn retry(&mut self, description: &str) -> Value {
        let mut response = self.problem(description);
        response["headers"] = json!({
            "Retry-After": {
                "description": "Seconds after which a retry can succeed.",
                "required": true,
                "schema": { "type": "integer", "minimum": 1 },
            },
        });
        response
    }

    /// The whole description.
    #[must_use]
    pub fn finish(mut self) -> Value {
        let mut schemas = self.generator.take_definitions(true);
        schemas.sort_keys();
        schemas.values_mut().for_each(without_null);
        json!({
            "openapi": OPENAPI,
            "info": self.info,
            "servers": [{ "url": "/", "description": "The gateway of a running platform." }],
            "security": [{ "key": [] }],
            "paths": self.paths,
            "components": {
                "securitySchemes": {
                    "key": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An API key of a tenant; `rc tenant key create` makes one.",
                    },
                },
                "schemas": schemas,
            },
        })
    }
}

/// On our wire an absent member is left out and never null; schemars describes an `Option` as either.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = &mut types[..] {
                    let only = only.take();
                    members.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(kinds)) = members.get_mut("anyOf") {
                kinds.retain(|kind| kind.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(only)] = &mut kinds[..] {
                    let only = std::mem::take(only);
                    members.shift_remove("anyOf");
                    members.extend(only);
                }
            }
            members.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
