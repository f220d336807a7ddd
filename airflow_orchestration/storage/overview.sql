-- name: runs_over_time
-- Read the newest runs of some Dags since a moment, each with its last gate and what is known of its quality.
SELECT run.dag_id, run.run_id, run.state, run.began, run.finished_at,
       run.weight_share, run.feeds_in, run.feeds_expected, run.version,
       coalesce(last.round, 0) AS rounds, last.action, last.decided_at, gate.deadline_at,
       coalesce((SELECT (decision #>> '{evidence,overall}')::double precision
                 FROM orchestration.decision AS judged
                 WHERE judged.dag_id = run.dag_id AND judged.run_id = run.run_id
                   AND judged.decision ->> 'policy' = 'quality_gate'
                 ORDER BY judged.id DESC LIMIT 1),
                (SELECT min((decision #>> '{evidence,overall_quality}')::double precision)
                 FROM orchestration.merge AS merged
                 WHERE merged.dag_id = run.dag_id AND merged.run_id = run.run_id AND merged.round = last.round))
           AS quality
FROM (SELECT newest.dag_id, newest.run_id
      FROM (SELECT DISTINCT unnest(%(dag_ids)s::text[]) AS dag_id) AS asked
      CROSS JOIN LATERAL (
          SELECT known.dag_id, known.run_id, known.began
          FROM orchestration.run AS known
          WHERE known.dag_id = asked.dag_id AND known.began >= %(since)s
          ORDER BY known.began DESC, known.run_id DESC
          LIMIT %(limit)s) AS newest
      ORDER BY newest.began DESC, newest.dag_id, newest.run_id DESC
      LIMIT %(limit)s) AS shown
JOIN orchestration.run USING (dag_id, run_id)
LEFT JOIN LATERAL (
    SELECT opened.round, opened.action, opened.decided_at
    FROM orchestration.round AS opened
    WHERE opened.dag_id = run.dag_id AND opened.run_id = run.run_id
    ORDER BY opened.round DESC LIMIT 1) AS last ON true
LEFT JOIN orchestration.sync_point AS gate
    ON gate.dag_id = run.dag_id AND gate.run_id = run.run_id AND gate.round = last.round AND gate.name = %(all_feeds)s
ORDER BY run.began DESC, run.dag_id, run.run_id DESC;

-- name: feeds_over_time
-- Read how the feeds of a Dag did in its newest runs, oldest first; those that were missing most often come first.
WITH shown AS MATERIALIZED (
    SELECT run_id, began, state, manifest, spec
    FROM orchestration.run
    WHERE dag_id = %(dag_id)s
    ORDER BY began DESC, run_id DESC
    LIMIT %(runs)s
), line AS MATERIALIZED (
    SELECT run_id, began, told ->> 'feed' AS feed_id, told ->> 'state' AS state
    FROM shown CROSS JOIN jsonb_array_elements(manifest -> 'feeds') AS told
    UNION ALL
    SELECT run_id, began, planned ->> 'id', NULL
    FROM shown CROSS JOIN jsonb_array_elements(spec #> '{pipeline,feeds}') AS planned
    WHERE shown.state IS NULL
), feed AS MATERIALIZED (
    SELECT feed_id, row_number() OVER (ORDER BY count(*) FILTER (WHERE state <> 'in') DESC, feed_id COLLATE "C") AS place
    FROM line
    GROUP BY feed_id
    ORDER BY place
    LIMIT %(feeds)s
)
SELECT feed_id, line.run_id, line.began, line.state, arrival.status, arrival.rows_staged, arrival.quality_score,
       arrival.registered_at, arrival.opened_at, arrival.decided_at,
       (SELECT avg(believed.accuracy) FROM orchestration.trust AS believed
        WHERE believed.dag_id = %(dag_id)s AND believed.run_id = line.run_id AND believed.feed_id = line.feed_id) AS trust
FROM feed JOIN line USING (feed_id)
LEFT JOIN LATERAL (
    SELECT outcome.status, outcome.rows_staged, outcome.quality_score, outcome.registered_at,
           gate.opened_at, gate.decided_at
    FROM orchestration.round AS gate
    JOIN orchestration.feed_outcome AS outcome USING (dag_id, run_id, round)
    WHERE gate.dag_id = %(dag_id)s AND gate.run_id = line.run_id AND outcome.feed_id = line.feed_id
    ORDER BY gate.round DESC LIMIT 1) AS arrival ON true
ORDER BY feed.place, line.began, line.run_id;
