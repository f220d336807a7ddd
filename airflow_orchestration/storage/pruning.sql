-- name: cut
-- Say which moment is so long ago.
SELECT clock_timestamp() - %(age)s::interval AS cut;

-- name: expired_runs
-- Name the runs that ended before a moment and that nothing kept rests on, oldest first: also those without an end
-- that nobody has worked on since, and what is left of work without a run. Kept are runs that estimates are made of,
-- runs whose rows an older run that may still be repaired needs, and runs that hold records of a stream which they
-- have not published.
WITH today AS (
    SELECT DISTINCT ON (dag_id) dag_id, feed_ids
    FROM orchestration.run WHERE spec IS NOT NULL
    ORDER BY dag_id, began DESC, run_id DESC
), feed AS (
    SELECT dag_id, feed_id FROM today CROSS JOIN jsonb_array_elements_text(feed_ids) AS feed_id
), estimated AS MATERIALIZED (
    SELECT DISTINCT feed.dag_id, recent.run_id
    FROM feed CROSS JOIN LATERAL (
        (SELECT known.run_id
         FROM orchestration.feed_outcome AS known JOIN orchestration.run USING (dag_id, run_id)
         WHERE known.dag_id = feed.dag_id AND known.feed_id = feed.feed_id AND known.status = 'success'
           AND run.state IS NOT NULL
           AND NOT EXISTS (
               SELECT FROM orchestration.feed_outcome AS later
               WHERE later.dag_id = known.dag_id AND later.run_id = known.run_id AND later.feed_id = known.feed_id
                 AND later.round > known.round AND later.status = 'success')
         ORDER BY known.registered_at DESC LIMIT %(successes)s)
        UNION ALL
        (SELECT known.run_id
         FROM orchestration.feed_profile AS known JOIN orchestration.run USING (dag_id, run_id)
         WHERE known.dag_id = feed.dag_id AND known.feed_id = feed.feed_id
           AND run.state IN ('published', 'published_degraded')
           AND NOT EXISTS (
               SELECT FROM orchestration.feed_profile AS later
               WHERE later.dag_id = known.dag_id AND later.run_id = known.run_id AND later.feed_id = known.feed_id
                 AND later.round > known.round)
         ORDER BY known.registered_at DESC LIMIT %(profiles)s)) AS recent
), repairable AS MATERIALIZED (
    SELECT named.target, min(kept.began) AS since
    FROM orchestration.run AS kept
    CROSS JOIN LATERAL jsonb_path_query(kept.spec, '$.pipeline.**.publish.table') AS named (target)
    WHERE (kept.state = 'published_degraded' AND kept.finished_at >= %(cut)s)
       OR (kept.state IS NULL AND EXISTS (
               SELECT FROM orchestration.claim
               WHERE claim.dag_id = kept.dag_id AND claim.run_id = kept.run_id AND claim.claimed_at >= %(cut)s))
    GROUP BY named.target
), worked AS MATERIALIZED (
    SELECT dag_id, run_id, max(claimed_at) AS last_at FROM orchestration.claim GROUP BY dag_id, run_id
)
SELECT dag_id, run_id, alive.last_at AS ended_at
FROM orchestration.run LEFT JOIN worked USING (dag_id, run_id)
CROSS JOIN LATERAL (SELECT CASE WHEN run.state IS NOT NULL THEN run.finished_at ELSE greatest(
    run.began, worked.last_at,
    (SELECT max(at) FROM orchestration.timeline AS known
     WHERE (known.dag_id, known.run_id) = (run.dag_id, run.run_id)),
    (SELECT max(deadline_at) FROM orchestration.sync_point AS known
     WHERE (known.dag_id, known.run_id) = (run.dag_id, run.run_id))) END AS last_at) AS alive
WHERE coalesce(worked.last_at < %(cut)s, true)
  AND alive.last_at < CASE WHEN run.state IS NULL THEN least(%(cut)s, clock_timestamp() - %(lost)s) ELSE %(cut)s END
  AND dag_id = coalesce(%(dag_id)s::text, dag_id)
  AND NOT EXISTS (SELECT FROM estimated WHERE (estimated.dag_id, estimated.run_id) = (run.dag_id, run.run_id))
  AND NOT EXISTS (
      SELECT FROM jsonb_path_query(run.spec, '$.pipeline.**.publish.table') AS named (target)
      JOIN repairable USING (target) WHERE repairable.since < alive.last_at)
  AND NOT EXISTS (
      SELECT FROM orchestration.stream_range AS known
      WHERE (known.dag_id, known.run_id) = (run.dag_id, run.run_id) AND known.held
        AND (run.state IS NULL OR run.state = 'not_published'
             OR EXISTS (SELECT FROM jsonb_array_elements(run.feeds_missing) AS told  -- what is short is published
                        WHERE told ->> 'feed' = known.feed_id AND told ->> 'state' <> 'short')))
UNION ALL
SELECT dag_id, run_id, worked.last_at
FROM worked LEFT JOIN orchestration.run USING (dag_id, run_id)
WHERE run.dag_id IS NULL AND worked.last_at < %(cut)s AND dag_id = coalesce(%(dag_id)s::text, dag_id)
ORDER BY ended_at, dag_id, run_id;

-- name: lock_claims
-- Wait for who writes for these runs, in the order in which everybody locks.
SELECT FROM orchestration.claim
WHERE (dag_id, run_id) IN (SELECT * FROM unnest(%(dag_ids)s::text[], %(run_ids)s::text[]))
ORDER BY dag_id, run_id, round, unit
FOR UPDATE;

-- name: lock_runs
-- Let nobody change how these runs ended.
SELECT FROM orchestration.run
WHERE (dag_id, run_id) IN (SELECT * FROM unnest(%(dag_ids)s::text[], %(run_ids)s::text[]))
ORDER BY dag_id, run_id
FOR UPDATE;

-- name: note_pruned
-- Write down which of these runs are deleted: those that are there still, and that nobody has worked on since.
INSERT INTO orchestration.pruned_run (dag_id, run_id, state, began, finished_at, staging)
SELECT asked.dag_id, asked.run_id, run.state, run.began, run.finished_at, run.spec #>> '{pipeline,staging}'
FROM unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS asked (dag_id, run_id)
LEFT JOIN orchestration.run USING (dag_id, run_id)
LEFT JOIN LATERAL (
    SELECT max(claimed_at) AS last_at FROM orchestration.claim
    WHERE claim.dag_id = asked.dag_id AND claim.run_id = asked.run_id) AS worked ON true
WHERE coalesce(run.finished_at, greatest(run.began, worked.last_at)) < %(cut)s
  AND coalesce(worked.last_at < %(cut)s, true)
  AND CASE WHEN run.dag_id IS NOT NULL AND run.state IS NULL THEN NOT EXISTS (
      SELECT FROM orchestration.timeline AS known
      WHERE known.dag_id = asked.dag_id AND known.run_id = asked.run_id AND known.at >= %(cut)s) ELSE true END
RETURNING dag_id, run_id;

-- name: prune_waiting
-- Delete what branches of the runs were waiting for.
DELETE FROM orchestration.waiting AS gone
USING unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id)
WHERE (gone.dag_id, gone.run_id) = (pruned.dag_id, pruned.run_id);

-- name: prune_feed_profile
-- Delete what the feeds of the runs looked like.
DELETE FROM orchestration.feed_profile AS gone
USING unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id)
WHERE (gone.dag_id, gone.run_id) = (pruned.dag_id, pruned.run_id);

-- name: prune_feed_outcome
-- Delete how the feeds of the runs ended.
DELETE FROM orchestration.feed_outcome AS gone
USING unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id)
WHERE (gone.dag_id, gone.run_id) = (pruned.dag_id, pruned.run_id);

-- name: prune_merge
-- Delete the merges of the runs.
DELETE FROM orchestration.merge AS gone
USING unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id)
WHERE (gone.dag_id, gone.run_id) = (pruned.dag_id, pruned.run_id);

-- name: prune_sync_point
-- Delete the quorums of the runs.
DELETE FROM orchestration.sync_point AS gone
USING unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id)
WHERE (gone.dag_id, gone.run_id) = (pruned.dag_id, pruned.run_id);

-- name: prune_round
-- Delete the rounds of the runs.
DELETE FROM orchestration.round AS gone
USING unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id)
WHERE (gone.dag_id, gone.run_id) = (pruned.dag_id, pruned.run_id);

-- name: prune_stream_closed
-- Delete which streams the runs ended without.
DELETE FROM orchestration.stream_closed AS gone
USING unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id)
WHERE (gone.dag_id, gone.run_id) = (pruned.dag_id, pruned.run_id);

-- name: prune_agents_of_round
-- Delete the agents of the runs.
DELETE FROM orchestration.agents_of_round AS gone
USING unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id)
WHERE (gone.dag_id, gone.run_id) = (pruned.dag_id, pruned.run_id);

-- name: prune_run
-- Delete what the runs did, and how they ended.
DELETE FROM orchestration.run AS gone
USING unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id)
WHERE (gone.dag_id, gone.run_id) = (pruned.dag_id, pruned.run_id);

-- name: prune_claim
-- Delete who might write for the runs: an execution that lives still finds that it is not its work any more.
DELETE FROM orchestration.claim AS gone
USING unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id)
WHERE (gone.dag_id, gone.run_id) = (pruned.dag_id, pruned.run_id);

-- name: by_index
-- Look up single runs by index, whatever share of a table the usual run has: many that are looked up have no line in it.
SELECT set_config('enable_seqscan', 'off', true);

-- name: runs_with_lines
-- Name pruned runs of which lines of the audit are left; each with the moment up to which they go. The index is read in
-- leaps, from one run to the next: neither the lines of a run nor the runs that were ever pruned are all gone through.
WITH RECURSIVE happened AS (
    (SELECT dag_id, run_id FROM orchestration.timeline
     WHERE dag_id >= coalesce(%(dag_id)s::text, dag_id) ORDER BY dag_id, run_id LIMIT 1)
    UNION ALL
    SELECT next.* FROM happened CROSS JOIN LATERAL (
        SELECT dag_id, run_id FROM orchestration.timeline
        WHERE (timeline.dag_id, timeline.run_id) > (happened.dag_id, happened.run_id)
        ORDER BY dag_id, run_id LIMIT 1) AS next
    WHERE happened.dag_id = coalesce(%(dag_id)s::text, happened.dag_id)
), decided AS (
    (SELECT dag_id, run_id FROM orchestration.decision
     WHERE dag_id >= coalesce(%(dag_id)s::text, dag_id) ORDER BY dag_id, run_id LIMIT 1)
    UNION ALL
    SELECT next.* FROM decided CROSS JOIN LATERAL (
        SELECT dag_id, run_id FROM orchestration.decision
        WHERE (decision.dag_id, decision.run_id) > (decided.dag_id, decided.run_id)
        ORDER BY dag_id, run_id LIMIT 1) AS next
    WHERE decided.dag_id = coalesce(%(dag_id)s::text, decided.dag_id)
)
SELECT dag_id, run_id, max(pruned_at) AS pruned_at
FROM (SELECT * FROM happened UNION SELECT * FROM decided) AS known
JOIN orchestration.pruned_run USING (dag_id, run_id)
WHERE dag_id = coalesce(%(dag_id)s::text, dag_id)
GROUP BY dag_id, run_id ORDER BY dag_id, run_id;

-- name: count_timeline
-- Count what happened in runs.
SELECT count(*) AS lines FROM orchestration.timeline
JOIN unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id) USING (dag_id, run_id);

-- name: count_decision
-- Count what was decided in runs.
SELECT count(*) AS lines FROM orchestration.decision
JOIN unnest(%(dag_ids)s::text[], %(run_ids)s::text[]) AS pruned (dag_id, run_id) USING (dag_id, run_id);

-- name: prune_timeline
-- Delete some of what happened in runs until they were written down as pruned; what another prune deletes is its own.
DELETE FROM orchestration.timeline WHERE id = ANY (ARRAY(
    SELECT line.id
    FROM unnest(%(dag_ids)s::text[], %(run_ids)s::text[], %(pruned_at)s::timestamptz[])
         AS pruned (dag_id, run_id, pruned_at)
    CROSS JOIN LATERAL (SELECT id FROM orchestration.timeline
                        WHERE timeline.dag_id = pruned.dag_id AND timeline.run_id = pruned.run_id
                          AND timeline.at <= pruned.pruned_at
                        LIMIT %(most)s FOR UPDATE SKIP LOCKED) AS line
    LIMIT %(most)s));

-- name: prune_decision
-- Delete some of what was decided in runs until they were written down as pruned, likewise.
DELETE FROM orchestration.decision WHERE id = ANY (ARRAY(
    SELECT line.id
    FROM unnest(%(dag_ids)s::text[], %(run_ids)s::text[], %(pruned_at)s::timestamptz[])
         AS pruned (dag_id, run_id, pruned_at)
    CROSS JOIN LATERAL (SELECT id FROM orchestration.decision
                        WHERE decision.dag_id = pruned.dag_id AND decision.run_id = pruned.run_id
                          AND decision.decided_at <= pruned.pruned_at
                        LIMIT %(most)s FOR UPDATE SKIP LOCKED) AS line
    LIMIT %(most)s));

-- name: streams
-- Name the streams of which ranges are known.
SELECT DISTINCT dag_id, feed_id FROM orchestration.stream_range
WHERE dag_id = coalesce(%(dag_id)s::text, dag_id)
ORDER BY dag_id, feed_id;

-- name: prune_stream_range
-- Forget the beginning of a stream, up to where a run that is known read of it, or where what nobody holds begins:
-- what is left has the same lowest position that nobody holds, since it ends where that begins.
WITH known AS MATERIALIZED (
    SELECT * FROM orchestration.stream_range WHERE dag_id = %(dag_id)s AND feed_id = %(feed_id)s
), edge AS (
    SELECT partition, start AS position FROM known WHERE NOT held
    UNION
    SELECT partition, stop FROM known WHERE held
), lowest AS (
    SELECT partition, min(position) AS start
    FROM edge
    WHERE NOT EXISTS (SELECT FROM orchestration.stream_range AS holding
                      WHERE holding.dag_id = %(dag_id)s AND holding.feed_id = %(feed_id)s AND holding.held
                        AND holding.partition = edge.partition
                        AND holding.start <= edge.position AND edge.position < holding.stop)
    GROUP BY partition
), kept AS (
    SELECT partition, min(known.start) AS start
    FROM known JOIN lowest USING (partition)
    LEFT JOIN orchestration.run USING (dag_id, run_id)
    WHERE known.stop >= lowest.start
       OR (run.dag_id IS NOT NULL AND (dag_id, run_id) NOT IN (
               SELECT * FROM unnest(%(dag_ids)s::text[], %(run_ids)s::text[])))
    GROUP BY partition
)
DELETE FROM orchestration.stream_range AS gone USING kept
WHERE gone.dag_id = %(dag_id)s AND gone.feed_id = %(feed_id)s
  AND gone.partition = kept.partition AND gone.start < kept.start;

-- name: prune_agent_outcome
-- Forget some of how the work of agents ended in runs that are gone, once nobody learns from it any more.
DELETE FROM orchestration.agent_outcome WHERE ctid = ANY (ARRAY(
SELECT gone.ctid FROM orchestration.agent_outcome AS gone
WHERE gone.recorded_at < %(cut)s AND gone.recorded_at < clock_timestamp() - %(learned_for)s::interval
  AND gone.dag_id = coalesce(%(dag_id)s::text, gone.dag_id)
  AND ((gone.dag_id, gone.run_id) IN (SELECT * FROM unnest(%(dag_ids)s::text[], %(run_ids)s::text[]))
       OR NOT EXISTS (SELECT FROM orchestration.run
                      WHERE run.dag_id = gone.dag_id AND run.run_id = gone.run_id))
LIMIT %(most)s FOR UPDATE SKIP LOCKED));

-- name: prune_trust
-- Forget some of what runs that are gone taught about feeds, where newer runs have taught as much as is ever read.
WITH taught AS MATERIALIZED (
    SELECT dag_id, dataset, run_id,
           row_number() OVER (PARTITION BY dag_id, dataset ORDER BY max(started_at) DESC, run_id DESC) AS place
    FROM orchestration.trust
    WHERE dag_id = coalesce(%(dag_id)s::text, dag_id)
    GROUP BY dag_id, dataset, run_id
)
DELETE FROM orchestration.trust WHERE ctid = ANY (ARRAY(
SELECT gone.ctid FROM orchestration.trust AS gone JOIN taught USING (dag_id, dataset, run_id)
WHERE taught.place > %(taught_runs)s
  AND ((gone.dag_id, gone.run_id) IN (SELECT * FROM unnest(%(dag_ids)s::text[], %(run_ids)s::text[]))
       OR NOT EXISTS (SELECT FROM orchestration.run
                      WHERE run.dag_id = gone.dag_id AND run.run_id = gone.run_id))
LIMIT %(most)s FOR UPDATE OF gone SKIP LOCKED));

-- name: prune_lease
-- Delete leases that ended long ago: nobody has asked for one since, else they were gone.
DELETE FROM orchestration.lease WHERE expires_at < clock_timestamp() - %(quiet)s::interval;

-- name: staging_areas
-- Name the places where runs kept files, each with the Dags that did; a place that is gone, from the first run on that
-- began there afterwards.
SELECT staging, array_agg(DISTINCT dag_id) AS dag_ids
FROM (SELECT spec #>> '{pipeline,staging}' AS staging, dag_id, began FROM orchestration.run
      UNION ALL SELECT staging, dag_id, coalesce(began, pruned_at) FROM orchestration.pruned_run) AS known
LEFT JOIN orchestration.forgotten_staging AS gone USING (staging)
WHERE staging IS NOT NULL AND dag_id = coalesce(%(dag_id)s::text, dag_id)
  AND coalesce(known.began > gone.forgotten_at, true)
GROUP BY staging ORDER BY staging;

-- name: forget_staging
-- Write down that a place is gone.
INSERT INTO orchestration.forgotten_staging (staging) VALUES (%(staging)s)
ON CONFLICT (staging) DO UPDATE SET forgotten_at = excluded.forgotten_at, forgotten_by = excluded.forgotten_by;

-- name: forgotten_places
-- Name the places that somebody said are gone.
SELECT staging FROM orchestration.forgotten_staging;

-- name: knows_dag
-- Say whether there is, or was, a run of a Dag.
SELECT EXISTS (SELECT FROM orchestration.run WHERE dag_id = %(dag_id)s)
    OR EXISTS (SELECT FROM orchestration.claim WHERE dag_id = %(dag_id)s)
    OR EXISTS (SELECT FROM orchestration.pruned_run WHERE dag_id = %(dag_id)s) AS knows;

-- name: runs_with_files
-- Name the runs of a Dag that may have files: those that are there, and those that were pruned.
SELECT run_id FROM orchestration.run WHERE dag_id = %(dag_id)s
UNION
SELECT run_id FROM orchestration.pruned_run WHERE dag_id = %(dag_id)s;

-- name: registered_files
-- Read of some runs which files count, and whether nobody has begun work on them for a while.
SELECT asked.run_id,
       coalesce((SELECT max(claimed_at) FROM orchestration.claim
                 WHERE claim.dag_id = %(dag_id)s AND claim.run_id = asked.run_id)
                < clock_timestamp() - %(quiet)s::interval, true) AS is_quiet,
       ARRAY(SELECT unnest(ARRAY[staged_uri, quarantine_uri]) FROM orchestration.feed_outcome AS known
             WHERE known.dag_id = %(dag_id)s AND known.run_id = asked.run_id
             UNION ALL
             SELECT staged_uri FROM orchestration.merge AS known
             WHERE known.dag_id = %(dag_id)s AND known.run_id = asked.run_id) AS uris
FROM unnest(%(run_ids)s::text[]) AS asked (run_id);

-- name: session_of_targets
-- Bound every wait for what others hold.
SELECT set_config('statement_timeout', '15min', false), set_config('lock_timeout', '2s', false);

-- name: leftover_scratch
-- Name the private tables of publications that are done, were taken over, or were given up long ago.
WITH scratch AS MATERIALIZED (
    SELECT relname::text AS name, split_part(relname, '_', 2)::bigint AS epoch, split_part(relname, '_', 3) AS digest
    FROM pg_class
    WHERE relnamespace = 'orchestration_scratch'::regnamespace AND relkind IN ('r', 'p')
      AND relname ~ '^[pqt]_[0-9]{1,18}_[0-9a-f]{16}$'
), claim AS MATERIALIZED (
    SELECT target_table, publication_key, epoch, claimed_at,
           left(encode(sha256(convert_to(target_table || E'\n' || publication_key, 'UTF8')), 'hex'), 16) AS digest
    FROM orchestration.publish_claim
    WHERE EXISTS (SELECT FROM scratch)
)
SELECT scratch.name
FROM scratch JOIN claim USING (digest)
WHERE claim.epoch > scratch.epoch OR claim.claimed_at < clock_timestamp() - %(quiet)s::interval
   OR EXISTS (SELECT FROM orchestration.publish_ledger AS booked
              WHERE (booked.target_table, booked.publication_key) = (claim.target_table, claim.publication_key)
                AND booked.epoch >= scratch.epoch)
ORDER BY scratch.name;

-- name: publications_with_quarantine
-- Name the publications of before a moment of which rows that were put aside are kept, oldest first.
SELECT booked.target_table, booked.publication_key
FROM orchestration.publish_ledger AS booked
WHERE booked.published_at < %(cut)s AND booked.dag_id = coalesce(%(dag_id)s::text, booked.dag_id)
  AND EXISTS (SELECT FROM orchestration.quarantined_row AS put_aside
              WHERE (put_aside.target_table, put_aside.publication_key) = (booked.target_table, booked.publication_key))
ORDER BY booked.published_at, booked.target_table, booked.publication_key;

-- name: prune_quarantined_row
-- Delete the rows that were put aside of a publication.
DELETE FROM orchestration.quarantined_row
WHERE target_table = %(target_table)s AND publication_key = %(publication_key)s;
