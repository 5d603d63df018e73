//! A log in partitions by position. The key of a partitioned table must contain what it is partitioned by, so
//! a position stays unique by itself, and no clock decides where a row goes.
//!
//! Partitions are made ahead and dropped whole: no row is ever updated or deleted, so nothing is left for
//! vacuum. What appends when all partitions are full goes into the default partition and is told. Each function
//! waits a tenth of a second for its lock and else does nothing: it comes again, and writers do not queue behind it.

use rc_store::SystemTx;

use crate::relay::Pruned;

/// Partitions that are made ahead of the newest row.
pub(crate) const PARTS_AHEAD: i32 = 2;

/// The register of partitions, and the functions. They run as their owner, so that a service needs no right to
/// change tables; everybody else must be given the right to call them.
pub(crate) const FUNCTIONS: &str = r#"
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
"#;

/// Makes the plain table of the first layout a partition of the log: nothing is copied, positions and
/// transaction numbers stay, and so do cursors. Who could write keeps the right; who could delete may retain.
pub(super) const OUTBOX_UP: &str = r#"
ALTER TABLE outbox RENAME TO outbox_0;
ALTER INDEX outbox_pkey RENAME TO outbox_0_pkey;
ALTER INDEX outbox_by_xid RENAME TO outbox_0_by_xid;
CREATE TABLE outbox (LIKE outbox_0 INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (pos);
ALTER TABLE outbox ADD PRIMARY KEY (pos);
CREATE INDEX outbox_by_xid ON outbox (xid);
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_wall ON outbox USING (tenant = current_setting('rc.tenant', true)
    OR current_setting('rc.scope', true) = 'system');
DO $$ DECLARE upto bigint; held record; BEGIN
    -- A position is never given again, also when its row is gone.
    SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END INTO upto FROM outbox_pos_seq;
    ALTER TABLE outbox_0 ALTER pos DROP IDENTITY;
    ALTER TABLE outbox ALTER pos ADD GENERATED ALWAYS AS IDENTITY;
    PERFORM setval('outbox_pos_seq', upto, false);
    CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;
    ALTER TABLE outbox_default ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    FOR held IN
        SELECT grantee, privilege_type AS what, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS who
          FROM pg_class, aclexplode(relacl) WHERE oid = 'outbox_0'::regclass AND grantee <> relowner
    LOOP
        EXECUTE format('GRANT %s ON outbox TO %s', held.what, held.who);
        IF held.what = 'DELETE' THEN
            EXECUTE format('GRANT ALL ON leases TO %s', held.who);
            EXECUTE format('GRANT EXECUTE ON FUNCTION log_make_room(text, text, bigint, int) TO %s', held.who);
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM outbox_0) THEN
        DROP POLICY tenant_wall ON outbox_0;
        EXECUTE format('ALTER TABLE outbox ATTACH PARTITION outbox_0 FOR VALUES FROM (MINVALUE) TO (%s)', upto);
    ELSE
        DROP TABLE outbox_0;
    END IF;
    INSERT INTO log_parts (log, first, next, part, opened_at)
        SELECT 'outbox', 0, upto, 'outbox_0', now() WHERE upto > 1;
END $$;

-- One step of the outbox's retention; as `log_drop_below`. `settled`: all transactions below it had ended and
-- were taken by the relay.
CREATE OR REPLACE FUNCTION outbox_retain(settled xid8, keep interval) RETURNS bigint
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
        EXECUTE format('SELECT EXISTS (SELECT FROM outbox WHERE pos >= %s AND pos < %s AND xid >= $1)',
            oldest.first, oldest.next) INTO waiting USING settled;
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
SELECT log_make_room('outbox', 'pos', 1000000, 2);
"#;

/// The plain table again, with every row that is kept.
pub(super) const OUTBOX_DOWN: &str = r#"
DROP FUNCTION outbox_retain(xid8, interval);
ALTER TABLE outbox RENAME TO outbox_parted;
ALTER INDEX outbox_pkey RENAME TO outbox_parted_pkey;
ALTER INDEX outbox_by_xid RENAME TO outbox_parted_by_xid;
CREATE TABLE outbox (LIKE outbox_parted INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
INSERT INTO outbox SELECT * FROM outbox_parted ORDER BY pos;
DO $$ DECLARE upto bigint; BEGIN
    SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END INTO upto FROM outbox_pos_seq;
    DROP TABLE outbox_parted;
    ALTER TABLE outbox ALTER pos ADD GENERATED ALWAYS AS IDENTITY;
    PERFORM setval('outbox_pos_seq', upto, false);
END $$;
ALTER TABLE outbox ADD PRIMARY KEY (pos);
CREATE INDEX outbox_by_xid ON outbox (xid);
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_wall ON outbox USING (tenant = current_setting('rc.tenant', true)
    OR current_setting('rc.scope', true) = 'system');
DELETE FROM log_parts WHERE log = 'outbox';
"#;

/// Takes the functions away.
pub(crate) const FUNCTIONS_DOWN: &str = "DROP FUNCTION log_drop_below(text, bigint);
DROP FUNCTION log_make_room(text, text, bigint, int);
DROP TABLE log_parts";

/// Makes partitions ahead of what is appended.
pub(crate) async fn make_room(
    tx: &SystemTx<'_>,
    log: &'static str,
    column: &'static str,
    rows: i64,
) -> Result<(), rc_store::Error> {
    const MAKE_ROOM: &str = "SELECT log_make_room($1, $2, $3, $4)";
    let said: i32 = tx
        .query_one(MAKE_ROOM, &[&log, &column, &rows, &PARTS_AHEAD])
        .await?
        .try_get(0)?;
    match said {
        1 => tracing::warn!(
            log,
            "appends outran the partitions: rows went into the default one; is a relay running?"
        ),
        -1 => tracing::debug!(
            log,
            "somebody holds the table; partitions are made at the next round"
        ),
        _ => {}
    }
    Ok(())
}

/// The answer of one step of retention.
pub(crate) fn dropped(said: Option<i64>) -> Pruned {
    match said {
        Some(rows) if rows >= 0 => Pruned {
            rows: rows.cast_unsigned(),
            more: true,
        },
        // Held by others, or nothing to do: the next round is early enough.
        Some(_) | None => Pruned::default(),
    }
}

#[cfg(test)]
mod tests;
