-- name: lock_stream
-- Let one transaction at a time change who holds a stream; the lock ends with it.
SELECT pg_advisory_xact_lock(hashtextextended(
    concat_ws(' ', 'orchestration.stream', %(dag_id)s::text, %(feed_id)s::text), 0));

-- name: held_ranges
-- Read what a run holds of a stream.
SELECT partition, start, stop FROM orchestration.stream_range
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND feed_id = %(feed_id)s AND held
ORDER BY partition, start;

-- name: taken_ranges
-- Name the ranges that other runs hold and that overlap these.
SELECT known.partition, known.start, known.stop, known.run_id
FROM jsonb_to_recordset(%(ranges)s) AS asked (partition text, start bigint[], stop bigint[])
JOIN orchestration.stream_range AS known
  ON known.partition = asked.partition AND known.start < asked.stop AND asked.start < known.stop
WHERE known.dag_id = %(dag_id)s AND known.feed_id = %(feed_id)s AND known.held
  AND known.run_id <> %(run_id)s
ORDER BY known.partition, known.start;

-- name: hold_ranges
-- Hold ranges for a run, unless it has ended without them: then they are noted as given back.
INSERT INTO orchestration.stream_range AS known
    (dag_id, feed_id, partition, start, stop, run_id, round, epoch, held)
SELECT %(dag_id)s, %(feed_id)s, asked.*, %(run_id)s, %(round)s, %(epoch)s,
       NOT EXISTS (SELECT FROM orchestration.stream_closed AS closed
                   WHERE (closed.dag_id, closed.run_id, closed.feed_id) = (%(dag_id)s, %(run_id)s, %(feed_id)s))
FROM jsonb_to_recordset(%(ranges)s) AS asked (partition text, start bigint[], stop bigint[])
ON CONFLICT (dag_id, feed_id, partition, start, run_id) DO UPDATE
SET stop = excluded.stop, round = excluded.round, epoch = excluded.epoch, held = excluded.held,
    registered_at = excluded.registered_at;

-- name: take_again
-- Hold for a run ranges that it gave back.
UPDATE orchestration.stream_range AS known SET held = true
FROM jsonb_to_recordset(%(ranges)s) AS asked (partition text, start bigint[], stop bigint[])
WHERE known.dag_id = %(dag_id)s AND known.run_id = %(run_id)s AND known.feed_id = %(feed_id)s
  AND (known.partition, known.start, known.stop) = (asked.partition, asked.start, asked.stop);

-- name: holders
-- The earlier runs of a Dag that hold records and are not known to have published, oldest first.
SELECT earlier.run_id
FROM orchestration.run AS this
JOIN orchestration.run AS earlier ON earlier.dag_id = this.dag_id AND earlier.started_at < this.started_at
WHERE this.dag_id = %(dag_id)s AND this.run_id = %(run_id)s
  AND coalesce(earlier.state, 'not_published') = 'not_published'
  AND EXISTS (SELECT FROM orchestration.stream_range AS known
              WHERE (known.dag_id, known.run_id) = (earlier.dag_id, earlier.run_id) AND known.held)
ORDER BY earlier.started_at, earlier.run_id;

-- name: give_back
-- Give back what a run holds of a stream.
UPDATE orchestration.stream_range SET held = false
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND feed_id = %(feed_id)s AND held
RETURNING partition, start, stop;

-- name: close_stream
-- Note that a run has ended without a stream: what it registers later is given back at once.
INSERT INTO orchestration.stream_closed (dag_id, run_id, feed_id)
VALUES (%(dag_id)s, %(run_id)s, %(feed_id)s)
ON CONFLICT DO NOTHING;

-- name: reopen_stream
-- Note that a run publishes a stream after all.
DELETE FROM orchestration.stream_closed
WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s AND feed_id = %(feed_id)s;

-- name: stream_marks
-- For each partition the lowest position that no run holds, and the next one that a run holds.
WITH edge AS (
    SELECT known.partition, known.start AS position
    FROM orchestration.stream_range AS known
    WHERE known.dag_id = %(dag_id)s AND known.feed_id = %(feed_id)s AND NOT known.held
    UNION
    SELECT known.partition, known.stop
    FROM orchestration.stream_range AS known
    WHERE known.dag_id = %(dag_id)s AND known.feed_id = %(feed_id)s AND known.held
      AND NOT EXISTS (SELECT FROM orchestration.stream_range AS next
                      WHERE next.dag_id = %(dag_id)s AND next.feed_id = %(feed_id)s AND next.held
                        AND next.partition = known.partition AND next.start = known.stop)),
lowest AS (
    SELECT edge.partition, min(edge.position) AS start
    FROM edge
    LEFT JOIN LATERAL (
        SELECT known.stop FROM orchestration.stream_range AS known
        WHERE known.dag_id = %(dag_id)s AND known.feed_id = %(feed_id)s AND known.held
          AND known.partition = edge.partition AND known.start <= edge.position
        ORDER BY known.start DESC LIMIT 1) AS holding ON true
    WHERE holding.stop IS NULL OR holding.stop <= edge.position
    GROUP BY edge.partition)
SELECT lowest.partition, lowest.start,
       (SELECT known.start FROM orchestration.stream_range AS known
        WHERE known.dag_id = %(dag_id)s AND known.feed_id = %(feed_id)s AND known.held
          AND known.partition = lowest.partition AND known.start > lowest.start
        ORDER BY known.start LIMIT 1) AS before
FROM lowest;
