//! From the project's file and the environment to a process's telemetry.

use std::time::Duration;

use rc_model::project::{ProjectFile, Traces};
use rc_model::{Layout, ServiceId};
use rc_observe::{Endpoint, EndpointError, Headers, OtlpConfig, Resource, RingConfig};
use rc_observe::{Telemetry, TelemetryConfig};
use rc_serve::Metrics;

use crate::cx::OtelEnv;

/// The shortest deadline of an exchange with a receiver.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// Longest time that the last spans may take, after everything else has ended.
pub(super) const FINISH_MAX: Duration = Duration::from_secs(3);

/// The part of it that they get when draining has taken all the time there was.
pub(super) const FINISH_MIN: Duration = Duration::from_millis(300);

/// Starts the telemetry of `service`; `None` when the project wants no traces.
pub(super) fn start(
    project: &ProjectFile,
    env: &OtelEnv,
    service: &ServiceId,
    layout: &Layout,
    metrics: &Metrics,
) -> Option<Telemetry> {
    if project.telemetry.traces == Traces::Off {
        return None;
    }
    // Telemetry that is set up wrongly is no reason not to serve.
    let otlp = otlp(project, env, layout).unwrap_or_else(|error| {
        tracing::error!(code = "RC-TEL-002", %error, "spans are kept here and not sent");
        None
    });
    if let Some(otlp) = &otlp {
        tracing::info!(endpoint = %otlp.endpoint, "spans are sent");
    }
    let folder = layout.project().file_name();
    let config = TelemetryConfig {
        resource: Resource {
            service: service.as_str().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            namespace: project
                .name
                .clone()
                .or_else(|| folder.map(|name| name.to_string_lossy().into_owned())),
            region: project.region.as_ref().map(|region| region.as_str().to_owned()),
        },
        ring: RingConfig {
            folder: layout.traces().join(service.as_str()),
            keep_bytes: project.telemetry.keep.bytes(),
        },
        otlp,
    };
    Some(Telemetry::start(config, metrics))
}

/// The receiver: the environment's address for traces, its base address, or the project's; none by default.
fn otlp(project: &ProjectFile, env: &OtelEnv, layout: &Layout) -> Result<Option<OtlpConfig>, EndpointError> {
    let section = project.telemetry.otlp.as_ref();
    let endpoint = match (&env.traces_endpoint, &env.endpoint, section) {
        (Some(exact), _, _) => Endpoint::exact(exact)?,
        (None, Some(base), _) => Endpoint::base(base)?,
        (None, None, Some(section)) => Endpoint::base(&section.endpoint)?,
        (None, None, None) => return Ok(None),
    };
    let headers = env.traces_headers.as_ref().or(env.headers.as_ref());
    let ca = env
        .certificate
        .as_ref()
        .or_else(|| section.and_then(|section| section.ca.as_ref()));
    let timeout = section.map_or(Duration::from_secs(10), |section| section.timeout.duration());
    Ok(Some(OtlpConfig {
        endpoint,
        headers: headers.map_or_else(|| Ok(Headers::default()), |text| Headers::parse(text))?,
        timeout: timeout.max(TIMEOUT_MIN),
        ca: ca.map(|path| layout.project().join(path)),
    }))
}

#[cfg(test)]
mod tests;
