-- Who may do what with the schemas of orchestration in a database: five roles that nobody logs in as.
--
--   orchestration_owner      migrates, prunes, says what may be lent; everything in the schemas belongs to it
--   orchestration_worker     what the tasks of runs do in the store
--   orchestration_publisher  what publishing needs beside the target tables, in the database of the targets
--   orchestration_registrar  who changes jobs of the job registry, of every tenant
--   orchestration_reader     the page, and commands that look: reads everything here, rows put aside included
--
-- Apply it to each database that was migrated, after every migration, until it says COMMIT:
--
--   airflow orchestration roles | psql -v ON_ERROR_STOP=1 ...
--
-- The first time as somebody who may create roles and owns the schemas, later as a member of orchestration_owner.
-- Repeating it changes nothing, and takes back what was granted to these roles besides in the schema `orchestration`.
-- Then give each login what it needs, and a publisher its tables:
--
--   GRANT orchestration_worker TO ...;
--   GRANT orchestration_publisher TO ...;
--   GRANT USAGE, CREATE ON SCHEMA <target schema> TO <who publishes>;

BEGIN;

SELECT pg_advisory_xact_lock(hashtextextended('orchestration.migration', 0));

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY[
        'orchestration_owner', 'orchestration_worker', 'orchestration_publisher', 'orchestration_registrar',
        'orchestration_reader']
    LOOP
        IF to_regrole(wanted) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    -- Who makes a role without being superuser may grant it, and must be in it to give things to it.
    IF NOT pg_has_role(current_user, 'orchestration_owner', 'SET') THEN
        EXECUTE format('GRANT orchestration_owner TO %I', current_user);
    END IF;
END
$$;


-- Everything belongs to the owner

GRANT USAGE, CREATE ON SCHEMA orchestration, orchestration_scratch TO orchestration_owner;

DO $$
DECLARE
    change text;
BEGIN
    FOR change IN
        SELECT format('ALTER %s orchestration.%I OWNER TO orchestration_owner',
                      CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, relname)
        FROM pg_class
        WHERE relnamespace = 'orchestration'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
          AND relowner <> 'orchestration_owner'::regrole
          AND NOT EXISTS (SELECT FROM pg_depend  -- the sequence of an identity column goes with its table
                          WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'i')
        UNION ALL
        SELECT format('ALTER ROUTINE %s OWNER TO orchestration_owner', oid::regprocedure)
        FROM pg_proc
        WHERE pronamespace = 'orchestration'::regnamespace AND proowner <> 'orchestration_owner'::regrole
        UNION ALL
        SELECT format('ALTER SCHEMA %I OWNER TO orchestration_owner', nspname)
        FROM pg_namespace
        WHERE nspname IN ('orchestration', 'orchestration_scratch')
          AND nspowner <> 'orchestration_owner'::regrole
    LOOP
        EXECUTE change;
    END LOOP;
END
$$;


-- Nobody else has anything but what follows

REVOKE ALL ON ALL TABLES IN SCHEMA orchestration
    FROM PUBLIC, orchestration_worker, orchestration_publisher, orchestration_registrar, orchestration_reader;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA orchestration
    FROM PUBLIC, orchestration_worker, orchestration_publisher, orchestration_registrar, orchestration_reader;
REVOKE ALL ON ALL ROUTINES IN SCHEMA orchestration
    FROM PUBLIC, orchestration_worker, orchestration_publisher, orchestration_registrar, orchestration_reader;
REVOKE ALL ON SCHEMA orchestration, orchestration_scratch
    FROM PUBLIC, orchestration_worker, orchestration_publisher, orchestration_registrar, orchestration_reader;

GRANT USAGE ON SCHEMA orchestration
    TO orchestration_worker, orchestration_publisher, orchestration_registrar, orchestration_reader;


-- The worker: tables of the store. What was decided and told is added to and never changed, and triggers let it update
-- what was not known yet, and by a newer execution what an older one has told: no verdict, no end, nothing of the past.

GRANT USAGE ON SEQUENCE orchestration.epoch TO orchestration_worker;
GRANT SELECT
    ON orchestration.migration, orchestration.lease_capacity, orchestration.pruned_run, orchestration.job_revision
    TO orchestration_worker;
GRANT SELECT, INSERT
    ON orchestration.decision, orchestration.timeline, orchestration.agents_of_round TO orchestration_worker;
GRANT SELECT, INSERT, UPDATE (verdict, decided_at) ON orchestration.round TO orchestration_worker;
GRANT SELECT, INSERT, UPDATE (floor_reached_at) ON orchestration.sync_point TO orchestration_worker;
GRANT SELECT, INSERT, UPDATE
    ON orchestration.claim, orchestration.run, orchestration.feed_outcome, orchestration.merge,
       orchestration.stream_range, orchestration.agent_outcome
    TO orchestration_worker;
GRANT SELECT, INSERT, DELETE
    ON orchestration.feed_profile, orchestration.waiting, orchestration.stream_closed, orchestration.trust
    TO orchestration_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON orchestration.lease TO orchestration_worker;


-- The publisher: the ledger beside the target tables. What is booked is booked; only the counts of a publication
-- under way are filled in, by the transaction that books it, and a check refuses a sum that is not that of its rows.

GRANT USAGE, CREATE ON SCHEMA orchestration_scratch TO orchestration_publisher;
GRANT SELECT ON orchestration.migration TO orchestration_publisher;
GRANT SELECT, INSERT, UPDATE (epoch, claimed_at) ON orchestration.publish_claim TO orchestration_publisher;
GRANT SELECT, INSERT, UPDATE (rows_inserted, rows_updated, rows_unchanged)
    ON orchestration.publish_ledger TO orchestration_publisher;
GRANT SELECT, INSERT
    ON orchestration.publish_ledger_feed, orchestration.quarantined_row TO orchestration_publisher;


-- The registrar: the server can't know who may speak for which tenant, so whoever runs branches is not let in here.

GRANT SELECT ON orchestration.migration TO orchestration_registrar;
GRANT SELECT, INSERT ON orchestration.job_revision TO orchestration_registrar;


-- The reader

GRANT SELECT ON ALL TABLES IN SCHEMA orchestration TO orchestration_reader;

COMMIT;
