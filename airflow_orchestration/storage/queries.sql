-- name: set_session
-- Bound every wait; a process that stops inside a transaction loses its locks before the next one gives up.
SELECT set_config('statement_timeout', %(statement_limit)s, false),
       set_config('lock_timeout', '10s', false),
       set_config('idle_in_transaction_session_timeout', '8s', false);

-- name: claim
-- Take the right to write for a work unit; no row means that this attempt is the stale or the second one.
INSERT INTO orchestration.claim AS held
    (dag_id, run_id, round, unit, epoch, try_number, ti_id, process, lease_until)
VALUES (%(dag_id)s, %(run_id)s, %(round)s, %(unit)s, nextval('orchestration.epoch'),
        %(try_number)s, %(ti_id)s, %(process)s, clock_timestamp() + %(lease)s)
ON CONFLICT (dag_id, run_id, round, unit) DO UPDATE
SET epoch = nextval('orchestration.epoch'), try_number = excluded.try_number, ti_id = excluded.ti_id,
    process = excluded.process, claimed_at = excluded.claimed_at, lease_until = excluded.lease_until
WHERE (held.shut_at IS NULL OR held.shut_at <= coalesce(%(began_at)s::timestamptz, clock_timestamp()))
  AND (excluded.try_number > held.try_number
       OR (excluded.try_number = held.try_number
           AND (excluded.process = held.process OR held.lease_until < clock_timestamp())))
RETURNING epoch;

-- name: shut
-- Refuse a work unit to all who have begun. The number is drawn under the row's lock: it is above all of theirs.
INSERT INTO orchestration.claim AS held
    (dag_id, run_id, round, unit, epoch, try_number, ti_id, process, lease_until, shut_at)
VALUES (%(dag_id)s, %(run_id)s, %(round)s, %(unit)s, nextval('orchestration.epoch'),
        0, '', '', '-infinity', clock_timestamp())
ON CONFLICT (dag_id, run_id, round, unit) DO UPDATE
SET epoch = nextval('orchestration.epoch'), lease_until = excluded.lease_until, shut_at = clock_timestamp()
RETURNING epoch;

-- name: pruned
-- Read when a run was deleted for its age.
SELECT max(pruned_at) AS pruned_at FROM orchestration.pruned_run WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s;

-- name: fence
-- Lock a unit's claim until the end of the transaction and read whose it is.
SELECT epoch FROM orchestration.claim
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round = %(round)s AND unit = %(unit)s
FOR UPDATE;

-- name: end_lease
-- Let the same attempt be resumed by another process at once.
UPDATE orchestration.claim SET lease_until = '-infinity'
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round = %(round)s AND unit = %(unit)s;

-- name: save_run
-- Record what a run does, unless that is known already. One that was refused, and now begins after all, has not ended.
INSERT INTO orchestration.run AS known (dag_id, run_id, spec, mode, started_at)
VALUES (%(dag_id)s, %(run_id)s, %(spec)s, %(mode)s, clock_timestamp())
ON CONFLICT (dag_id, run_id) DO UPDATE
SET spec = excluded.spec, mode = excluded.mode, started_at = excluded.started_at,
    state = NULL, manifest = NULL, finished_at = NULL
WHERE known.spec IS NULL
RETURNING dag_id;

-- name: run
-- Read what a run does.
SELECT spec, mode, started_at FROM orchestration.run
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND spec IS NOT NULL;

-- name: finish
-- Record how a run ended, unless that is known already; a later version of what it published counts.
INSERT INTO orchestration.run AS known (dag_id, run_id, state, manifest, finished_at)
VALUES (%(dag_id)s, %(run_id)s, %(state)s, %(manifest)s, clock_timestamp())
ON CONFLICT (dag_id, run_id) DO UPDATE
SET state = excluded.state, manifest = excluded.manifest, finished_at = excluded.finished_at
WHERE known.state IS NULL
   OR (excluded.state <> 'not_published'
       AND (known.state = 'not_published'
            OR coalesce((known.manifest ->> 'version')::integer, 0)
               < coalesce((excluded.manifest ->> 'version')::integer, 0)))
RETURNING dag_id;

-- name: degraded_runs
-- Read which runs of a Dag ended degraded lately, oldest first.
SELECT run_id FROM orchestration.run
WHERE dag_id = %(dag_id)s AND state = 'published_degraded' AND finished_at > clock_timestamp() - %(within)s
ORDER BY started_at, run_id;

-- name: manifest
-- Read how a run ended.
SELECT manifest FROM orchestration.run WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s;

-- name: clock
-- Read the store's clock.
SELECT clock_timestamp() AS now;

-- name: open_round
-- Open a round, unless it is open already.
INSERT INTO orchestration.round (dag_id, run_id, round, plan, opened_at)
VALUES (%(dag_id)s, %(run_id)s, %(round)s, %(plan)s, %(opened_at)s)
ON CONFLICT (dag_id, run_id, round) DO NOTHING
RETURNING round;

-- name: add_sync_points
-- Write down when each sync point of a round must have decided.
INSERT INTO orchestration.sync_point (dag_id, run_id, round, name, deadline_at)
SELECT %(dag_id)s, %(run_id)s, %(round)s::integer, point.*
FROM unnest(%(names)s::text[], %(deadlines)s::timestamptz[]) AS point;

-- name: rounds
-- Read the rounds of a run in order.
SELECT round, plan, opened_at, verdict, decided_at,
       (SELECT jsonb_object_agg(name, to_jsonb(point)) FROM orchestration.sync_point AS point
        WHERE (point.dag_id, point.run_id, point.round) = (gate.dag_id, gate.run_id, gate.round)) AS points
FROM orchestration.round AS gate
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
ORDER BY round;

-- name: mark_floor_reached
-- Keep the first moment at which a floor was reached.
UPDATE orchestration.sync_point SET floor_reached_at = coalesce(floor_reached_at, clock_timestamp())
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round = %(round)s AND name = %(name)s
RETURNING floor_reached_at;

-- name: record_verdict
-- Write a gate's verdict, unless there is one.
UPDATE orchestration.round SET verdict = %(verdict)s, decided_at = clock_timestamp()
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round = %(round)s AND verdict IS NULL
RETURNING round;

-- name: verdict
-- Read a gate's verdict.
SELECT verdict FROM orchestration.round
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round = %(round)s;

-- name: decided_gates
-- Read the gates that have decided, with the outcomes that count in their round, also those that came later.
SELECT gate.dag_id, gate.run_id, gate.round, gate.opened_at, gate.verdict,
       coalesce(run.started_at, gate.opened_at) AS run_started_at,
       (SELECT coalesce(jsonb_object_agg(feed ->> 'id', feed -> 'deadline'), '{}')
        FROM jsonb_array_elements(run.spec #> '{pipeline,feeds}') AS feed
        WHERE feed -> 'deadline' <> 'null') AS feed_deadlines,
       (SELECT coalesce(jsonb_object_agg(newest.feed_id, jsonb_build_array(
                            newest.status, newest.registered_at, newest.rows_staged)), '{}')
        FROM (SELECT DISTINCT ON (known.feed_id) *
              FROM orchestration.feed_outcome AS known
              WHERE (known.dag_id, known.run_id) = (gate.dag_id, gate.run_id) AND known.round <= gate.round
              ORDER BY known.feed_id, known.round DESC) AS newest
        WHERE newest.round = gate.round OR NOT planned.feeds ? newest.feed_id) AS registered
FROM orchestration.round AS gate
LEFT JOIN orchestration.run USING (dag_id, run_id)
CROSS JOIN LATERAL jsonb_path_query_array(gate.plan, '$.branches[*].batches[*].feed_id') AS planned (feeds)
WHERE gate.verdict IS NOT NULL
  AND gate.dag_id = coalesce(%(dag_id)s::text, gate.dag_id)
  AND gate.decided_at >= coalesce(%(since)s::timestamptz, '-infinity')
ORDER BY gate.decided_at, gate.dag_id, gate.run_id, gate.round;

-- name: register
-- Record how a feed ended, unless this epoch or a newer one did; no row means that it did.
INSERT INTO orchestration.feed_outcome AS known
    (dag_id, run_id, round, feed_id, epoch, branch_id, status, elapsed_seconds, cluster_utilization,
     rows_in, rows_staged, rows_quarantined, rows_out_of_scope,
     staged_uri, staged_sha256, staged_bytes, staged_rows,
     quarantine_uri, quarantine_sha256, quarantine_bytes, quarantine_rows,
     completeness, validity, uniqueness, quality_score, rejects, error, ranges, drift, rules)
VALUES (%(dag_id)s, %(run_id)s, %(round)s, %(feed_id)s, %(epoch)s, %(branch_id)s, %(status)s,
        %(elapsed_seconds)s, %(cluster_utilization)s,
        %(rows_in)s, %(rows_staged)s, %(rows_quarantined)s, %(rows_out_of_scope)s,
        %(staged_uri)s, %(staged_sha256)s, %(staged_bytes)s, %(staged_rows)s,
        %(quarantine_uri)s, %(quarantine_sha256)s, %(quarantine_bytes)s, %(quarantine_rows)s,
        %(completeness)s, %(validity)s, %(uniqueness)s, %(quality_score)s, %(rejects)s, %(error)s, %(ranges)s,
        %(drift)s, %(rules)s)
ON CONFLICT (dag_id, run_id, round, feed_id) DO UPDATE
SET epoch = excluded.epoch, branch_id = excluded.branch_id, status = excluded.status,
    elapsed_seconds = excluded.elapsed_seconds, cluster_utilization = excluded.cluster_utilization,
    rows_in = excluded.rows_in, rows_staged = excluded.rows_staged,
    rows_quarantined = excluded.rows_quarantined, rows_out_of_scope = excluded.rows_out_of_scope,
    staged_uri = excluded.staged_uri, staged_sha256 = excluded.staged_sha256,
    staged_bytes = excluded.staged_bytes, staged_rows = excluded.staged_rows,
    quarantine_uri = excluded.quarantine_uri, quarantine_sha256 = excluded.quarantine_sha256,
    quarantine_bytes = excluded.quarantine_bytes, quarantine_rows = excluded.quarantine_rows,
    completeness = excluded.completeness, validity = excluded.validity, uniqueness = excluded.uniqueness,
    quality_score = excluded.quality_score, rejects = excluded.rejects, error = excluded.error, ranges = excluded.ranges,
    drift = excluded.drift, rules = excluded.rules,
    registered_at = excluded.registered_at
WHERE known.epoch < excluded.epoch AND NOT (%(keep_success)s AND known.status = 'success')
RETURNING feed_id;

-- name: outcomes
-- Read every outcome of a run, by round and feed.
SELECT * FROM orchestration.feed_outcome
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
ORDER BY round, feed_id COLLATE "C";

-- name: forget_waiting
-- Take back what a unit said it is waiting for, and return it.
DELETE FROM orchestration.waiting
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round = %(round)s AND unit = %(unit)s
RETURNING feed_id;

-- name: add_waiting
-- Say which feeds a unit is waiting for.
INSERT INTO orchestration.waiting (dag_id, run_id, round, unit, feed_id)
SELECT DISTINCT %(dag_id)s, %(run_id)s, %(round)s::integer, %(unit)s, feed_id
FROM unnest(%(feeds)s::text[]) AS feed_id;

-- name: gate_snapshots
-- Read the facts of gates in one snapshot: the round, each feed's newest outcome, and who is waited for.
SELECT gate.dag_id, gate.run_id, gate.round, gate.plan, gate.opened_at, gate.verdict, gate.decided_at,
       clock_timestamp() AS now,
       coalesce((SELECT started_at FROM orchestration.run AS known
                 WHERE (known.dag_id, known.run_id) = (gate.dag_id, gate.run_id)),
                gate.opened_at) AS run_started_at,
       (SELECT jsonb_object_agg(name, to_jsonb(point)) FROM orchestration.sync_point AS point
        WHERE (point.dag_id, point.run_id, point.round) = (gate.dag_id, gate.run_id, gate.round)) AS points,
       (SELECT coalesce(jsonb_agg(to_jsonb(newest)), '[]')
        FROM (SELECT DISTINCT ON (known.feed_id) *
              FROM orchestration.feed_outcome AS known
              WHERE (known.dag_id, known.run_id) = (gate.dag_id, gate.run_id)
              ORDER BY known.feed_id, known.round DESC) AS newest) AS outcomes,
       (SELECT coalesce(array_agg(feed_id), '{}') FROM orchestration.waiting
        WHERE (waiting.dag_id, waiting.run_id, waiting.round) = (gate.dag_id, gate.run_id, gate.round)) AS waiting
FROM unnest(%(dag_ids)s::text[], %(run_ids)s::text[], %(rounds)s::integer[]) AS asked (dag_id, run_id, round)
JOIN orchestration.round AS gate USING (dag_id, run_id, round);

-- name: branch_snapshot
-- Read of a round what some feeds need to know of each other: their newest outcomes, who is waited for, the verdict.
SELECT gate.verdict, gate.decided_at, clock_timestamp() AS now,
       coalesce((SELECT started_at FROM orchestration.run AS known
                 WHERE (known.dag_id, known.run_id) = (gate.dag_id, gate.run_id)),
                gate.opened_at) AS run_started_at,
       (SELECT coalesce(jsonb_agg(to_jsonb(newest)), '[]')
        FROM (SELECT DISTINCT ON (known.feed_id) known.*
              FROM orchestration.round AS opened
              CROSS JOIN unnest(%(feeds)s::text[]) AS asked (feed_id)
              JOIN orchestration.feed_outcome AS known
                ON (known.dag_id, known.run_id, known.round, known.feed_id)
                 = (opened.dag_id, opened.run_id, opened.round, asked.feed_id)
              WHERE (opened.dag_id, opened.run_id) = (gate.dag_id, gate.run_id)
              ORDER BY known.feed_id, known.round DESC) AS newest) AS outcomes,
       (SELECT coalesce(array_agg(feed_id), '{}') FROM orchestration.waiting
        WHERE (waiting.dag_id, waiting.run_id, waiting.round) = (gate.dag_id, gate.run_id, gate.round)
          AND waiting.feed_id = ANY (%(feeds)s)) AS waiting
FROM orchestration.round AS gate
WHERE gate.dag_id = %(dag_id)s AND gate.run_id = %(run_id)s AND gate.round = %(round)s;

-- name: add_decision
-- Append a decision to the audit table.
INSERT INTO orchestration.decision (dag_id, run_id, round, decision)
VALUES (%(dag_id)s, %(run_id)s, %(round)s, %(decision)s);

-- name: decisions
-- Read the decisions of a run, oldest first.
SELECT round, decision FROM orchestration.decision
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
ORDER BY id;

-- name: save_merge
-- Record the merge of a dataset in a round, unless this epoch or a newer one did; no row means that it did.
INSERT INTO orchestration.merge AS known
    (dag_id, run_id, round, dataset, epoch, staged_uri, staged_sha256, staged_bytes, staged_rows, content_sha256,
     decision, published, superseded, disagreements, compared, completeness, examples)
VALUES (%(dag_id)s, %(run_id)s, %(round)s, %(dataset)s, %(epoch)s,
        %(staged_uri)s, %(staged_sha256)s, %(staged_bytes)s, %(staged_rows)s, %(content_sha256)s,
        %(decision)s, %(published)s, %(superseded)s, %(disagreements)s, %(compared)s, %(completeness)s, %(examples)s)
ON CONFLICT (dag_id, run_id, round, dataset) DO UPDATE
SET epoch = excluded.epoch, staged_uri = excluded.staged_uri, staged_sha256 = excluded.staged_sha256,
    staged_bytes = excluded.staged_bytes, staged_rows = excluded.staged_rows,
    content_sha256 = excluded.content_sha256, decision = excluded.decision, published = excluded.published,
    superseded = excluded.superseded, disagreements = excluded.disagreements, compared = excluded.compared,
    completeness = excluded.completeness, examples = excluded.examples, merged_at = excluded.merged_at
WHERE known.epoch < excluded.epoch
RETURNING round;

-- name: merges
-- Read the merges of a round.
SELECT * FROM orchestration.merge
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round = %(round)s
ORDER BY dataset;

-- name: add_event
-- Append a line to the timeline.
INSERT INTO orchestration.timeline (dag_id, run_id, round, unit, epoch, event, detail)
VALUES (%(dag_id)s, %(run_id)s, %(round)s, %(unit)s, %(epoch)s, %(event)s, %(detail)s);

-- name: timeline
-- Read the timeline of a run, oldest first.
SELECT at, round, event, detail FROM orchestration.timeline
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
ORDER BY id;

-- name: usual_rows
-- Median of the rows of each feed's last successes, one for each run that has ended, where there are enough.
SELECT asked.feed_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY recent.rows_staged) AS median
FROM unnest(%(feeds)s::text[]) AS asked (feed_id)
CROSS JOIN LATERAL (
    SELECT known.rows_staged
    FROM orchestration.feed_outcome AS known
    JOIN orchestration.run USING (dag_id, run_id)
    WHERE known.dag_id = %(dag_id)s AND known.feed_id = asked.feed_id AND known.status = 'success'
      AND run.state IS NOT NULL AND run.started_at < %(before)s
      AND NOT EXISTS (
          SELECT FROM orchestration.feed_outcome AS later
          WHERE later.dag_id = known.dag_id AND later.run_id = known.run_id AND later.feed_id = known.feed_id
            AND later.round > known.round AND later.status = 'success')
    ORDER BY known.registered_at DESC
    LIMIT %(successes)s) AS recent
GROUP BY asked.feed_id
HAVING count(*) >= %(enough)s;

-- name: forget_profile
-- Forget what a feed looked like in a round.
DELETE FROM orchestration.feed_profile
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND round = %(round)s AND feed_id = %(feed_id)s;

-- name: keep_profile
-- Keep what a feed looked like in a round.
INSERT INTO orchestration.feed_profile (dag_id, run_id, round, feed_id, profile)
VALUES (%(dag_id)s, %(run_id)s, %(round)s, %(feed_id)s, %(profile)s);

-- name: profiles
-- What a feed looked like in its last published runs, newest first, once for each run.
SELECT known.profile
FROM orchestration.feed_profile AS known
JOIN orchestration.run USING (dag_id, run_id)
WHERE known.dag_id = %(dag_id)s AND known.feed_id = %(feed_id)s
  AND run.state IN ('published', 'published_degraded') AND run.started_at < %(before)s
  AND NOT EXISTS (
      SELECT FROM orchestration.feed_profile AS later
      WHERE later.dag_id = known.dag_id AND later.run_id = known.run_id AND later.feed_id = known.feed_id
        AND later.round > known.round)
ORDER BY known.registered_at DESC
LIMIT %(recent)s;

-- name: observed_seconds
-- Median of the seconds of each feed's last successes in ended runs.
SELECT asked.feed_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY recent.elapsed_seconds) AS median
FROM unnest(%(feeds)s::text[]) AS asked (feed_id)
CROSS JOIN LATERAL (
    SELECT known.elapsed_seconds
    FROM orchestration.feed_outcome AS known
    JOIN orchestration.run USING (dag_id, run_id)
    WHERE known.dag_id = %(dag_id)s AND known.feed_id = asked.feed_id AND known.status = 'success'
      AND run.state IS NOT NULL
    ORDER BY known.registered_at DESC
    LIMIT %(successes)s) AS recent
GROUP BY asked.feed_id;
