-- Agents, what they hold while they work, and the job registry.

-- Agents: who was made for a round, how their work on each batch ended, and what that teaches a tenant.

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


-- Leases: what agents hold while they work, and the capacity of which it is lent.

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
