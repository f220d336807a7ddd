-- name: forget_trust
-- Take back what a run taught about a dataset, before it teaches again.
DELETE FROM orchestration.trust
WHERE dag_id = %(dag_id)s AND dataset = %(dataset)s AND run_id = %(run_id)s;

-- name: teach_trust
-- Keep what a run taught about a dataset.
INSERT INTO orchestration.trust (dag_id, dataset, run_id, attribute, feed_id, right_count, total_count, accuracy, method)
SELECT %(dag_id)s, %(dataset)s, %(run_id)s, taught.attribute, taught.feed_id,
       taught.right_count, taught.total_count, taught.accuracy, %(method)s
FROM jsonb_to_recordset(%(taught)s) AS taught
    (attribute text, feed_id text, right_count double precision, total_count double precision, accuracy double precision);

-- name: trust_history
-- What runs that started before a moment taught about a dataset, oldest first; of a Dag's own runs only.
SELECT trust.run_id, run.started_at, trust.method, trust.attribute, trust.feed_id,
       trust.right_count, trust.total_count, trust.accuracy
FROM orchestration.trust JOIN orchestration.run USING (dag_id, run_id)
WHERE trust.dag_id = %(dag_id)s AND trust.dataset = %(dataset)s
  AND (%(before)s::timestamptz IS NULL OR run.started_at < %(before)s)
  AND run.started_at >= (
      SELECT coalesce(min(recent.started_at), '-infinity')
      FROM (SELECT DISTINCT run.run_id, run.started_at
            FROM orchestration.trust JOIN orchestration.run USING (dag_id, run_id)
            WHERE trust.dag_id = %(dag_id)s AND trust.dataset = %(dataset)s
              AND (%(before)s::timestamptz IS NULL OR run.started_at < %(before)s)
            ORDER BY run.started_at DESC LIMIT %(runs)s) AS recent)
ORDER BY run.started_at, trust.run_id, trust.attribute, trust.feed_id;
