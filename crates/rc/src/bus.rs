//! A bus that is not the store's own log, by its URL.

use std::sync::Arc;

use rc_cluster::{NatsBus, NatsOptions};
use rc_events::Bus;
use rc_model::Clock;

use crate::fault::Fault;

/// The bus at `url`. A server that is away is no failure: whoever uses the bus asks it again.
///
/// # Errors
/// When the URL is not one of a bus.
pub(crate) fn open(url: &str, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Bus>, Fault> {
    let options = NatsOptions::parse(url).map_err(|error| {
        Fault::usage("RC-EVT-050", error.to_string())
            .hint("write `nats://host:port`, or `tls://host:port`; options follow after a `?`")
    })?;
    Ok(Arc::new(NatsBus::new(options, Arc::clone(clock))))
}
