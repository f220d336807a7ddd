-- What the store keeps of runs, and what a target database keeps of publications.
-- Both sides get all of it: store and target may be one database.

CREATE SCHEMA orchestration;

CREATE TABLE orchestration.migration (
    name       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE orchestration.migration IS 'The numbered migrations that were applied';


-- Fences

CREATE SEQUENCE orchestration.epoch AS bigint;
COMMENT ON SEQUENCE orchestration.epoch IS 'Fencing tokens: every start of an execution takes one';

CREATE TABLE orchestration.claim (
    dag_id      text NOT NULL,
    run_id      text NOT NULL,
    round       integer NOT NULL CHECK (round >= 0),
    unit        text NOT NULL,
    epoch       bigint NOT NULL,
    try_number  integer NOT NULL,
    ti_id       text NOT NULL,
    process     text NOT NULL,
    claimed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL,
    shut_at     timestamptz,
    PRIMARY KEY (dag_id, run_id, round, unit)
);
COMMENT ON TABLE orchestration.claim IS 'Who may write for a work unit: the execution with this epoch, nobody else';

CREATE INDEX claim_newest ON orchestration.claim (dag_id, run_id, epoch);


-- Runs and rounds

CREATE TABLE orchestration.run (
    dag_id         text NOT NULL,
    run_id         text NOT NULL,
    spec           jsonb,
    mode           jsonb,
    started_at     timestamptz,
    state          text CHECK (state IN ('published', 'published_degraded', 'not_published')),
    manifest       jsonb,
    finished_at    timestamptz,
    began          timestamptz GENERATED ALWAYS AS (coalesce(started_at, finished_at)) STORED,
    weight_share   double precision GENERATED ALWAYS AS ((manifest ->> 'weight_share')::double precision) STORED,
    feeds_in       integer GENERATED ALWAYS AS ((manifest ->> 'feeds_in')::integer) STORED,
    feeds_expected integer GENERATED ALWAYS AS ((manifest ->> 'feeds_expected')::integer) STORED,
    version        integer GENERATED ALWAYS AS ((manifest ->> 'version')::integer) STORED,
    feed_ids       jsonb GENERATED ALWAYS AS (CASE WHEN manifest IS NULL
        THEN jsonb_path_query_array(spec, '$.pipeline.feeds[*].id')
        ELSE jsonb_path_query_array(manifest, '$.feeds[*].feed') END) STORED,
    feeds_missing  jsonb GENERATED ALWAYS AS (jsonb_path_query_array(manifest, '$.feeds[*] ? (@.state != "in")')) STORED,
    PRIMARY KEY (dag_id, run_id),
    CHECK (num_nonnulls(spec, mode, started_at) IN (0, 3)),
    CHECK (num_nonnulls(state, manifest, finished_at) IN (0, 3))
);
COMMENT ON TABLE orchestration.run IS 'A Dag run: what it does, and how it ended. A run that was refused has only an end';

CREATE INDEX run_began ON orchestration.run (dag_id, began DESC, run_id DESC);

CREATE TABLE orchestration.round (
    dag_id     text NOT NULL,
    run_id     text NOT NULL,
    round      integer NOT NULL CHECK (round >= 1),
    plan       jsonb NOT NULL,
    opened_at  timestamptz NOT NULL,
    verdict    jsonb,
    decided_at timestamptz,
    action     text GENERATED ALWAYS AS (verdict ->> 'action') STORED,
    PRIMARY KEY (dag_id, run_id, round),
    CHECK ((verdict IS NULL) = (decided_at IS NULL))
);
COMMENT ON TABLE orchestration.round IS 'A round with its gate: plan and verdict are each written once';

CREATE TABLE orchestration.sync_point (
    dag_id           text NOT NULL,
    run_id           text NOT NULL,
    round            integer NOT NULL,
    name             text NOT NULL,
    deadline_at      timestamptz NOT NULL,
    floor_reached_at timestamptz,
    PRIMARY KEY (dag_id, run_id, round, name),
    FOREIGN KEY (dag_id, run_id, round) REFERENCES orchestration.round
);
COMMENT ON TABLE orchestration.sync_point IS 'When each quorum of a round must have decided, and when its floor was reached';

CREATE TABLE orchestration.feed_outcome (
    dag_id              text NOT NULL,
    run_id              text NOT NULL,
    round               integer NOT NULL CHECK (round >= 1),
    feed_id             text NOT NULL,
    epoch               bigint NOT NULL,
    branch_id           text NOT NULL,
    status              text NOT NULL CHECK (status IN ('success', 'failed')),
    elapsed_seconds     double precision NOT NULL,
    cluster_utilization double precision NOT NULL,
    rows_in             bigint NOT NULL CHECK (rows_in >= 0),
    rows_staged         bigint NOT NULL CHECK (rows_staged >= 0),
    rows_quarantined    bigint NOT NULL CHECK (rows_quarantined >= 0),
    rows_out_of_scope   bigint NOT NULL CHECK (rows_out_of_scope BETWEEN 0 AND rows_quarantined),
    staged_uri          text,
    staged_sha256       text,
    staged_bytes        bigint,
    staged_rows         bigint,
    quarantine_uri      text,
    quarantine_sha256   text,
    quarantine_bytes    bigint,
    quarantine_rows     bigint,
    completeness        double precision,
    validity            double precision,
    uniqueness          double precision,
    quality_score       double precision NOT NULL,
    rejects             jsonb,
    error               text,
    ranges              jsonb,
    drift               jsonb,
    rules               jsonb,
    registered_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dag_id, run_id, round, feed_id),
    CHECK (rows_in = rows_staged + rows_quarantined),
    CHECK (num_nonnulls(staged_uri, staged_sha256, staged_bytes, staged_rows) IN (0, 4)),
    CHECK (num_nonnulls(quarantine_uri, quarantine_sha256, quarantine_bytes, quarantine_rows) IN (0, 4)),
    CHECK (num_nonnulls(completeness, validity, uniqueness) IN (0, 3))
);
COMMENT ON TABLE orchestration.feed_outcome IS 'How a feed ended in a round; the newest epoch wins';

CREATE INDEX feed_outcome_history ON orchestration.feed_outcome (dag_id, feed_id, registered_at DESC)
    WHERE status = 'success';

CREATE TABLE orchestration.feed_profile (
    dag_id        text NOT NULL,
    run_id        text NOT NULL,
    round         integer NOT NULL,
    feed_id       text NOT NULL,
    profile       jsonb NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dag_id, run_id, round, feed_id),
    FOREIGN KEY (dag_id, run_id, round, feed_id) REFERENCES orchestration.feed_outcome
);
COMMENT ON TABLE orchestration.feed_profile IS 'What the rows of a feed looked like in a round: counts, means, bounds';

CREATE INDEX feed_profile_history ON orchestration.feed_profile (dag_id, feed_id, registered_at DESC);

CREATE TABLE orchestration.waiting (
    dag_id  text NOT NULL,
    run_id  text NOT NULL,
    round   integer NOT NULL,
    unit    text NOT NULL,
    feed_id text NOT NULL,
    PRIMARY KEY (dag_id, run_id, round, unit, feed_id)
);
COMMENT ON TABLE orchestration.waiting IS 'The feeds that a branch is waiting for';

CREATE TABLE orchestration.merge (
    dag_id         text NOT NULL,
    run_id         text NOT NULL,
    round          integer NOT NULL CHECK (round >= 1),
    epoch          bigint NOT NULL,
    staged_uri     text NOT NULL,
    staged_sha256  text NOT NULL,
    staged_bytes   bigint NOT NULL,
    staged_rows    bigint NOT NULL,
    content_sha256 text NOT NULL,
    decision       jsonb NOT NULL,
    published      jsonb NOT NULL,
    superseded     jsonb NOT NULL,
    disagreements  jsonb NOT NULL,
    compared       jsonb NOT NULL,
    completeness   double precision NOT NULL,
    merged_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    dataset        text NOT NULL,
    examples       jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (dag_id, run_id, round, dataset)
);
COMMENT ON TABLE orchestration.merge IS 'The merge of a dataset in a round; the newest epoch wins';


-- Streams

CREATE TABLE orchestration.stream_range (
    dag_id        text NOT NULL,
    feed_id       text NOT NULL,
    partition     text NOT NULL,
    start         bigint[] NOT NULL,
    stop          bigint[] NOT NULL,
    run_id        text NOT NULL,
    round         integer NOT NULL CHECK (round >= 1),
    epoch         bigint NOT NULL,
    held          boolean NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dag_id, feed_id, partition, start, run_id),
    CHECK (start < stop)
);
COMMENT ON TABLE orchestration.stream_range IS 'What each run read of a stream; nobody else reads what a run holds';

CREATE UNIQUE INDEX stream_range_held ON orchestration.stream_range (dag_id, feed_id, partition, start) WHERE held;
CREATE INDEX stream_range_returned ON orchestration.stream_range (dag_id, feed_id, partition, start) WHERE NOT held;
CREATE INDEX stream_range_run ON orchestration.stream_range (dag_id, run_id, feed_id);

CREATE TABLE orchestration.stream_closed (
    dag_id  text NOT NULL,
    run_id  text NOT NULL,
    feed_id text NOT NULL,
    PRIMARY KEY (dag_id, run_id, feed_id)
);
COMMENT ON TABLE orchestration.stream_closed IS 'The streams that a run ended without: it holds nothing of them any more';


-- Audit

CREATE TABLE orchestration.decision (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id     text NOT NULL,
    run_id     text NOT NULL,
    round      integer NOT NULL CHECK (round >= 0),
    decision   jsonb NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE orchestration.decision IS 'Every decision with its reason and evidence';

CREATE INDEX decision_run ON orchestration.decision (dag_id, run_id, id);
CREATE INDEX decision_of_round ON orchestration.decision (dag_id, run_id, id)
    WHERE decision ->> 'policy' IN ('quorum_gate', 'merging', 'admission', 'quality_gate', 'asking', 'person', 'reconciling',
                                    'allocation', 'rebalancing', 'workflow_mode');
CREATE INDEX decision_besides ON orchestration.decision (dag_id, run_id, id)
    WHERE decision ->> 'policy' NOT IN ('quorum_gate', 'merging', 'admission', 'quality_gate', 'asking', 'person', 'reconciling',
                                        'allocation', 'rebalancing', 'workflow_mode')
      AND decision ->> 'policy' NOT IN ('agent_selection', 'agent_order');
CREATE INDEX decision_quality ON orchestration.decision (dag_id, run_id, id) WHERE decision ->> 'policy' = 'quality_gate';

CREATE TABLE orchestration.timeline (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    round  integer NOT NULL CHECK (round >= 0),
    unit   text NOT NULL,
    epoch  bigint,
    event  text NOT NULL,
    detail jsonb NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE orchestration.timeline IS 'What happened, written in the transaction in which it happened';

CREATE INDEX timeline_run ON orchestration.timeline (dag_id, run_id, id);
CREATE INDEX timeline_round ON orchestration.timeline (dag_id, run_id, round, id);
CREATE INDEX timeline_asked ON orchestration.timeline (dag_id, run_id, event, id)
    WHERE event IN ('person_asked', 'dynamic_data_processing_agent_creation');
CREATE INDEX timeline_agent ON orchestration.timeline (dag_id, run_id, (detail ->> 'agent'), event, id)
    WHERE event IN ('agent_waiting', 'agent_started', 'agent_progress', 'agent_finished');

CREATE FUNCTION orchestration.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only', TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;


-- Pruning: whole runs that ended long ago are deleted, and nothing else of what is kept append-only

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

CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON orchestration.timeline
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_change();
CREATE TRIGGER pruned_only AFTER DELETE ON orchestration.timeline REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_unpruned();

CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON orchestration.decision
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_change();
CREATE TRIGGER pruned_only AFTER DELETE ON orchestration.decision REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_unpruned();


-- Publications, in the database of the target table

CREATE SCHEMA orchestration_scratch;
COMMENT ON SCHEMA orchestration_scratch IS 'Unlogged tables of publications under way, each of one attempt';

CREATE TABLE orchestration.publish_claim (
    target_table    text NOT NULL,
    publication_key text NOT NULL,
    epoch           bigint NOT NULL,
    claimed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (target_table, publication_key)
);
COMMENT ON TABLE orchestration.publish_claim IS 'Which execution may publish; the epoch only grows';

CREATE TABLE orchestration.publish_ledger (
    target_table     text NOT NULL,
    publication_key  text NOT NULL,
    dag_id           text NOT NULL,
    run_id           text NOT NULL,
    round            integer NOT NULL,
    epoch            bigint NOT NULL,
    content_sha256   text NOT NULL,
    rows_in          bigint NOT NULL,
    rows_published   bigint NOT NULL CHECK (rows_published >= 0),
    rows_superseded  bigint NOT NULL CHECK (rows_superseded >= 0),
    rows_quarantined bigint NOT NULL CHECK (rows_quarantined >= 0),
    rows_inserted    bigint,
    rows_updated     bigint,
    rows_unchanged   bigint,
    transaction      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    published_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    version          integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    rows_withdrawn   bigint NOT NULL DEFAULT 0 CHECK (rows_withdrawn >= 0),
    number           bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (target_table, publication_key),
    CHECK (rows_in = rows_published + rows_superseded + rows_quarantined),
    CHECK (rows_published = rows_inserted + rows_updated + rows_unchanged)
);
CREATE INDEX publish_ledger_run ON orchestration.publish_ledger (target_table, dag_id, run_id, version);
CREATE UNIQUE INDEX publish_ledger_number ON orchestration.publish_ledger (target_table, number DESC);
COMMENT ON TABLE orchestration.publish_ledger IS 'What was published, committed together with the rows';

CREATE TABLE orchestration.publish_ledger_feed (
    target_table     text NOT NULL,
    publication_key  text NOT NULL,
    feed_id          text NOT NULL,
    rows_in          bigint NOT NULL,
    rows_staged      bigint NOT NULL,
    rows_published   bigint NOT NULL,
    rows_superseded  bigint NOT NULL,
    rows_quarantined bigint NOT NULL,
    rows_replaced    bigint NOT NULL DEFAULT 0 CHECK (rows_replaced >= 0),
    PRIMARY KEY (target_table, publication_key, feed_id),
    FOREIGN KEY (target_table, publication_key) REFERENCES orchestration.publish_ledger,
    CHECK (rows_staged = rows_published + rows_superseded),
    CHECK (rows_in = rows_staged + rows_quarantined)
);
COMMENT ON TABLE orchestration.publish_ledger_feed IS 'The ledger by feed: rows in = published + superseded + quarantined';

CREATE TABLE orchestration.quarantined_row (
    target_table    text NOT NULL,
    publication_key text NOT NULL,
    feed_id         text NOT NULL,
    position        bigint,
    rule            text NOT NULL,
    column_name     text,
    reason          text,
    raw             text,
    origin          text
);
COMMENT ON TABLE orchestration.quarantined_row IS 'Rows that were not published, with the reason';

CREATE INDEX quarantined_row_publication
    ON orchestration.quarantined_row (target_table, publication_key, feed_id, rule, position);

CREATE TABLE orchestration.trust (
    dag_id      text NOT NULL,
    dataset     text NOT NULL,
    run_id      text NOT NULL,
    attribute   text NOT NULL,
    feed_id     text NOT NULL,
    right_count double precision NOT NULL CHECK (right_count >= 0),
    total_count double precision NOT NULL CHECK (total_count >= right_count),
    accuracy    double precision NOT NULL CHECK (accuracy BETWEEN 0 AND 1),
    method      text NOT NULL,
    started_at  timestamptz NOT NULL,
    PRIMARY KEY (dag_id, dataset, run_id, attribute, feed_id)
);
COMMENT ON TABLE orchestration.trust IS 'How often a feed was right in an attribute, run by run, and what it was believed to be';

CREATE INDEX trust_run ON orchestration.trust (dag_id, run_id, feed_id);

CREATE TABLE orchestration.agents_of_round (
    dag_id      text NOT NULL,
    run_id      text NOT NULL,
    round       integer NOT NULL CHECK (round >= 0),
    unit        text NOT NULL,
    agents      jsonb NOT NULL,
    assigned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dag_id, run_id, round, unit)
);
COMMENT ON TABLE orchestration.agents_of_round IS 'The agents of a round, their specifications and their work, written once by each work unit that makes some';

CREATE TABLE orchestration.agent_outcome (
    dag_id             text NOT NULL,
    run_id             text NOT NULL,
    round              integer NOT NULL,
    unit               text NOT NULL,
    batch              text NOT NULL,
    epoch              bigint NOT NULL,
    tenant             text NOT NULL,
    agent_id           text NOT NULL,
    agent_type         text NOT NULL,
    kind               text NOT NULL,
    succeeded          boolean NOT NULL,
    execution_seconds  double precision CHECK (execution_seconds >= 0),
    data_quality_score double precision CHECK (data_quality_score BETWEEN 0 AND 1),
    records            bigint CHECK (records >= 0),
    peak_memory_mb     double precision CHECK (peak_memory_mb >= 0),
    recorded_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dag_id, run_id, round, unit, batch),
    CHECK ((execution_seconds IS NULL) = (data_quality_score IS NULL)),
    CHECK ((execution_seconds IS NULL) = (records IS NULL)),
    CHECK (peak_memory_mb IS NULL OR execution_seconds IS NOT NULL)
);
COMMENT ON TABLE orchestration.agent_outcome IS 'How the work of an agent on a batch ended; the newest epoch of the work unit wins';

CREATE INDEX agent_outcome_history ON orchestration.agent_outcome (tenant, recorded_at);


-- The job registry

CREATE TABLE orchestration.job_revision (
    revision   bigint PRIMARY KEY CHECK (revision BETWEEN 1 AND 1000000000),
    tenant     text COLLATE "C" NOT NULL,
    job        text COLLATE "C" NOT NULL,
    files      jsonb NOT NULL CHECK (
        jsonb_typeof(files) = 'array'
        AND NOT jsonb_path_exists(
            files,
            'strict $[*] ? (@.type() != "array" || @.size() != 2 || @[*].type() != "string")'
        )
    ),
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL CHECK (changed_at >= '2020-01-01 00:00:00+00' AND changed_at < '3000-01-01 00:00:00+00'),
    is_removed boolean NOT NULL GENERATED ALWAYS AS (files = '[]') STORED
);
COMMENT ON TABLE orchestration.job_revision IS 'Every change of every job''s specification; without files the job was removed';

CREATE INDEX job_revision_job ON orchestration.job_revision (tenant, job, revision DESC);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orchestration.job_revision
    FOR EACH STATEMENT EXECUTE FUNCTION orchestration.refuse_change();


-- Leases

CREATE TABLE orchestration.lease_capacity (
    tenant         text PRIMARY KEY,
    cpu_millicores integer CHECK (cpu_millicores >= 1),
    memory_mb      integer CHECK (memory_mb >= 1),
    connections    integer CHECK (connections >= 0),
    CHECK (num_nulls(cpu_millicores, memory_mb, connections) IN (0, 3))
);
COMMENT ON TABLE orchestration.lease_capacity IS 'What may be lent to a tenant, and under no name to all; without numbers the default';
INSERT INTO orchestration.lease_capacity (tenant) VALUES ('');

CREATE TABLE orchestration.lease (
    holder         text PRIMARY KEY,
    tenant         text NOT NULL,
    cpu_millicores integer NOT NULL CHECK (cpu_millicores >= 1),
    memory_mb      integer NOT NULL CHECK (memory_mb >= 1),
    connections    integer NOT NULL CHECK (connections >= 0),
    epoch          bigint NOT NULL,
    asked_at       timestamptz NOT NULL,
    unserved_since timestamptz NOT NULL,
    granted_at     timestamptz,
    expires_at     timestamptz NOT NULL
);
COMMENT ON TABLE orchestration.lease IS 'What each agent holds or waits for; nothing counts that has expired';


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
