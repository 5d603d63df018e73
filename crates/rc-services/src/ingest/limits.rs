//! Every limit of the ingest API in one place; `apis/ingest.yaml` and the error pages quote them.

use std::time::Duration;

/// Largest body on the wire.
pub const BODY_BYTES_MAX: usize = 8 << 20;

/// Largest body after its content encoding is undone.
pub const INFLATED_BYTES_MAX: usize = 32 << 20;

/// Most a body may grow when its content encoding is undone. Real NDJSON shrinks 5 to 40 times.
pub const INFLATE_RATIO_MAX: usize = 200;

/// Growth below this size is never called a bomb: short repetitive bodies shrink more than real ones.
pub const INFLATE_RATIO_FREE_BYTES: usize = 1 << 20;

/// Most items in one batch.
pub const ITEMS_MAX: usize = 1_000;

/// Largest item as JSON text: the largest text with every character escaped, and room for attributes.
pub const ITEM_BYTES_MAX: usize = 2 << 20;

/// Deepest nesting of one item. A document needs 2.
pub const DEPTH_MAX: usize = 32;

/// Longest `Idempotency-Key`.
pub const KEY_BYTES_MAX: usize = 255;

/// How long the answer to an `Idempotency-Key` is kept.
pub const KEY_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Rows that one prune step deletes; between steps other writers get their turn.
pub const PRUNE_ROWS_MAX: usize = 500;

/// Documents whose sizes are asked for at once, of those from before sizes were kept.
pub const MEASURE_ROWS_MAX: i64 = 200;

/// How long after the start, and after a look that left some, sizes are asked for again.
pub const MEASURE_EVERY: Duration = Duration::from_secs(30);

/// How often old answers are pruned.
pub const PRUNE_EVERY: Duration = Duration::from_secs(60);

/// Memory that bodies in work may hold at once, over all tenants: what arrived of them, what they inflate
/// to, and the documents that are read from them.
pub const QUEUE_BYTES_MAX: usize = 96 << 20;

/// The part of it that one tenant may hold. Less than all, so that others always get in; enough for the
/// largest body and its documents.
pub const TENANT_QUEUE_BYTES_MAX: usize = 64 << 20;

/// Longest estimated wait in the queue before new work is refused.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Longest time to receive a body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest pause inside a body.
pub const BODY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The pace of a body is looked at once in this time.
pub const BODY_PACE_WINDOW: Duration = Duration::from_secs(10);

/// The least that must arrive in each window: 1 KiB a second.
pub const BODY_PACE_BYTES_MIN: usize = 10 << 10;

/// A body that is not whole after this time is a slow one.
pub const BODY_SLOW_AFTER: Duration = Duration::from_secs(1);

/// Slow bodies that one tenant may be sending at once.
pub const TENANT_SLOW_BODIES_MAX: usize = 64;

/// Longest wait of a whole body for its turn to be inflated and read.
pub const TURN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Longest time that the store may take for one request, waiting in its queue included.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long `?wait=indexed` waits when `timeout` is absent.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(2);

/// The longest `timeout` of `?wait=indexed`.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// Bodies from this size on are inflated, hashed and parsed on the blocking pool.
pub const OFFLOAD_BYTES: usize = 16 << 10;
