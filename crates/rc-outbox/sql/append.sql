-- Appends events of one tenant in the caller's transaction; their numbers, in the order of the arguments.
-- Keys are locked in sorted order, so that two calls with crossing keys wait for each other and never deadlock.
CREATE OR REPLACE FUNCTION append_events(
    tenant text, topics text[], keys text[], types text[], payloads jsonb[],
    schemas int[] DEFAULT NULL, traceparents text[] DEFAULT NULL, ids uuid[] DEFAULT NULL
) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER AS $$
#variable_conflict use_column
DECLARE
    at_ms bigint := (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
BEGIN
    IF cardinality(topics) <> cardinality(keys) OR cardinality(topics) <> cardinality(types)
        OR cardinality(topics) <> cardinality(payloads) THEN
        RAISE EXCEPTION 'topics, keys, types and payloads are as many as there are events'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    WITH given AS (
        SELECT * FROM unnest(topics, keys, types, payloads, schemas, traceparents, ids)
            WITH ORDINALITY AS e(topic, key, type, payload, schema, traceparent, id, ordinal)
    ), taken AS (
        INSERT INTO event_keys AS k (tenant, topic, key, last)
        SELECT append_events.tenant, topic, key, count(*) FROM given
         GROUP BY topic, key ORDER BY topic COLLATE "C", key COLLATE "C"
        ON CONFLICT (tenant, topic, key) DO UPDATE SET last = k.last + excluded.last
        RETURNING k.topic, k.key, k.last
    )
    INSERT INTO outbox (tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload)
    SELECT append_events.tenant, g.topic, g.key,
           t.last - count(*) OVER (PARTITION BY g.topic, g.key)
               + row_number() OVER (PARTITION BY g.topic, g.key ORDER BY g.ordinal),
           -- Version 7: the first 48 bits are the time in milliseconds.
           coalesce(g.id, encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
               PLACING substring(int8send(at_ms) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid),
           decode(md5(g.payload::text), 'hex'), g.type, coalesce(g.schema, 1), at_ms, g.traceparent,
           convert_to(g.payload::text, 'UTF8')
      FROM given g JOIN taken t USING (topic, key)
     ORDER BY g.ordinal
    RETURNING kseq;
END $$;

-- Appends one event in the caller's transaction; its number within its key.
CREATE OR REPLACE FUNCTION append_event(
    tenant text, topic text, key text, type text, payload jsonb,
    schema int DEFAULT 1, traceparent text DEFAULT NULL, id uuid DEFAULT NULL
) RETURNS bigint
LANGUAGE sql SECURITY DEFINER AS $$
    SELECT * FROM append_events($1, ARRAY[$2], ARRAY[$3], ARRAY[$4], ARRAY[$5], ARRAY[$6], ARRAY[$7], ARRAY[$8])
$$;

DO $$ DECLARE made regprocedure; BEGIN
    FOR made IN SELECT oid FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname IN ('append_event', 'append_events')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', made, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    END LOOP;
END $$;
