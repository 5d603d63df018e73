//! The requests of the platform's own API, written as bytes.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::load::Requests;
use crate::text::{Random, SEED, Texts};

/// Classes of the mixed load, in the order of their figures.
pub(crate) const GET: usize = 0;
pub(crate) const SEARCH: usize = 1;
pub(crate) const INGEST: usize = 2;

/// `GET /docs/{id}`.
pub(crate) fn get(key: &str, id: &str, out: &mut Vec<u8>) {
    head(out, "GET", "/docs/", id, key);
    out.extend_from_slice(b"\r\n");
}

/// `GET /search`, the first ten hits.
pub(crate) fn search(key: &str, query: &str, out: &mut Vec<u8>) {
    head(out, "GET", "/search?q=", &percent(query), key);
    out.extend_from_slice(b"\r\n");
}

fn head(out: &mut Vec<u8>, method: &str, path: &str, rest: &str, key: &str) {
    for part in [
        method,
        " ",
        path,
        rest,
        " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ",
        key,
        "\r\n",
    ] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// `POST` of a body under a key of its own.
pub(crate) fn post(key: &str, path: &str, media: &str, idempotency: &str, body: &str, out: &mut Vec<u8>) {
    head(out, "POST", path, "", key);
    let mut fields = String::new();
    write!(
        fields,
        "Content-Type: {media}\r\nContent-Length: {}\r\nIdempotency-Key: {idempotency}\r\n\r\n",
        body.len()
    )
    .expect("writing to a string cannot fail");
    out.extend_from_slice(fields.as_bytes());
    out.extend_from_slice(body.as_bytes());
}

/// What a URL's query may not hold as it is.
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    out
}

/// Numbered documents of one run, with ids that begin with its name.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    texts: Arc<Texts>,
    run: String,
    pub(crate) next: u64,
}

impl Documents {
    pub(crate) fn new(texts: &Arc<Texts>, run: &str) -> Self {
        Self {
            texts: Arc::clone(texts),
            run: run.to_owned(),
            next: 0,
        }
    }

    /// The id of a document by its number.
    pub(crate) fn id(run: &str, number: u64) -> String {
        format!("{run}-{number:08}")
    }

    /// Appends the next document as JSON and tells its id. The text holds no character that JSON escapes.
    pub(crate) fn write(&mut self, out: &mut String) -> String {
        let id = Self::id(&self.run, self.next);
        out.push_str("{\"id\":\"");
        out.push_str(&id);
        out.push_str("\",\"text\":\"");
        self.texts.write(SEED, self.next, out);
        out.push_str("\"}");
        self.next += 1;
        id
    }
}

/// Batches of new documents as NDJSON.
pub(crate) struct Batches {
    pub(crate) key: String,
    pub(crate) documents: Documents,
    pub(crate) items: usize,
    path: &'static str,
    body: String,
}

impl Batches {
    pub(crate) fn new(key: &str, documents: Documents, items: usize) -> Self {
        Self {
            key: key.to_owned(),
            documents,
            items,
            path: "/ingest/batch",
            body: String::new(),
        }
    }

    /// Each is answered when a search finds its documents.
    pub(crate) fn until_found(self) -> Self {
        Self {
            path: "/ingest/batch?wait=indexed&timeout=30s",
            ..self
        }
    }
}

impl Requests for Batches {
    fn next(&mut self, out: &mut Vec<u8>) -> usize {
        self.body.clear();
        let mut first = String::new();
        for item in 0..self.items {
            let id = self.documents.write(&mut self.body);
            self.body.push('\n');
            if item == 0 {
                first = id;
            }
        }
        post(
            &self.key,
            self.path,
            "application/x-ndjson",
            &first,
            &self.body,
            out,
        );
        0
    }
}

/// New documents, one a request.
pub(crate) struct Singles {
    key: String,
    documents: Documents,
    body: String,
}

impl Singles {
    pub(crate) fn new(key: &str, documents: Documents) -> Self {
        Self {
            key: key.to_owned(),
            documents,
            body: String::new(),
        }
    }
}

impl Requests for Singles {
    fn next(&mut self, out: &mut Vec<u8>) -> usize {
        self.body.clear();
        let id = self.documents.write(&mut self.body);
        post(&self.key, "/ingest", "application/json", &id, &self.body, out);
        0
    }
}

/// New documents in batches of `items`, or one a request.
pub(crate) fn ingest_requests(key: &str, documents: Documents, items: usize) -> Box<dyn Requests> {
    if items == 1 {
        Box::new(Singles::new(key, documents))
    } else {
        Box::new(Batches::new(key, documents, items))
    }
}

/// Searches of a list, one after the other.
pub(crate) struct Searches {
    pub(crate) key: String,
    pub(crate) queries: Vec<String>,
    pub(crate) next: usize,
}

impl Requests for Searches {
    fn next(&mut self, out: &mut Vec<u8>) -> usize {
        search(&self.key, &self.queries[self.next % self.queries.len()], out);
        self.next += 1;
        0
    }
}

/// Shares of the mixed load, of a hundred.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) get: usize,
    pub(crate) search: usize,
}

/// 70 % reads of a document, 20 % searches, 10 % new documents.
pub(crate) const MIXED: Shares = Shares { get: 70, search: 20 };

/// Reads, searches and new documents in random order.
pub(crate) struct Mix {
    random: Random,
    shares: Shares,
    searches: Searches,
    singles: Singles,
    /// The documents that are read.
    loaded: (String, u64),
}

impl Mix {
    /// Reads `loaded.1` documents of the run `loaded.0`; `fresh` are those that are added.
    pub(crate) fn new(
        shares: Shares,
        searches: Searches,
        fresh: Documents,
        loaded: (&str, u64),
        seed: u64,
    ) -> Self {
        Self {
            random: Random::new(seed),
            shares,
            singles: Singles::new(&searches.key, fresh),
            searches,
            loaded: (loaded.0.to_owned(), loaded.1),
        }
    }
}

impl Requests for Mix {
    fn next(&mut self, out: &mut Vec<u8>) -> usize {
        let Shares { get: gets, search } = self.shares;
        match self.random.below(100) {
            share if share < gets => {
                let (run, count) = &self.loaded;
                let number = self.random.next() % count;
                get(&self.searches.key, &Documents::id(run, number), out);
                GET
            }
            share if share < gets + search => {
                self.searches.next(out);
                SEARCH
            }
            _ => {
                self.singles.next(out);
                INGEST
            }
        }
    }
}

#[cfg(test)]
mod tests;
