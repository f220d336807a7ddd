-- Pruning: whole runs that ended long ago are deleted, and nothing else of what is kept append-only.

CREATE TABLE orchestration.pruned_run (
    dag_id      text NOT NULL,
    run_id      text NOT NULL,
    pruned_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    pruned_by   text NOT NULL DEFAULT session_user,
    state       text,
    began       timestamptz,
    finished_at timestamptz,
    staging     text,
    PRIMARY KEY (dag_id, run_id, pruned_at)
);
COMMENT ON TABLE orchestration.pruned_run IS 'The runs that were deleted for their age; no line of an audit goes without one of these';

CREATE FUNCTION orchestration.refuse_open_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM orchestration.run
               WHERE run.dag_id = NEW.dag_id AND run.run_id = NEW.run_id AND run.state IS NULL
                 AND (run.began > clock_timestamp() - interval '14 days'
                      OR EXISTS (SELECT FROM orchestration.claim
                                 WHERE claim.dag_id = NEW.dag_id AND claim.run_id = NEW.run_id
                                   AND claim.claimed_at > clock_timestamp() - interval '14 days'))) THEN
        RAISE EXCEPTION 'run % of % has not ended', NEW.run_id, NEW.dag_id
            USING ERRCODE = 'insufficient_privilege', HINT = 'work on it began in the last 14 days';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER ended_only BEFORE INSERT ON orchestration.pruned_run
    FOR EACH ROW EXECUTE FUNCTION orchestration.refuse_open_run();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orchestration.pruned_run
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_change();

CREATE TABLE orchestration.forgotten_staging (
    staging      text PRIMARY KEY,
    forgotten_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    forgotten_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE orchestration.forgotten_staging IS 'Places of staged files that are gone: no prune looks there for files of runs of before';

CREATE FUNCTION orchestration.refuse_unpruned() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    allowed boolean;
BEGIN
    IF TG_TABLE_NAME = 'timeline' THEN
        SELECT bool_and(EXISTS (SELECT FROM orchestration.pruned_run AS pruned
                                WHERE pruned.dag_id = gone.dag_id AND pruned.run_id = gone.run_id
                                  AND pruned.pruned_at >= gone.last_at)) INTO allowed
        FROM (SELECT dag_id, run_id, max(at) AS last_at FROM gone GROUP BY dag_id, run_id) AS gone;
    ELSE
        SELECT bool_and(EXISTS (SELECT FROM orchestration.pruned_run AS pruned
                                WHERE pruned.dag_id = gone.dag_id AND pruned.run_id = gone.run_id
                                  AND pruned.pruned_at >= gone.last_at)) INTO allowed
        FROM (SELECT dag_id, run_id, max(decided_at) AS last_at FROM gone GROUP BY dag_id, run_id) AS gone;
    END IF;
    IF NOT coalesce(allowed, true) THEN
        RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;

DROP TRIGGER append_only ON orchestration.timeline;
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON orchestration.timeline
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_change();
CREATE TRIGGER pruned_only AFTER DELETE ON orchestration.timeline REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_unpruned();

DROP TRIGGER append_only ON orchestration.decision;
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON orchestration.decision
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_change();
CREATE TRIGGER pruned_only AFTER DELETE ON orchestration.decision REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_unpruned();


-- How a run ended is said once: who had begun before that may not begin to publish afterwards.

ALTER TABLE orchestration.claim ADD COLUMN shut_at timestamptz;


-- What runs taught about feeds outlives them.

ALTER TABLE orchestration.trust ADD COLUMN started_at timestamptz;
UPDATE orchestration.trust SET started_at = run.started_at
FROM orchestration.run WHERE (run.dag_id, run.run_id) = (trust.dag_id, trust.run_id);
DELETE FROM orchestration.trust WHERE started_at IS NULL;  -- nobody could read it
ALTER TABLE orchestration.trust ALTER COLUMN started_at SET NOT NULL;


-- Manifests of before there were several datasets (0003_data_plane) get the shape of all others. What a manifest of
-- before there were versions (0002_quorum_gate) did not count stays unknown: it has no lines of versions.

UPDATE orchestration.run SET manifest = manifest - 'disagreements' || jsonb_build_object(
    'version', past.version,
    'datasets', jsonb_build_array(jsonb_build_object(
        'dataset', past.dataset,
        'table', spec #> '{pipeline,publish,table}',
        'version', past.version,
        'rows', manifest -> 'rows',
        'disagreements', coalesce(manifest -> 'disagreements', '{}'))),
    'versions', (SELECT coalesce(jsonb_agg(line || jsonb_build_object('dataset', past.dataset) ORDER BY number), '[]')
                 FROM jsonb_array_elements(manifest -> 'versions') WITH ORDINALITY AS told (line, number)))
FROM (SELECT dag_id, run_id, spec #> '{contracts,0,name}' AS dataset,
             coalesce((manifest ->> 'version')::integer, CASE state WHEN 'not_published' THEN 0 ELSE 1 END) AS version
      FROM orchestration.run) AS past
WHERE (past.dag_id, past.run_id) = (run.dag_id, run.run_id) AND spec IS NOT NULL AND NOT manifest ? 'datasets';


-- What is told once stays as it was told: an update adds what was not known yet, or is a newer execution's.

CREATE FUNCTION orchestration.refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is written once', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER written_once BEFORE UPDATE ON orchestration.run FOR EACH ROW WHEN (
    (NEW.dag_id, NEW.run_id) <> (OLD.dag_id, OLD.run_id)
    OR (OLD.spec IS NOT NULL
        AND (NEW.spec, NEW.mode, NEW.started_at) IS DISTINCT FROM (OLD.spec, OLD.mode, OLD.started_at))
    OR (OLD.state IS NOT NULL
        AND (NEW.state, NEW.manifest, NEW.finished_at) IS DISTINCT FROM (OLD.state, OLD.manifest, OLD.finished_at)
        -- One that was refused begins after all; something is published after all; a later version is.
        AND NOT (OLD.spec IS NULL AND NEW.spec IS NOT NULL AND NEW.state IS NULL)
        AND NOT (coalesce(NEW.state, 'not_published') <> 'not_published'
                 AND (OLD.state = 'not_published'
                      OR coalesce((OLD.manifest ->> 'version')::integer, 0)
                         < coalesce((NEW.manifest ->> 'version')::integer, 0)))))
    EXECUTE FUNCTION orchestration.refuse_rewriting();

CREATE TRIGGER written_once BEFORE UPDATE ON orchestration.round FOR EACH ROW WHEN (OLD.verdict IS NOT NULL)
    EXECUTE FUNCTION orchestration.refuse_rewriting();

CREATE TRIGGER written_once BEFORE UPDATE ON orchestration.sync_point FOR EACH ROW
    WHEN (NEW.floor_reached_at IS DISTINCT FROM OLD.floor_reached_at AND OLD.floor_reached_at IS NOT NULL)
    EXECUTE FUNCTION orchestration.refuse_rewriting();

CREATE TRIGGER newest_wins BEFORE UPDATE ON orchestration.feed_outcome FOR EACH ROW
    WHEN (NEW.epoch <= OLD.epoch OR (NEW.dag_id, NEW.run_id, NEW.round, NEW.feed_id)
                                 <> (OLD.dag_id, OLD.run_id, OLD.round, OLD.feed_id))
    EXECUTE FUNCTION orchestration.refuse_rewriting();

CREATE TRIGGER newest_wins BEFORE UPDATE ON orchestration.merge FOR EACH ROW
    WHEN (NEW.epoch <= OLD.epoch OR (NEW.dag_id, NEW.run_id, NEW.round, NEW.dataset)
                                 <> (OLD.dag_id, OLD.run_id, OLD.round, OLD.dataset))
    EXECUTE FUNCTION orchestration.refuse_rewriting();

CREATE TRIGGER newest_wins BEFORE UPDATE ON orchestration.agent_outcome FOR EACH ROW
    WHEN (NEW.epoch <= OLD.epoch OR (NEW.dag_id, NEW.run_id, NEW.round, NEW.unit, NEW.batch)
                                 <> (OLD.dag_id, OLD.run_id, OLD.round, OLD.unit, OLD.batch))
    EXECUTE FUNCTION orchestration.refuse_rewriting();

-- The counts of a publication are filled in by the transaction that books it.
CREATE TRIGGER booked_once BEFORE UPDATE ON orchestration.publish_ledger FOR EACH ROW
    WHEN (OLD.transaction <> pg_current_xact_id()
          OR num_nonnulls(OLD.rows_inserted, OLD.rows_updated, OLD.rows_unchanged) > 0)
    EXECUTE FUNCTION orchestration.refuse_rewriting();

-- What was published is booked for good; rows that were put aside go when somebody prunes them.
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON orchestration.publish_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orchestration.publish_ledger_feed
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON orchestration.quarantined_row
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_change();
