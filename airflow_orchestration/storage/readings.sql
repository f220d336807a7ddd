-- name: one_moment
-- Let all that follows in this transaction be of one moment, and change nothing.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: newest_read
-- Read what tells that something new is known of a run. Compared as rows, so that no other run's lines are passed.
SELECT state, version, finished_at, clock_timestamp() AS now,
       (SELECT id FROM orchestration.timeline
        WHERE (dag_id, run_id, id) >= (%(dag_id)s, %(run_id)s, 0)
          AND (dag_id, run_id, id) <= (%(dag_id)s, %(run_id)s, 9223372036854775807)
        ORDER BY dag_id DESC, run_id DESC, id DESC LIMIT 1) AS event,
       (SELECT id FROM orchestration.decision
        WHERE (dag_id, run_id, id) >= (%(dag_id)s, %(run_id)s, 0)
          AND (dag_id, run_id, id) <= (%(dag_id)s, %(run_id)s, 9223372036854775807)
        ORDER BY dag_id DESC, run_id DESC, id DESC LIMIT 1) AS decision,
       (SELECT epoch FROM orchestration.claim
        WHERE (dag_id, run_id, epoch) >= (%(dag_id)s, %(run_id)s, 0)
          AND (dag_id, run_id, epoch) <= (%(dag_id)s, %(run_id)s, 9223372036854775807)
        ORDER BY dag_id DESC, run_id DESC, epoch DESC LIMIT 1) AS epoch
FROM orchestration.run
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s;

-- name: run_read
-- Read what is known of a run, and whether any agents worked in it.
SELECT spec::text, mode, started_at, state, manifest, finished_at, clock_timestamp() AS now,
       EXISTS (SELECT FROM orchestration.agents_of_round AS made
               WHERE made.dag_id = run.dag_id AND made.run_id = run.run_id) AS has_agents
FROM orchestration.run
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s;

-- name: feeds_read
-- Read how each feed ended in each round, without the places of its files.
SELECT round, feed_id, branch_id, status, elapsed_seconds, rows_in, rows_staged, rows_quarantined,
       completeness, validity, uniqueness, quality_score, error, registered_at
FROM orchestration.feed_outcome
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
ORDER BY round, feed_id COLLATE "C";

-- name: rejects_read
-- Read how many rows each rule has put aside of each feed's newest outcome.
SELECT round, feed_id, rejected.key AS rule, rejected.value::bigint AS rows
FROM (SELECT DISTINCT ON (feed_id) feed_id, round, rejects
      FROM orchestration.feed_outcome
      WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
      ORDER BY feed_id, round DESC) AS newest
CROSS JOIN LATERAL jsonb_each_text(rejects) AS rejected
ORDER BY feed_id COLLATE "C", rows DESC, rejected.key COLLATE "C";

-- name: newest_outcomes
-- Read the newest outcome of each feed of a run, or of one of them.
SELECT DISTINCT ON (feed_id) * FROM orchestration.feed_outcome
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND (%(feed)s::text IS NULL OR feed_id = %(feed)s)
ORDER BY feed_id, round DESC;

-- name: spec_read
-- Read what a run does.
SELECT spec::text FROM orchestration.run WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s;

-- name: claims_read
-- Read when each work unit of a run was begun, or resumed, for the last time; one that was shut unbegun, never.
SELECT round, unit, claimed_at FROM orchestration.claim
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND try_number > 0;

-- name: waiting_read
-- Read what the branches of a run are waiting for.
SELECT round, unit, feed_id FROM orchestration.waiting
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
ORDER BY feed_id COLLATE "C";

-- name: merges_read
-- Read the merges of a run, without the places of their files.
SELECT round, dataset, staged_rows, decision, published, superseded, disagreements, compared, examples, merged_at
FROM orchestration.merge
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
ORDER BY round, dataset COLLATE "C";

-- name: decisions_read
-- Read the newest decisions about a run and its rounds, newest first: what was decided of single feeds never crowds them out.
SELECT id, round, decided_at, decision FROM orchestration.decision
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
  AND decision ->> 'policy' IN ('quorum_gate', 'merging', 'admission', 'quality_gate', 'asking', 'person', 'reconciling',
                                'allocation', 'rebalancing', 'workflow_mode')
ORDER BY id DESC
LIMIT %(limit)s;

-- name: decisions_besides_read
-- Read the newest decisions about single feeds and what else there is, newest first, without those about agents.
SELECT id, round, decided_at, decision FROM orchestration.decision
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
  AND decision ->> 'policy' NOT IN ('quorum_gate', 'merging', 'admission', 'quality_gate', 'asking', 'person', 'reconciling',
                                    'allocation', 'rebalancing', 'workflow_mode')
  AND decision ->> 'policy' NOT IN ('agent_selection', 'agent_order')
ORDER BY id DESC
LIMIT %(limit)s;

-- name: questions_read
-- Read the questions that were put to a person, oldest first.
SELECT round, unit, detail, at FROM orchestration.timeline
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND event = 'person_asked'
ORDER BY id;

-- name: agents_read
-- Read which agent has which branch, by round.
SELECT round, agent ->> 'agent_id' AS agent_id, agent #>> '{work,branch_id}' AS branch_id, agent #>> '{work,lane}' AS lane
FROM orchestration.agents_of_round
CROSS JOIN LATERAL jsonb_array_elements(agents) AS agent
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round >= 1 AND agent -> 'work' ? 'branch_id';

-- name: events_counted
-- Count the events of a run, up to a limit. Compared as rows, since with equality for most of the table a scan of it looks cheap.
SELECT count(*) AS count FROM (
    SELECT FROM orchestration.timeline
    WHERE (dag_id, run_id, id) >= (%(dag_id)s, %(run_id)s, 0)
      AND (dag_id, run_id, id) <= (%(dag_id)s, %(run_id)s, 9223372036854775807)
    ORDER BY dag_id, run_id, id
    LIMIT %(limit)s) AS counted;

-- name: events_before
-- Read the newest events of a run before one of them, newest first. Compared as rows: so no other run's events are passed.
SELECT id, at, round, unit, event, detail FROM orchestration.timeline
WHERE (dag_id, run_id, id) < (%(dag_id)s, %(run_id)s, %(before)s)
  AND (dag_id, run_id, id) >= (%(dag_id)s, %(run_id)s, 0)
ORDER BY dag_id DESC, run_id DESC, id DESC
LIMIT %(limit)s;

-- name: events_of_round_before
-- Read the newest events of a round before one of them, newest first.
SELECT id, at, round, unit, event, detail FROM orchestration.timeline
WHERE (dag_id, run_id, round, id) < (%(dag_id)s, %(run_id)s, %(round)s, %(before)s)
  AND (dag_id, run_id, round, id) >= (%(dag_id)s, %(run_id)s, %(round)s, 0)
ORDER BY dag_id DESC, run_id DESC, round DESC, id DESC
LIMIT %(limit)s;
