-- Which layout this is. A newer one is left alone: older functions must not replace its own.
DO $$ DECLARE found int; BEGIN
    IF to_regprocedure('outbox_layout()') IS NOT NULL THEN
        EXECUTE 'SELECT outbox_layout()' INTO found;
        IF found > 1 THEN
            RAISE EXCEPTION 'the outbox has layout %, and this rc knows 1', found
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END IF;
END $$;
CREATE OR REPLACE FUNCTION outbox_layout() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
