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

-- name: decided_about_agents
-- Read the decisions about agents of a run, oldest first.
SELECT round, decision FROM orchestration.decision
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND decision ->> 'policy' IN ('agent_selection', 'agent_order')
ORDER BY id;

-- name: told_by_agents
-- Read what each agent of a run told last of each kind, and what was told when they were made, in the order of the timeline.
SELECT at, round, event, detail FROM (
    SELECT told.*
    FROM orchestration.agents_of_round AS made
    CROSS JOIN LATERAL jsonb_array_elements(made.agents) AS agent
    CROSS JOIN unnest(ARRAY['agent_waiting', 'agent_started', 'agent_progress', 'agent_finished']) AS kind
    CROSS JOIN LATERAL (
        SELECT id, at, round, event, detail FROM orchestration.timeline
        WHERE dag_id = made.dag_id AND run_id = made.run_id
          AND detail ->> 'agent' = agent ->> 'agent_id' AND event = kind
          AND event IN ('agent_waiting', 'agent_started', 'agent_progress', 'agent_finished')
        ORDER BY id DESC LIMIT 1) AS told
    WHERE made.dag_id = %(dag_id)s AND made.run_id = %(run_id)s
    UNION ALL
    SELECT id, at, round, event, detail FROM orchestration.timeline
    WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND event = 'dynamic_data_processing_agent_creation') AS found
ORDER BY id;

-- name: agent_history
-- What the agents of a tenant did, in all Dags or in some, on each of the last days by UTC, today's included.
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
  AND (%(dag_ids)s::text[] IS NULL OR dag_id = ANY (%(dag_ids)s))
GROUP BY agent_type, kind, days_ago
ORDER BY agent_type COLLATE "C", kind COLLATE "C", days_ago;
