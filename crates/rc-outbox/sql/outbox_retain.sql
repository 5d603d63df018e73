-- One step of the outbox's retention; as `log_drop_below`. `taken`: what was visible in this snapshot was taken by
-- the relay, so that a transaction that is open elsewhere in the cluster holds back no more than its own rows.
CREATE OR REPLACE FUNCTION outbox_retain(taken pg_snapshot, keep interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
    newest bigint;
    slow log_parts;
    oldest log_parts;
    waiting boolean;
BEGIN
    -- What row-level security hides would look like an empty log.
    IF current_setting('rc.scope', true) IS DISTINCT FROM 'system' THEN
        RAISE EXCEPTION 'set rc.scope to system first';
    END IF;
    SELECT coalesce(max(pos), 0) INTO newest FROM outbox;
    UPDATE log_parts SET opened_at = clock_timestamp()
     WHERE log = 'outbox' AND opened_at IS NULL AND first <= newest;
    UPDATE log_parts SET closed_at = clock_timestamp()
     WHERE log = 'outbox' AND closed_at IS NULL AND next <= newest;
    -- A partition that fills slowly is left for the next one, so that its rows can go when they are old.
    SELECT * INTO slow FROM log_parts
     WHERE log = 'outbox' AND closed_at IS NULL AND opened_at <= clock_timestamp() - keep / 2
     ORDER BY first LIMIT 1;
    IF slow.next IS NOT NULL THEN
        -- Nobody is between taking a position and ending: the sequence can be moved.
        LOCK TABLE ONLY outbox IN SHARE ROW EXCLUSIVE MODE;
        PERFORM setval('outbox_pos_seq', slow.next - 1) FROM outbox_pos_seq WHERE last_value < slow.next - 1;
        UPDATE log_parts SET closed_at = clock_timestamp() WHERE log = 'outbox' AND first = slow.first;
        RETURN 0;
    END IF;
    SELECT * INTO oldest FROM log_parts WHERE log = 'outbox' ORDER BY first LIMIT 1;
    IF oldest.closed_at IS NULL OR oldest.closed_at > clock_timestamp() - keep THEN
        RETURN NULL;
    END IF;
    -- Twice: first without keeping anybody out, then with nobody in the middle of an append.
    FOR round IN 1..2 LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM outbox WHERE pos >= %s AND pos < %s
            AND xid >= pg_snapshot_xmin($1) AND NOT pg_visible_in_snapshot(xid, $1))',
            oldest.first, oldest.next) INTO waiting USING taken;
        IF waiting THEN
            RETURN NULL;
        END IF;
        IF round = 1 THEN
            LOCK TABLE ONLY outbox IN ACCESS EXCLUSIVE MODE;
        END IF;
    END LOOP;
    RETURN log_drop_below('outbox', oldest.next);
EXCEPTION WHEN lock_not_available THEN
    RETURN -1;
END $$;

-- Unqualified names mean this schema and nothing that a caller made; calling takes a grant.
DO $$ DECLARE made regprocedure; BEGIN
    FOR made IN SELECT oid FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname IN ('outbox_retain')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', made, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    END LOOP;
END $$;
