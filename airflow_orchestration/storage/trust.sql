-- name: forget_trust
-- Take back what a run taught about a dataset, before it teaches again.
DELETE FROM orchestration.trust
WHERE dag_id = %(dag_id)s AND dataset = %(dataset)s AND run_id = %(run_id)s;

-- name: teach_trust
-- Keep what a run taught about a dataset.
INSERT INTO orchestration.trust (dag_id, dataset, run_id, attribute, feed_id, right_count, total_count, accuracy, method, started_at)
SELECT %(dag_id)s, %(dataset)s, %(run_id)s, taught.attribute, taught.feed_id,
       taught.right_count, taught.total_count, taught.accuracy, %(method)s,
       (SELECT run.started_at FROM orchestration.run WHERE run.dag_id = %(dag_id)s AND run.run_id = %(run_id)s)
FROM jsonb_to_recordset(%(taught)s) AS taught
    (attribute text, feed_id text, right_count double precision, total_count double precision, accuracy double precision);

-- name: trust_history
-- What runs that started before a moment taught about a dataset, oldest first; of a Dag's own runs only.
SELECT run_id, started_at, method, attribute, feed_id, right_count, total_count, accuracy
FROM orchestration.trust
WHERE dag_id = %(dag_id)s AND dataset = %(dataset)s
  AND (%(before)s::timestamptz IS NULL OR started_at < %(before)s)
  AND started_at >= (
      SELECT coalesce(min(recent.started_at), '-infinity')
      FROM (SELECT DISTINCT run_id, started_at
            FROM orchestration.trust
            WHERE dag_id = %(dag_id)s AND dataset = %(dataset)s
              AND (%(before)s::timestamptz IS NULL OR started_at < %(before)s)
            ORDER BY started_at DESC LIMIT %(runs)s) AS recent)
ORDER BY started_at, run_id, attribute, feed_id;
