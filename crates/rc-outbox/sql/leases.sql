-- Which relay works. `beat` counts what the holder said: it shows life without a clock.
CREATE TABLE IF NOT EXISTS leases (
    name text PRIMARY KEY,
    owner text NOT NULL,
    epoch bigint NOT NULL,
    beat bigint NOT NULL,
    until timestamptz NOT NULL
) WITH (fillfactor = 10);
