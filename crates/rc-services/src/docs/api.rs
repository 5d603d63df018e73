//! The description of docs-api; every limit is the one that the code keeps.

use serde_json::{Value, json};

use super::params::{FILTERS_MAX, LIMIT_DEFAULT, LIMIT_MAX};
use super::wire::{DocumentAnswer, SearchAnswer};
use crate::openapi::Spec;
use crate::text::{PREFIX_CHARS_MIN, PREFIX_TERMS_MAX, QUERY_BYTES_MAX, QUERY_TERMS_MAX};

/// The description.
#[must_use]
pub(crate) fn document() -> Value {
    let mut spec = Spec::new(
        "Royalcrown documents",
        "Gives documents back, by id and by search. What one tenant stores changes nothing for another.",
    );
    let document = read_answers(&mut spec, Answer::Document);
    let found = read_answers(&mut spec, Answer::Search);
    let id = json!({
        "name": "id",
        "in": "path",
        "required": true,
        "description": "The document's id, every reserved character escaped (`/` as `%2F`); decoded once.",
        "schema": { "type": "string", "minLength": 1, "maxLength": 200 },
    });
    let operation = |name: &str, summary: &str| {
        json!({
            "operationId": name,
            "summary": summary,
            "parameters": [id, if_none_match(), if_modified_since()],
            "responses": document,
        })
    };
    spec.path(
        "/docs/{id}",
        json!({
            "get": operation("getDocument", "Read one document"),
            "head": operation("headDocument", "Ask whether a document is there, and in which version"),
        }),
    );
    spec.path(
        "/search",
        json!({
            "get": {
                "operationId": "searchDocuments",
                "summary": "Find documents",
                "description": "Best matches first; a word in the title counts four times one in the text. Where thousands match, the newest of them are ranked.",
                "parameters": search_parameters(),
                "responses": found,
            },
        }),
    );
    spec.finish()
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Document,
    Search,
}

fn read_answers(spec: &mut Spec, answer: Answer) -> Value {
    let mut found = match answer {
        Answer::Document => spec.json::<DocumentAnswer<'static>>("The document."),
        Answer::Search => spec.json::<SearchAnswer<'static>>("One page of the documents that match."),
    };
    let mut headers = json!({
        "ETag": { "description": "Names this representation.", "schema": { "type": "string" } },
        "Cache-Control": { "description": "Always `private, no-cache`.", "schema": { "type": "string" } },
    });
    if answer == Answer::Document {
        headers["Last-Modified"] = json!({
            "description": "When this version was accepted.",
            "schema": { "type": "string" },
        });
    }
    found["headers"] = headers;
    let wrong = match answer {
        Answer::Document => "RC-DOC-002: not an id.",
        Answer::Search => {
            "RC-DOC-003: a parameter is unknown or wrong. RC-DOC-004: the query is not one; the detail says \
             where. RC-DOC-005: the cursor belongs to another search or tenant, or was changed."
        }
    };
    let mut answers = json!({
        "200": found,
        "304": { "description": "The caller's copy is current." },
        "400": spec.problem(wrong),
        "401": spec.problem("No tenant: the request did not come through the gateway, or its key is unknown."),
        "429": spec.retry("The tenant sends more than its tier allows. RC-DOC-014: it has too many reads under way."),
        "500": spec.problem("RC-DOC-013: a read failed."),
        "503": spec.retry("RC-DOC-007: the documents cannot be reached. RC-DOC-012: no place for the tenant's index."),
        "504": spec.problem("RC-DOC-008: the read took too long."),
    });
    if answer == Answer::Document {
        answers["404"] = spec.problem("RC-DOC-001: the tenant has no such document.");
    }
    answers
}

fn search_parameters() -> Value {
    let query = format!(
        "At most {QUERY_BYTES_MAX} bytes of UTF-8 and {QUERY_TERMS_MAX} words and phrases. Words must all be there; \
         `\"a phrase\"`, `prefix*`, `one OR other`, `-without`. Case and accents do not count; punctuation \
         separates words. At most {PREFIX_TERMS_MAX} prefixes, of {PREFIX_CHARS_MIN} characters or more."
    );
    let filter =
        format!("`name:value` of an attribute, matched whole; at most {FILTERS_MAX}, all must match.");
    let time = |name: &str, description: &str| {
        json!({
            "name": name,
            "in": "query",
            "description": description,
            "schema": { "type": "string", "format": "date-time" },
        })
    };
    json!([
        {
            "name": "q",
            "in": "query",
            "required": true,
            "description": query,
            "schema": { "type": "string", "minLength": 1, "maxLength": QUERY_BYTES_MAX },
        },
        {
            "name": "limit",
            "in": "query",
            "description": "Hits on a page.",
            "schema": { "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT },
        },
        {
            "name": "cursor",
            "in": "query",
            "description": "`next_cursor` of the page before, with the other parameters unchanged but `limit`. \
                            Documents that change between two pages may move from one to the other.",
            "schema": { "type": "string" },
        },
        {
            "name": "filter",
            "in": "query",
            "description": filter,
            "explode": true,
            "schema": {
                "type": "array",
                "maxItems": FILTERS_MAX,
                "items": { "type": "string", "pattern": "^[^:]+:" },
            },
        },
        time("since", "Only documents of this time or later, by their own `time`."),
        time("until", "Only documents before this time, by their own `time`."),
        if_none_match(),
    ])
}

fn if_none_match() -> Value {
    json!({
        "name": "If-None-Match",
        "in": "header",
        "description": "Entity tags of copies that the caller has.",
        "schema": { "type": "string" },
    })
}

fn if_modified_since() -> Value {
    json!({
        "name": "If-Modified-Since",
        "in": "header",
        "description": "Counts where there is no If-None-Match.",
        "schema": { "type": "string" },
    })
}
