//! Every error code that a person can meet, `RC-<AREA>-<NNN>`, with its title.
//!
//! One table an area, sorted. Each code has a page `docs/reference/errors/<CODE>.md` whose first line is
//! `# <CODE>: <title>`; `rc explain CODE` prints it, and a test fails for a code without a page or a page
//! without a code. A code is never used again for something else.

/// A stable error code and the short text that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `RC-CFG-001`
    pub code: &'static str,
    /// What it stands for, the same every time: lower case, no full stop.
    pub title: &'static str,
}

const fn code(code: &'static str, title: &'static str) -> Code {
    Code { code, title }
}

/// Files that users write.
pub const CFG: &[Code] = &[
    code("RC-CFG-001", "a file cannot be read"),
    code("RC-CFG-002", "a file is too large, too deep or not text"),
    code("RC-CFG-003", "broken YAML"),
    code("RC-CFG-004", "the same key twice"),
    code("RC-CFG-005", "unknown key"),
    code("RC-CFG-006", "missing key"),
    code("RC-CFG-007", "wrong type"),
    code("RC-CFG-008", "value not allowed"),
    code("RC-CFG-009", "malformed value"),
    code("RC-CFG-010", "malformed name"),
    code("RC-CFG-011", "a name that stands for nothing"),
    code("RC-CFG-012", "services need each other in a circle"),
    code("RC-CFG-013", "two services claim the same path"),
    code("RC-CFG-014", "a service without a command"),
    code("RC-CFG-015", "two services use the same port"),
    code("RC-CFG-016", "routes without a gateway"),
    code("RC-CFG-017", "values that do not fit together"),
    code("RC-CFG-018", "something written down that has no effect"),
];

/// Client commands and the command line.
pub const CLI: &[Code] = &[
    code("RC-CLI-001", "unknown error code"),
    code("RC-CLI-002", "unknown schema"),
    code("RC-CLI-010", "the platform does not answer"),
    code("RC-CLI-011", "the platform did not answer in time"),
    code("RC-CLI-012", "the platform refused the request"),
    code("RC-CLI-013", "address, key or certificates cannot be used"),
    code("RC-CLI-014", "nothing to read"),
    code("RC-CLI-015", "unknown tenant"),
    code("RC-CLI-016", "the platform took no documents for a minute"),
    code("RC-CLI-018", "the platform's answer is not understood"),
    code("RC-CLI-019", "no such document"),
    code("RC-CLI-020", "no tenant to act as"),
    code("RC-CLI-021", "the project's files are not valid"),
];

/// The documents API.
pub const DOC: &[Code] = &[
    code("RC-DOC-001", "document not found"),
    code("RC-DOC-002", "malformed document id"),
    code("RC-DOC-003", "wrong search parameter"),
    code("RC-DOC-004", "malformed search query"),
    code("RC-DOC-005", "cursor of another search"),
    code("RC-DOC-006", "request without a tenant"),
    code("RC-DOC-007", "the documents cannot be reached"),
    code("RC-DOC-008", "the read took too long"),
    code("RC-DOC-009", "too many callers wait for documents"),
    code("RC-DOC-010", "malformed wait for documents"),
    code("RC-DOC-011", "the read model's tables are missing"),
    code("RC-DOC-012", "no place for the tenant's search index"),
    code("RC-DOC-013", "a read failed"),
    code("RC-DOC-014", "too many reads of one tenant at a time"),
];

/// Events: outbox, relay, bus, consumers.
pub const EVT: &[Code] = &[
    code("RC-EVT-001", "an event is missing before this one"),
    code("RC-EVT-002", "two events claim the same place"),
    code("RC-EVT-003", "an event is too large or malformed"),
    code("RC-EVT-004", "a consumer fell behind what the bus keeps"),
    code("RC-EVT-005", "another relay has published"),
    code("RC-EVT-006", "the outbox comes from another database cluster"),
    code("RC-EVT-007", "another process moved the consumer"),
    code("RC-EVT-008", "the bus is damaged"),
    code("RC-EVT-009", "the store under the events failed"),
    code("RC-EVT-010", "the bus refuses an event"),
    code("RC-EVT-011", "a consumer can never apply an event"),
    code("RC-EVT-012", "the bus cannot be reached"),
    code("RC-EVT-013", "there is no room for another dead letter"),
    code("RC-EVT-014", "a consumer halted because too much fails"),
    code("RC-EVT-015", "a dead letter cannot be treated like this"),
    code("RC-EVT-016", "a replay of history cannot start or go on"),
    code("RC-EVT-017", "the consumer does not run here"),
    code("RC-EVT-030", "PostgreSQL refuses a step of logical replication"),
    code("RC-EVT-031", "the replication stream cannot be understood"),
    code("RC-EVT-032", "a capture cannot go on without a gap"),
    code("RC-EVT-033", "the server took over without what was published"),
    code("RC-EVT-034", "a table cannot be captured as asked"),
    code("RC-EVT-040", "the server of the bus is too old"),
    code("RC-EVT-041", "the stream of the bus is gone"),
    code(
        "RC-EVT-042",
        "the server of the bus may lose what it acknowledges",
    ),
    code("RC-EVT-043", "the stream of the bus is not set up as a bus"),
    code("RC-EVT-044", "the bus is full"),
    code("RC-EVT-045", "the server of the bus refuses our user"),
    code("RC-EVT-050", "the place of the events is not one"),
    code("RC-EVT-051", "a request about events is malformed"),
    code("RC-EVT-052", "there is no such dead letter"),
    code("RC-EVT-060", "an event breaks its schema"),
    code("RC-EVT-061", "the type or version of an event is not known"),
    code("RC-EVT-062", "a schema of events cannot be read"),
    code("RC-EVT-063", "what schemas are compared with is not there"),
    code("RC-EVT-064", "an upcaster cannot read an event"),
    code("RC-EVT-070", "a rebuild cannot begin or end as asked"),
];

/// The gateway.
pub const GW: &[Code] = &[
    code("RC-GW-001", "malformed request head"),
    code("RC-GW-002", "ambiguous request framing"),
    code("RC-GW-003", "request head too large"),
    code("RC-GW-004", "request target too long"),
    code("RC-GW-005", "request took too long to arrive"),
    code("RC-GW-006", "method not carried"),
    code("RC-GW-007", "ambiguous path"),
    code("RC-GW-008", "missing or ambiguous host"),
    code("RC-GW-009", "missing or invalid API key"),
    code("RC-GW-010", "no such path"),
    code("RC-GW-011", "method not allowed here"),
    code("RC-GW-012", "too many requests"),
    code("RC-GW-013", "request body too large"),
    code("RC-GW-014", "expectation not supported"),
    code("RC-GW-015", "deadline passed"),
    code("RC-GW-016", "service gave no valid answer"),
    code("RC-GW-017", "service cannot be reached"),
    code("RC-GW-018", "too many connections"),
    code("RC-GW-019", "HTTP version not supported"),
    code("RC-GW-020", "malformed request timeout"),
    code("RC-GW-021", "malformed request body"),
    code("RC-GW-022", "more than one credential"),
    code("RC-GW-023", "protocol upgrade not supported"),
    code("RC-GW-024", "keys are not known yet"),
    code("RC-GW-025", "too many requests at once"),
    code("RC-GW-026", "service has no room"),
    code("RC-GW-030", "the gateway cannot listen"),
    code("RC-GW-031", "routes, tenants and upstreams do not fit together"),
    code("RC-GW-040", "too many connections of one tenant"),
    code("RC-GW-050", "service fails and is left alone"),
    code("RC-GW-051", "service is slower than usual"),
    code("RC-GW-060", "the admin API is busy"),
    code("RC-GW-061", "malformed admin request"),
    code("RC-GW-062", "unknown tenant"),
    code("RC-GW-063", "the system gave no randomness"),
    code("RC-GW-064", "too many keys"),
    code("RC-GW-065", "unknown key"),
    code("RC-GW-066", "the TLS files cannot be used"),
    code("RC-GW-070", "the configuration has changed"),
    code("RC-GW-071", "a condition is required"),
    code("RC-GW-072", "the configuration has faults"),
    code("RC-GW-073", "the configuration cannot be replaced here"),
    code("RC-GW-074", "a service's name has no address"),
    code("RC-GW-075", "not the owner"),
    code("RC-GW-080", "no such rollout"),
    code("RC-GW-081", "the weight has changed meanwhile"),
    code("RC-GW-082", "a rollout owns this weight"),
    code("RC-GW-083", "nothing to go back to"),
];

/// Ingest.
pub const ING: &[Code] = &[
    code("RC-ING-001", "body is not valid JSON"),
    code("RC-ING-002", "text is not valid Unicode"),
    code("RC-ING-003", "U+0000 is not allowed"),
    code("RC-ING-004", "nesting is too deep"),
    code("RC-ING-005", "body is too large"),
    code("RC-ING-006", "body inflates too much"),
    code("RC-ING-007", "content encoding is broken"),
    code("RC-ING-008", "media type is not supported"),
    code("RC-ING-009", "content encoding is not supported"),
    code("RC-ING-010", "idempotency key is missing or malformed"),
    code("RC-ING-011", "idempotency key was used for another request"),
    code("RC-ING-012", "too many items"),
    code("RC-ING-013", "body holds no documents"),
    code("RC-ING-014", "unknown member"),
    code("RC-ING-015", "member is missing"),
    code("RC-ING-016", "wrong type"),
    code("RC-ING-017", "member is given twice"),
    code("RC-ING-018", "value is not acceptable"),
    code("RC-ING-019", "item is too large"),
    code("RC-ING-020", "ingest queue is full"),
    code("RC-ING-021", "too much work in the queue"),
    code("RC-ING-022", "store is not available"),
    code("RC-ING-023", "document not found"),
    code("RC-ING-024", "batch not found"),
    code("RC-ING-025", "query parameter is not acceptable"),
    code("RC-ING-026", "request has no tenant"),
    code("RC-ING-027", "body did not arrive in time"),
    code("RC-ING-028", "body ended early"),
    code("RC-ING-029", "database is not migrated"),
    code("RC-ING-030", "request failed"),
    code("RC-ING-031", "disk is nearly full"),
    code("RC-ING-032", "too much waits to be indexed"),
    code("RC-ING-033", "document breaks the project's schema"),
    code("RC-ING-034", "storage quota is used up"),
];

/// New services.
pub const INI: &[Code] = &[
    code("RC-INI-001", "a name that a service cannot have"),
    code("RC-INI-002", "something is in the way of a new service"),
    code("RC-INI-003", "an answer is missing"),
    code("RC-INI-004", "the new service cannot be written"),
];

/// The judge of releases.
pub const JDG: &[Code] = &[
    code("RC-JDG-001", "a record of a rollout cannot be judged again"),
    code("RC-JDG-002", "the judge's rules cannot be used"),
    code("RC-JDG-003", "the judge's simulation failed"),
];

/// The ledger: its engine up to 019, the service and the commands from 020.
pub const LED: &[Code] = &[
    code("RC-LED-001", "the log already has a writer"),
    code("RC-LED-002", "no log there"),
    code("RC-LED-003", "a log is or was there already"),
    code("RC-LED-004", "the log is shorter than it was"),
    code("RC-LED-005", "the log is not the one that was signed"),
    code("RC-LED-006", "a file of the log is damaged"),
    code("RC-LED-007", "the ledger's key file cannot be used"),
    code("RC-LED-008", "not signed by a trusted key"),
    code("RC-LED-009", "malformed ledger entry"),
    code("RC-LED-010", "ledger entry or group too large"),
    code("RC-LED-011", "no space for the log"),
    code("RC-LED-012", "a file of the log cannot be read or written"),
    code("RC-LED-013", "the log stopped after a failed write"),
    code("RC-LED-014", "a ledger proof does not hold"),
    code("RC-LED-020", "too many audit entries wait"),
    code("RC-LED-021", "the ledger does not take entries"),
    code("RC-LED-022", "the ledger's answer does not fit"),
    code("RC-LED-023", "malformed delivery of audit entries"),
    code("RC-LED-024", "audit entries are missing"),
    code("RC-LED-025", "the ledger has another entry there"),
    code("RC-LED-026", "the second copy of the checkpoint is gone"),
    code("RC-LED-027", "the start cannot be recorded"),
    code("RC-LED-028", "the audit log cannot be read"),
    code("RC-LED-029", "a checkpoint or key that was given cannot be used"),
    code("RC-LED-030", "the checkpoint cannot be kept"),
    code("RC-LED-031", "a store is older than the audit log"),
    code("RC-LED-032", "the end cannot be recorded"),
];

/// Running a process.
pub const SRV: &[Code] = &[
    code("RC-SRV-001", "no such path"),
    code("RC-SRV-002", "this path does not take that method"),
    code("RC-SRV-003", "the service has a bug"),
    code("RC-SRV-004", "the runtime did not start"),
    code("RC-SRV-005", "the current folder cannot be read"),
    code("RC-SRV-006", "signals cannot be received"),
    code("RC-SRV-007", "a service did not start"),
    code("RC-SRV-008", "generated documents cannot be written"),
    code("RC-SRV-009", "a part of a service failed"),
];

/// The store.
pub const STO: &[Code] = &[
    code("RC-STO-001", "the store is busy"),
    code("RC-STO-002", "the store cannot be reached"),
    code("RC-STO-003", "a concurrent transaction won"),
    code("RC-STO-004", "the data breaks a rule of the schema"),
    code("RC-STO-005", "a statement ran too long"),
    code("RC-STO-006", "the store is damaged"),
    code("RC-STO-007", "the store accepts no writes"),
    code("RC-STO-008", "the disk is full"),
    code("RC-STO-009", "the database already has a writer"),
    code("RC-STO-010", "the file is not one of ours"),
    code("RC-STO-011", "migrations do not fit the database"),
    code("RC-STO-012", "malformed store URL"),
    code("RC-STO-013", "a job gave up"),
    code("RC-STO-014", "the store was used wrongly"),
];

/// Telemetry.
pub const TEL: &[Code] = &[
    code("RC-TEL-001", "spans cannot be kept"),
    code("RC-TEL-002", "spans cannot be sent"),
    code("RC-TEL-003", "no such trace"),
    code("RC-TEL-004", "the traces cannot be read"),
];

/// The supervisor.
pub const UP: &[Code] = &[
    code("RC-UP-001", "the platform already runs"),
    code("RC-UP-002", "an address is taken"),
    code("RC-UP-003", "the state folder cannot be used"),
    code("RC-UP-004", "a service does not stay up"),
    code("RC-UP-005", "the platform was not ready in time"),
    code("RC-UP-006", "the supervisor does not answer"),
    code("RC-UP-007", "the supervisor cannot start"),
    code("RC-UP-008", "no log of that service"),
    code("RC-UP-009", "the supervisor ended while it started"),
    code("RC-UP-010", "a process cannot be ended"),
    code("RC-UP-011", "a build failed"),
];

/// All areas in alphabetical order.
pub const AREAS: [&[Code]; 13] = [CFG, CLI, DOC, EVT, GW, ING, INI, JDG, LED, SRV, STO, TEL, UP];

/// Every code, sorted.
pub fn all() -> impl Iterator<Item = &'static Code> {
    AREAS.into_iter().flatten()
}

/// The entry of `text`, in any case: `rc-cfg-001`.
#[must_use]
pub fn lookup(text: &str) -> Option<&'static Code> {
    all().find(|entry| entry.code.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests;
