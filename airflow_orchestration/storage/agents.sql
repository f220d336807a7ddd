-- name: assign_agents
-- Keep the agents that a work unit has made, unless it has made some already.
INSERT INTO orchestration.agents_of_round (dag_id, run_id, round, unit, agents)
VALUES (%(dag_id)s, %(run_id)s, %(round)s, %(unit)s, %(agents)s)
ON CONFLICT (dag_id, run_id, round, unit) DO NOTHING;

-- name: agents_of_round
-- Read the agents of a round, or those alone that one work unit has made.
SELECT agents FROM orchestration.agents_of_round
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round = %(round)s
  AND (%(unit)s::text IS NULL OR unit = %(unit)s);

-- name: agent_of_round
-- Read one agent of a round.
SELECT agent FROM orchestration.agents_of_round, jsonb_array_elements(agents) AS agent
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round = %(round)s AND agent ->> 'agent_id' = %(agent_id)s;

-- name: choice_of_agent
-- Read the decision that led to an agent.
SELECT decision FROM orchestration.decision
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND decision -> 'evidence' ->> 'agent_id' = %(agent_id)s
ORDER BY id LIMIT 1;

-- name: record_outcome
-- Keep how an agent's work on a batch ended, unless this epoch of the work unit or a newer one told that already.
INSERT INTO orchestration.agent_outcome AS known
    (dag_id, run_id, round, unit, batch, epoch, tenant, agent_id, agent_type, kind, succeeded,
     execution_seconds, data_quality_score, records, peak_memory_mb)
VALUES (%(dag_id)s, %(run_id)s, %(round)s, %(unit)s, %(batch)s, %(epoch)s, %(tenant)s, %(agent_id)s, %(agent_type)s,
        %(kind)s, %(succeeded)s, %(execution_seconds)s, %(data_quality_score)s, %(records)s, %(peak_memory_mb)s)
ON CONFLICT (dag_id, run_id, round, unit, batch) DO UPDATE
SET epoch = excluded.epoch, tenant = excluded.tenant, agent_id = excluded.agent_id, agent_type = excluded.agent_type,
    kind = excluded.kind, succeeded = excluded.succeeded, execution_seconds = excluded.execution_seconds,
    data_quality_score = excluded.data_quality_score, records = excluded.records,
    peak_memory_mb = excluded.peak_memory_mb, recorded_at = excluded.recorded_at
WHERE known.epoch < excluded.epoch;

-- name: agent_outcomes
-- Read how the work of a run's agents ended, in the order in which it was told.
SELECT round, batch, agent_id, agent_type, kind, succeeded,
       execution_seconds, data_quality_score, records, peak_memory_mb
FROM orchestration.agent_outcome
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
ORDER BY recorded_at, round, unit, batch;

-- name: agent_history
-- What the agents of a tenant did on each of the last days by UTC, today's included, by type, kind and day.
SELECT agent_type, kind,
       (statement_timestamp() AT TIME ZONE 'UTC')::date - (recorded_at AT TIME ZONE 'UTC')::date AS days_ago,
       count(*) FILTER (WHERE succeeded) AS successes,
       count(*) FILTER (WHERE NOT succeeded) AS failures,
       count(execution_seconds) AS measured,
       coalesce(sum(execution_seconds), 0) AS seconds,
       coalesce(sum(records), 0)::bigint AS records,
       coalesce(sum(data_quality_score), 0) AS quality,
       coalesce(max(peak_memory_mb), 0) AS peak_memory_mb
FROM orchestration.agent_outcome
WHERE tenant = %(tenant)s
  AND recorded_at >= date_trunc('day', statement_timestamp(), 'UTC') - (%(days)s - 1) * interval '24 hours'
GROUP BY agent_type, kind, days_ago
ORDER BY agent_type COLLATE "C", kind COLLATE "C", days_ago;
