use super::*;

#[test]
fn the_trusted_headers_are_read() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (TENANT_HEADER, "acme"),
        (TIER_HEADER, "gold"),
        (USER_HEADER, "k123"),
        (REQUEST_ID_HEADER, "req-1"),
        (DEADLINE_HEADER, "5000"),
        (
            TRACEPARENT_HEADER,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    let context = RequestContext::from_headers(&headers);
    assert_eq!(context.tenant.unwrap().as_str(), "acme");
    assert_eq!(&*context.request_id, "req-1");
    assert_eq!(context.trace.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(context.trace.span_id(), 0x00f0_67aa_0ba9_02b7);
    assert!(context.deadline.is_some());
}

#[test]
fn what_is_malformed_is_left_out_or_made() {
    let mut headers = HeaderMap::new();
    headers.insert(TENANT_HEADER, "Not A Tenant".parse().unwrap());
    headers.insert(REQUEST_ID_HEADER, "has space".parse().unwrap());
    headers.insert(TRACEPARENT_HEADER, "00-0-0-0".parse().unwrap());
    let context = RequestContext::from_headers(&headers);
    assert!(context.tenant.is_none());
    assert_eq!(*context.request_id, *context.trace.trace_id_hex());
}
