//! JSON Schemas (draft 2020-12) of the files that users write, for editors and for our own checks.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::catalog::CatalogFile;
use crate::gateway::GatewayFile;
use crate::project::ProjectFile;
use crate::tenants::TenantsFile;

/// The names that [`schema`] knows: the files without `.yaml`.
pub const NAMES: [&str; 4] = ["royalcrown", "service-catalog", "tenants", "gateway"];

/// The schema of that name, with `$id` and `$schema`.
#[must_use]
pub fn schema(name: &str) -> Option<Value> {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let schema = match name {
        "royalcrown" => generator.into_root_schema_for::<ProjectFile>(),
        "service-catalog" => generator.into_root_schema_for::<CatalogFile>(),
        "tenants" => generator.into_root_schema_for::<TenantsFile>(),
        "gateway" => generator.into_root_schema_for::<GatewayFile>(),
        _ => return None,
    };
    let mut ordered = serde_json::Map::new();
    let Value::Object(mut members) = schema.to_value() else {
        return None;
    };
    for head in ["$schema", "title", "description"] {
        if let Some(member) = members.remove(head) {
            ordered.insert(head.to_owned(), member);
        }
        if head == "$schema" {
            ordered.insert("$id".to_owned(), format!("urn:royalcrown:schema:{name}").into());
        }
    }
    ordered.extend(members);
    Some(Value::Object(ordered))
}

#[cfg(test)]
mod tests;
