-- The log that the relay reads. A row is never updated or deleted; partitions are dropped whole.
CREATE TABLE IF NOT EXISTS outbox (
    pos bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    tenant text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    kseq bigint NOT NULL,
    id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    type text NOT NULL,
    schema int NOT NULL,
    time_ms bigint NOT NULL,
    traceparent text,
    payload bytea NOT NULL,
    CONSTRAINT tenant_is_a_dns_label CHECK (tenant ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    CONSTRAINT topic_has_1_to_128_bytes CHECK (octet_length(topic) BETWEEN 1 AND 128),
    CONSTRAINT key_has_1_to_512_bytes CHECK (octet_length(key) BETWEEN 1 AND 512),
    CONSTRAINT type_has_1_to_128_bytes CHECK (octet_length(type) BETWEEN 1 AND 128),
    CONSTRAINT schema_is_a_major_version CHECK (schema BETWEEN 0 AND 65535),
    CONSTRAINT kseq_starts_at_1 CHECK (kseq > 0),
    CONSTRAINT fingerprint_has_16_bytes CHECK (length(fingerprint) = 16),
    CONSTRAINT payload_has_at_most_1_mib CHECK (length(payload) <= 1048576)
) PARTITION BY RANGE (pos);
CREATE INDEX IF NOT EXISTS outbox_by_xid ON outbox (xid);
CREATE TABLE IF NOT EXISTS outbox_default PARTITION OF outbox DEFAULT;

-- The last number of each key. Its row's lock makes number order commit order.
CREATE TABLE IF NOT EXISTS event_keys (
    tenant text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    last bigint NOT NULL,
    PRIMARY KEY (tenant, topic, key)
) WITH (fillfactor = 50);
