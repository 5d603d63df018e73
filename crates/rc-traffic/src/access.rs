//! One request's place in metrics and logs, from its head to its end.
//!
//! A [`Ticket`] is counted exactly once: when it is finished, or as "gone" when it is dropped because
//! the client left.

use std::rc::Rc;

use rc_model::TraceContext;
use rc_model::clock::{monotonic_ns, unix_ns};
use rc_model::project::AccessLog;
use rc_serve::Pseudonym;

use crate::answer::{hex32, put};
use crate::cache;
use crate::exemplar::Exemplar;
use crate::limit::Colour;
use crate::metrics::STATUS_CLIENT_GONE;
use crate::path::method_name;
use crate::request::Protocol;
use crate::span::{self, Ended};
use crate::versions::LaneIndex;
use crate::versions::counts::{Begun, Caller};
use crate::worker::{View, Worker};

/// One request under way.
pub(crate) struct Ticket {
    worker: Rc<Worker>,
    view: Rc<View>,
    start_ns: u64,
    /// The gateway's own span; services hang theirs below it.
    pub(crate) trace: TraceContext,
    /// The client's span, when it has one.
    parent: Option<u64>,
    /// Absent where no head was understood.
    pub(crate) protocol: Option<Protocol>,
    /// Who asks, as logs call them.
    pub(crate) user: Option<Pseudonym>,
    /// How long the service took to begin its answer.
    pub(crate) upstream_ns: Option<u64>,
    /// How often it was sent to the service after the first time.
    pub(crate) resends: u32,
    /// Why it failed: a refusal's code, or a word.
    pub(crate) error: Option<&'static str>,
    /// The client's own id for the request, when it gave a sane one. Else the trace id serves.
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) method: Option<usize>,
    pub(crate) route: Option<usize>,
    pub(crate) tenant: Option<usize>,
    /// How the request stands to its tenant's rate, where that is enforced; the anonymous limits show nothing to the
    /// outside.
    pub(crate) colour: Option<Colour>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Not counted: health checks and the like.
    pub(crate) silent: bool,
    /// How it met what its route keeps.
    pub(crate) cache: Option<cache::Status>,
    /// It changes something, and what is kept for its tenant ends with its answer.
    pub(crate) write: Option<cache::Write>,
    status: Option<u16>,
    /// Where it is counted, and how it goes to the service; of services with several versions only.
    counted: Option<(Begun, LaneIndex)>,
}

impl Ticket {
    pub(crate) fn new(worker: &Rc<Worker>, traceparent: Option<&[u8]>) -> Self {
        let parent = traceparent.and_then(TraceContext::parse);
        let trace = match parent {
            Some(parent) => parent.child(|| worker.random()),
            None => {
                let trace = TraceContext::start(|| worker.random());
                let tracing = worker.shared.config.telemetry.as_ref();
                trace.with_sampled(tracing.is_some_and(|tracing| tracing.samples(trace.trace_id())))
            }
        };
        Self {
            worker: Rc::clone(worker),
            view: worker.view(),
            start_ns: monotonic_ns(),
            trace,
            parent: parent.map(TraceContext::span_id),
            protocol: None,
            user: None,
            upstream_ns: None,
            resends: 0,
            error: None,
            request_id: None,
            method: None,
            route: None,
            tenant: None,
            colour: None,
            bytes_in: 0,
            bytes_out: 0,
            silent: false,
            cache: None,
            write: None,
            status: None,
            counted: None,
        }
    }

    /// A ticket for a fetch that this request begins and others may profit from: of the same tenant and trace, and
    /// counted by nobody. It does not take over how this one stands to the rate: some who wait for it may stand better.
    pub(crate) fn behind(&self) -> Self {
        let mut ticket = Self::new(&self.worker, None);
        ticket.view = Rc::clone(&self.view);
        ticket.trace = self.trace;
        ticket.user = self.user;
        ticket.method = self.method;
        ticket.route = self.route;
        ticket.tenant = self.tenant;
        ticket.silent = true;
        ticket
    }

    pub(crate) fn view(&self) -> &Rc<View> {
        &self.view
    }

    /// When its head was read.
    pub(crate) fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Appends the fields that every answer carries.
    pub(crate) fn write_fields(&self, out: &mut Vec<u8>) {
        self.write_request_id(out);
        if let (Some(tenant), Some(colour)) = (self.tenant, self.colour) {
            self.view.active.limits[tenant].fields.write(colour, out);
        }
        if let Some(status) = self.cache {
            status.write(out);
        }
    }

    pub(crate) fn write_request_id(&self, out: &mut Vec<u8>) {
        match &self.request_id {
            Some(id) => put(out, "x-request-id", id.as_bytes()),
            None => {
                out.extend_from_slice(b"x-request-id: ");
                hex32(out, self.trace.trace_id());
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Counts the request for the version that was chosen for it, from now on and whatever becomes of it.
    pub(crate) fn begin(&mut self, lane: LaneIndex) {
        let active = &self.view.active;
        let tenant = self
            .tenant
            .map(|tenant| active.snapshot.tenants[tenant].id.clone());
        let caller = tenant.map_or(Caller::Anonymous, Caller::Tenant);
        let counts = &self.worker.shared.counts;
        let begun = counts.begin(self.worker.index, active.lines[lane], caller, self.start_ns);
        self.counted = Some((begun, lane));
    }

    /// The version that was chosen, where there was a choice.
    fn version(&self) -> Option<&str> {
        let (_, lane) = self.counted?;
        let snapshot = &self.view.active.snapshot;
        Some(snapshot.upstreams[snapshot.lanes[lane].upstream].version())
    }

    /// The status that the client is about to be told, remembered for metrics and logs.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = Some(status);
        self.write = None;
    }

    fn log(&self, status: u16, took_ns: u64) {
        let wanted = match self.worker.shared.config.access_log {
            AccessLog::All => true,
            // 499: nobody was there to be refused.
            AccessLog::Errors => status >= 500 || matches!(status, 401 | 413 | 429 | 431),
            AccessLog::Off => false,
        };
        if !wanted {
            return;
        }
        let active = &self.view.active;
        let route = self
            .route
            .map_or("none", |route| active.snapshot.routes[route].path.as_str());
        let tenant = self
            .tenant
            .map(|tenant| active.snapshot.tenants[tenant].id.as_str());
        let trace_id = self.trace.trace_id_hex();
        tracing::info!(
            target: "access",
            request_id = self.request_id.as_deref().unwrap_or(&trace_id),
            trace_id,
            tenant,
            user = self.user.as_ref().map(Pseudonym::as_str),
            method = self.method.map_or("other", method_name),
            route,
            version = self.version(),
            status,
            duration_ms = took_ns as f64 / 1e6,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            "request"
        );
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.silent {
            return;
        }
        let status = self.status.unwrap_or(STATUS_CLIENT_GONE);
        let took_ns = monotonic_ns().saturating_sub(self.start_ns);
        let active = &self.view.active;
        let series = active.series(self.route, self.tenant);
        series.record(self.worker.index, self.method, status, took_ns);
        if let Some((begun, _)) = self.counted {
            let counts = &self.worker.shared.counts;
            counts.end(self.worker.index, begun, status, self.error, took_ns);
        }
        if let Some(tracing) = &self.worker.shared.config.telemetry
            && self.trace.sampled()
        {
            let ended_unix_ns = unix_ns();
            let exemplar = Exemplar {
                trace_id: self.trace.trace_id(),
                took_ns,
                at_ms: ended_unix_ns / 1_000_000,
            };
            series.exemplify(self.worker.index, exemplar);
            span::emit(
                &*tracing.sink,
                &active.snapshot,
                &Ended {
                    trace: self.trace,
                    parent: self.parent,
                    protocol: self.protocol,
                    method: self.method,
                    route: self.route,
                    tenant: self.tenant,
                    version: self.version(),
                    request_id: self.request_id.as_deref(),
                    upstream_ns: self.upstream_ns,
                    resends: self.resends,
                    error: self.error,
                    status,
                    took_ns,
                    ended_unix_ns,
                },
            );
        }
        self.log(status, took_ns);
    }
}
