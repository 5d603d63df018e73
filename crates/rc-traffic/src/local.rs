//! Answers that do not come from a service: refusals, `/health`, `/ready`, and the admin handler's.

use std::rc::Rc;

use bytes::Bytes;

use crate::access::Ticket;
use crate::admission::AdminCall;
use crate::answer::{DEADLINE, Refusal, put};
use crate::exchange::{Downstream, Fate, collect};
use crate::hooks::ADMIN_BODY_BYTES_MAX;
use crate::io::Timer;
use crate::upstream::Length;
use crate::worker::Worker;

/// Gives `refusal` as the answer.
pub(crate) fn refuse<D: Downstream>(
    worker: &Worker,
    client: &mut D,
    refusal: &Refusal,
    ticket: &mut Ticket,
    is_head: bool,
) {
    let mut fields = Vec::with_capacity(512);
    refusal.write_fields(&mut fields);
    put(&mut fields, "date", &worker.http_date());
    ticket.write_fields(&mut fields);
    let mut body = Vec::with_capacity(320);
    refusal.write_body(Some(ticket.trace.trace_id()), &mut body);
    ticket.silent = false;
    ticket.error = Some(refusal.kind.code);
    give(client, refusal.kind.status, &fields, &body, ticket, is_head);
}

/// `/health`: the process is alive.
pub(crate) fn health<D: Downstream>(client: &mut D, ticket: &mut Ticket, is_head: bool) -> Fate {
    let mut fields = Vec::with_capacity(128);
    own_fields(&mut fields, ticket);
    give(client, 200, &fields, br#"{"state":"alive"}"#, ticket, is_head);
    Fate::Done
}

/// `/ready`: whether it can serve, and what is missing.
pub(crate) fn ready<D: Downstream>(
    worker: &Worker,
    client: &mut D,
    ticket: &mut Ticket,
    is_head: bool,
) -> Fate {
    let report = worker.hooks.readiness.report();
    let status = if report.state == "ready" { 200 } else { 503 };
    let body = serde_json::to_vec(&report).expect("text and maps of text have a JSON form");
    let mut fields = Vec::with_capacity(128);
    own_fields(&mut fields, ticket);
    give(client, status, &fields, &body, ticket, is_head);
    Fate::Done
}

/// Hands a request to the admin handler.
pub(crate) async fn admin<D: Downstream>(
    worker: &Rc<Worker>,
    client: &mut D,
    call: AdminCall,
    ticket: &mut Ticket,
    is_head: bool,
    timer: &mut Timer,
) -> Fate {
    let body = match collect(client, ADMIN_BODY_BYTES_MAX, call.deadline, timer).await {
        Ok(body) => body,
        Err(fate) => return fate,
    };
    let Some(handler) = &worker.hooks.admin else {
        return Fate::Refuse(Refusal::new(&crate::answer::NO_ROUTE));
    };
    let request = call.request.map(|()| Bytes::from(body));
    let Ok(response) = tokio::time::timeout_at(call.deadline, handler.call(request)).await else {
        return Fate::Refuse(Refusal::new(&DEADLINE));
    };
    let mut fields = Vec::with_capacity(256);
    for (name, value) in response.headers() {
        if !matches!(
            name.as_str(),
            "content-length" | "transfer-encoding" | "connection"
        ) {
            put(&mut fields, name.as_str(), value.as_bytes());
        }
    }
    ticket.write_request_id(&mut fields);
    give(
        client,
        response.status().as_u16(),
        &fields,
        response.body(),
        ticket,
        is_head,
    );
    Fate::Done
}

fn own_fields(out: &mut Vec<u8>, ticket: &Ticket) {
    put(out, "content-type", b"application/json");
    put(out, "cache-control", b"no-store");
    ticket.write_request_id(out);
}

fn give<D: Downstream>(
    client: &mut D,
    status: u16,
    fields: &[u8],
    body: &[u8],
    ticket: &mut Ticket,
    is_head: bool,
) {
    // RFC 9110: no body, and no length, with these.
    let untold = matches!(status, 204 | 304);
    let length = if untold {
        Length::Untold
    } else {
        Length::Known(body.len() as u64)
    };
    client.start(status, fields, length, is_head || untold);
    if !is_head && !untold {
        client.push(body);
        ticket.bytes_out += body.len() as u64;
    }
    client.finish();
    ticket.answered(status);
}
