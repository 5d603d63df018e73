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
SELECT log_make_room('outbox', 'pos', 1000000, 2);
"#;

/// The plain table again, with every row that is kept.
pub(super) const OUTBOX_DOWN: &str = r#"
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

/// Takes the register and the functions away.
pub(crate) const LOG_PARTS_DOWN: &str = "DROP FUNCTION log_drop_below(text, bigint);
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
