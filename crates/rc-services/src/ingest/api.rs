//! The description of the ingest API; every limit is the one that the code keeps.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::answer::{BatchStatus, IngestAnswer};
use super::{fault, limits};
use crate::document;
use crate::openapi::Spec;

/// `Content-Encoding` is no parameter: a tool that fills parameters would name an encoding and not use it.
const COMPRESSED: &str = "The body may be compressed (`Content-Encoding: gzip` or `zstd`): at most 8 MiB on the \
                          wire and 32 MiB after.";

/// Strings hold no U+0000.
const NO_NUL: &str = r"^[^\u0000]*$";

/// A document as a client sends it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, rename = "NewDocument")]
#[expect(
    dead_code,
    reason = "stands for the wire shape; `item` reads it member by member"
)]
struct NewDocument {
    /// The document's id within the tenant, at most 200 bytes of UTF-8. No segment of it, between `/` or
    /// `\`, is `.` or `..`, also before a `;`: no URL could name it. Absent: derived from the content, so that
    /// equal content is a duplicate.
    #[schemars(length(min = 1, max = 200), pattern(r"^[^\u0000-\u001f\u007f-\u009f]+$"))]
    id: Option<String>,
    /// A short name, at most 4 KiB of UTF-8, searched with more weight than the text.
    #[schemars(length(max = document::TITLE_BYTES_MAX), pattern(NO_NUL))]
    title: Option<String>,
    /// The text that is searched and shown, at most 256 KiB of UTF-8.
    #[schemars(length(max = document::TEXT_BYTES_MAX), pattern(NO_NUL))]
    text: String,
    /// Names and values for filters, such as `package: coreutils`.
    #[schemars(extend("maxProperties" = document::ATTRS_MAX, "propertyNames" = {"minLength": 1, "maxLength": document::ATTR_NAME_BYTES_MAX, "pattern": NO_NUL}))]
    attrs: Option<std::collections::BTreeMap<String, AttrValue>>,
    /// The document's own time (RFC 3339), kept to the millisecond.
    time: Option<rc_model::Timestamp>,
}

/// At most 4 KiB of UTF-8.
#[derive(JsonSchema)]
#[schemars(inline)]
#[expect(dead_code, reason = "stands for the wire shape")]
struct AttrValue(#[schemars(length(max = document::ATTR_VALUE_BYTES_MAX), pattern(NO_NUL))] String);

/// What the gateway may answer in the service's place.
const OTHER: &str = "Any other problem, the gateway's among them.";

/// The description.
#[must_use]
pub(crate) fn document() -> Value {
    let mut spec = Spec::new(
        "Royalcrown ingest",
        "Takes documents in. An answer of 202 means that every accepted item is durable; it can be searched a \
         moment later, or at once with `wait=indexed`.",
    );
    let written = write_answers(&mut spec);
    let remove = remove_answers(&mut spec);
    let new_document = spec.schema::<NewDocument>();
    let status = spec.json::<BatchStatus>("How far the batch has come.");
    let no_batch = spec.problem(&format!(
        "{}: no such batch of this tenant in the last 24 hours.",
        fault::NO_BATCH.code
    ));
    let down = spec.retry(&format!(
        "{}: the store cannot be reached.",
        fault::STORE_DOWN.code
    ));
    let no_tenant = spec.problem("The key is missing, unknown or revoked.");
    let other = spec.problem(OTHER);
    let options = json!([key(true), detail(), wait(), timeout()]);
    let lines = "One document a line. A line that is not JSON is rejected alone.";
    spec.path(
        "/ingest",
        json!({
            "post": {
                "operationId": "ingestDocument",
                "summary": "Store one document",
                "description": COMPRESSED,
                "parameters": options,
                "requestBody": {
                    "required": true,
                    "content": { "application/json": { "schema": new_document } },
                },
                "responses": written,
            },
        }),
    );
    spec.path("/ingest/batch", json!({
        "post": {
            "operationId": "ingestBatch",
            "summary": "Store up to 1000 documents",
            "description": format!(
                "Items are independent: a bad one is rejected with its reason and the others are stored. An array \
                 with broken JSON syntax is refused whole. {COMPRESSED}"
            ),
            "parameters": options,
            "requestBody": {
                "required": true,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "array",
                            "minItems": 1,
                            "items": { "anyOf": [
                                new_document,
                                { "description": "Anything else is rejected alone, with its JSON Pointer." },
                            ] },
                        },
                    },
                    "application/x-ndjson": { "schema": { "type": "string", "description": lines } },
                },
            },
            "responses": written,
        },
    }));
    spec.path(
        "/ingest/batches/{batch}",
        json!({
            "get": {
                "operationId": "batchStatus",
                "summary": "How far a write has come",
                "parameters": [{
                    "name": "batch",
                    "in": "path",
                    "required": true,
                    "schema": { "type": "string", "format": "uuid" },
                }],
                "responses": { "200": status, "401": no_tenant, "404": no_batch, "503": down, "default": other },
            },
        }),
    );
    spec.path(
        "/docs/{id}",
        json!({
            "delete": {
                "operationId": "deleteDocument",
                "summary": "Delete one document",
                "description": "The key is optional: a second delete finds no document. An answer of 404 has no \
                                effect and is not kept: the same key may delete the document once it exists.",
                "parameters": [{
                    "name": "id",
                    "in": "path",
                    "required": true,
                    "schema": { "type": "string", "minLength": 1, "maxLength": 200 },
                }, key(false), detail(), wait(), timeout()],
                "responses": remove,
            },
        }),
    );
    spec.finish()
}

/// The answers to documents.
fn write_answers(spec: &mut Spec) -> Value {
    let accepted = stored(
        spec,
        "Accepted items are durable. `items` says what became of the others.",
    );
    let indexed = stored(
        spec,
        "As 202, and with `wait=indexed` the documents can be found.",
    );
    let bad = spec.problem(&listed(
        "The request, its body as a whole, or the single document is wrong",
        &[
            fault::MALFORMED,
            fault::UNICODE,
            fault::NUL,
            fault::TOO_DEEP,
            fault::BAD_ENCODING,
            fault::BAD_KEY,
            fault::EMPTY,
            fault::UNKNOWN_MEMBER,
            fault::MISSING_MEMBER,
            fault::WRONG_TYPE,
            fault::DUPLICATE_MEMBER,
            fault::BAD_VALUE,
            fault::RULES,
            fault::BAD_QUERY,
            fault::BODY_CUT,
        ],
    ));
    let large = spec.problem(&listed(
        "Too large",
        &[
            fault::BODY_TOO_LARGE,
            fault::INFLATES_TOO_MUCH,
            fault::ITEM_COUNT,
            fault::ITEM_TOO_LARGE,
        ],
    ));
    let mut unsupported = spec.problem(&listed(
        "Not a media type or content encoding that is read",
        &[fault::MEDIA_TYPE, fault::CONTENT_ENCODING],
    ));
    unsupported["headers"] = json!({
        "Accept-Post": { "description": "Media types that are read.", "schema": { "type": "string" } },
        "Accept-Encoding": { "description": "Content encodings that are read.", "schema": { "type": "string" } },
    });
    let reused = spec.problem(&listed(
        "The key came with another request in the last 24 hours",
        &[fault::KEY_REUSED],
    ));
    let slow = spec.problem(&listed("The body did not arrive in time", &[fault::BODY_SLOW]));
    json!({
        "200": indexed,
        "202": accepted,
        "400": bad,
        "401": spec.problem("The key is missing, unknown or revoked."),
        "408": slow,
        "413": large,
        "415": unsupported,
        "422": reused,
        "429": spec.retry(&listed("The tenant's own excess", &[fault::TENANT_SHARE, fault::OVER_QUOTA])),
        "503": spec.retry(&listed("Our shortage", &[fault::QUEUE_FULL, fault::STORE_DOWN, fault::DISK_LOW, fault::READERS_BEHIND])),
        "default": spec.problem(OTHER),
    })
}

fn remove_answers(spec: &mut Spec) -> Value {
    json!({
        "200": stored(spec, "As 202, and with `wait=indexed` the document can no longer be found."),
        "202": stored(spec, "The delete is durable."),
        "400": spec.problem(&listed("The key or the query is wrong", &[fault::BAD_KEY, fault::BAD_QUERY])),
        "401": spec.problem("The key is missing, unknown or revoked."),
        "404": spec.problem(&listed("The tenant has no such document", &[fault::NO_DOCUMENT])),
        "422": spec.problem(&listed("The key came with another request", &[fault::KEY_REUSED])),
        "429": spec.retry("The tenant's own excess."),
        "503": spec.retry(&listed("Our shortage", &[fault::QUEUE_FULL, fault::STORE_DOWN])),
        "default": spec.problem(OTHER),
    })
}

fn stored(spec: &mut Spec, description: &str) -> Value {
    let mut response = spec.json::<IngestAnswer>(description);
    response["headers"] = json!({
        "Location": { "description": "The status of this write.", "schema": { "type": "string" } },
        "Idempotency-Key": { "description": "The request's key.", "schema": { "type": "string" } },
        "Idempotency-Replayed": {
            "description": "`true` when the answer comes from an earlier attempt.",
            "schema": { "type": "string", "const": "true" },
        },
    });
    response
}

/// `text` and the codes that come with it.
fn listed(text: &str, kinds: &[fault::Kind]) -> String {
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code).collect();
    format!("{text}: {}.", codes.join(", "))
}

fn key(required: bool) -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": required,
        "description": "Names the request: every attempt with the same key has one effect and the same answer, \
                        for 24 hours. Refusals have no effect and are not kept.",
        "schema": { "type": "string", "minLength": 1, "maxLength": limits::KEY_BYTES_MAX, "pattern": "^[!-~]+$" },
    })
}

fn detail() -> Value {
    json!({
        "name": "detail",
        "in": "query",
        "description": "`full` lists accepted items too.",
        "schema": { "type": "string", "enum": ["problems", "full"], "default": "problems" },
    })
}

fn wait() -> Value {
    json!({
        "name": "wait",
        "in": "query",
        "description": "`indexed` answers 200 when the documents can be read and found, or 202 after `timeout`.",
        "schema": { "type": "string", "enum": ["indexed"] },
    })
}

fn timeout() -> Value {
    json!({
        "name": "timeout",
        "in": "query",
        "description": "How long `wait` waits, such as `500ms` or `2s`; at most 30 s.",
        "schema": { "type": "string", "pattern": "^([0-9]{1,4}ms|[12]?[0-9]s|30s)$", "default": "2s" },
    })
}
