CREATE TABLE IF NOT EXISTS log_parts (
    log text NOT NULL,
    first bigint NOT NULL,
    next bigint NOT NULL,
    part text NOT NULL,
    opened_at timestamptz,
    closed_at timestamptz,
    PRIMARY KEY (log, first)
);

-- Makes partitions until `ahead` of them are empty. 1 when rows had outrun them, -1 when others hold the table.
CREATE OR REPLACE FUNCTION log_make_room(of_log text, by_column text, width bigint, ahead int) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    newest bigint;
    upto bigint;
    outrun int := 0;
    made text;
BEGIN
    -- What row-level security hides would look like an empty log.
    IF current_setting('rc.scope', true) IS DISTINCT FROM 'system' THEN
        RAISE EXCEPTION 'set rc.scope to system first';
    END IF;
    SELECT coalesce(max(next), 1) INTO upto FROM log_parts WHERE log = of_log;
    EXECUTE format('SELECT coalesce(max(%I), 0) FROM %I', by_column, of_log) INTO newest;
    IF newest < upto AND (SELECT count(*) FROM log_parts WHERE log = of_log AND first > newest) >= ahead THEN
        RETURN 0;
    END IF;
    -- One at a time; writers go on.
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE', of_log);
    SELECT coalesce(max(next), 1) INTO upto FROM log_parts WHERE log = of_log;
    EXECUTE format('SELECT coalesce(max(%I), 0) FROM %I', by_column, of_log) INTO newest;
    IF newest >= upto THEN
        -- Rows lie in the default partition: the next partition begins behind the last of them.
        EXECUTE format('LOCK TABLE ONLY %I IN SHARE ROW EXCLUSIVE MODE', of_log);
        EXECUTE format('SELECT max(%I) FROM %I', by_column, of_log) INTO newest;
        INSERT INTO log_parts (log, first, next, part, opened_at, closed_at)
            VALUES (of_log, upto, newest + 1, of_log || '_default', clock_timestamp(), clock_timestamp());
        upto := newest + 1;
        outrun := 1;
    END IF;
    WHILE (SELECT count(*) FROM log_parts WHERE log = of_log AND first > newest) < ahead LOOP
        made := of_log || '_' || upto;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', made, of_log);
        -- A wall without a door: rows are reached through the log and its policy only.
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', made);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
            of_log, made, upto, upto + width);
        INSERT INTO log_parts (log, first, next, part) VALUES (of_log, upto, upto + width, made);
        upto := upto + width;
    END LOOP;
    RETURN outrun;
EXCEPTION WHEN lock_not_available THEN
    RETURN -1;
END $$;

-- Drops the oldest partition, if everything in it lies below `upto`. About how many rows that were; NULL when
-- there was none to drop, -1 when others hold the table.
CREATE OR REPLACE FUNCTION log_drop_below(of_log text, upto bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    oldest log_parts;
    gone bigint;
BEGIN
    SELECT * INTO oldest FROM log_parts WHERE log = of_log ORDER BY first LIMIT 1;
    IF oldest.next IS NULL OR oldest.next > upto THEN
        RETURN NULL;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', of_log);
    SELECT greatest(reltuples, 0) INTO gone FROM pg_class WHERE oid = to_regclass(quote_ident(oldest.part));
    IF oldest.part = of_log || '_default' THEN
        EXECUTE format('TRUNCATE %I', oldest.part);
    ELSE
        EXECUTE format('DROP TABLE IF EXISTS %I', oldest.part);
    END IF;
    DELETE FROM log_parts WHERE log = of_log AND first = oldest.first;
    RETURN coalesce(gone, 0);
EXCEPTION WHEN lock_not_available THEN
    RETURN -1;
END $$;

-- Unqualified names mean this schema and nothing that a caller made; calling takes a grant.
DO $$ DECLARE made regprocedure; BEGIN
    FOR made IN SELECT oid FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname IN ('log_make_room', 'log_drop_below')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', made, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    END LOOP;
END $$;
