//! Which process spans come from: OpenTelemetry's resource attributes.

use rc_model::telemetry::Value;

use crate::otlp;

/// The process that spans come from.
#[derive(Debug, Clone)]
pub struct Resource {
    /// `service.name`
    pub service: String,
    /// `service.version`
    pub version: String,
    /// `service.namespace`: the project.
    pub namespace: Option<String>,
    /// `cloud.region`, when the project says where it runs.
    pub region: Option<String>,
}

impl Resource {
    /// As a message `Resource`. `service.instance.id` is made here: it is another one in every process.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let instance = uuid::Uuid::now_v7().to_string();
        let pid = i64::from(std::process::id());
        let mut attributes = vec![
            ("service.name", Value::Str(&self.service)),
            ("service.version", Value::Str(&self.version)),
            ("service.instance.id", Value::Str(&instance)),
            ("process.pid", Value::Int(pid)),
            ("telemetry.sdk.name", Value::Str("royalcrown")),
            ("telemetry.sdk.language", Value::Str("rust")),
            ("telemetry.sdk.version", Value::Str(&self.version)),
        ];
        if let Some(namespace) = &self.namespace {
            attributes.push(("service.namespace", Value::Str(namespace)));
        }
        if let Some(region) = &self.region {
            attributes.push(("cloud.region", Value::Str(region)));
        }
        otlp::encode_resource(&attributes)
    }
}
