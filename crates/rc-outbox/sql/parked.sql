-- Events that the bus refused, and later ones of their keys that wait behind them. A row stays, as `gone`, until
-- its row in the log is gone: a relay that reads that again must know that it is not to be published.
CREATE TABLE IF NOT EXISTS outbox_parked (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin text NOT NULL,
    pos bigint NOT NULL,
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
    edited bytea,
    state text NOT NULL,
    class text NOT NULL,
    code text NOT NULL,
    why text NOT NULL,
    replays int NOT NULL DEFAULT 0,
    same_error int NOT NULL DEFAULT 0,
    first_ms bigint NOT NULL,
    last_ms bigint NOT NULL,
    -- The publishes that it is part of and that may have happened: the bus's cursor tells which did.
    releases text NOT NULL DEFAULT '',
    UNIQUE (origin, tenant, topic, key, kseq)
);
