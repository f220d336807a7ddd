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
-- Runs with the same feeds have one roster: of very many feeds only the few that are told are looked at run by run.
WITH shown AS MATERIALIZED (
    SELECT run_id, began, state, feed_ids, feeds_missing, md5(feed_ids::text) AS roster
    FROM orchestration.run
    WHERE dag_id = %(dag_id)s
    ORDER BY began DESC, run_id DESC
    LIMIT %(runs)s
), known AS MATERIALIZED (
    SELECT roster, feed_id
    FROM (SELECT DISTINCT ON (roster) roster, feed_ids FROM shown) AS once
    CROSS JOIN jsonb_array_elements_text(feed_ids) AS feed_id
), missing AS MATERIALIZED (
    SELECT run_id, told ->> 'feed' AS feed_id, told ->> 'state' AS state
    FROM shown CROSS JOIN jsonb_array_elements(feeds_missing) AS told
), feed AS MATERIALIZED (
    SELECT feed_id, row_number() OVER (ORDER BY coalesce(often.runs, 0) DESC, feed_id COLLATE "C") AS place
    FROM (SELECT DISTINCT feed_id FROM known) AS any_run
    LEFT JOIN (SELECT feed_id, count(*) AS runs FROM missing WHERE state <> 'left_out' GROUP BY feed_id) AS often
        USING (feed_id)
    ORDER BY place
    LIMIT %(feeds)s
), gate AS MATERIALIZED (
    SELECT opened.run_id, opened.round, opened.opened_at, opened.decided_at
    FROM shown JOIN orchestration.round AS opened ON opened.dag_id = %(dag_id)s AND opened.run_id = shown.run_id
), arrival AS MATERIALIZED (
    SELECT DISTINCT ON (run_id, feed_id) run_id, feed_id, opened_at, decided_at, outcome.*
    FROM gate CROSS JOIN feed CROSS JOIN LATERAL (
        SELECT status, rows_staged, quality_score, registered_at
        FROM orchestration.feed_outcome AS came
        WHERE came.dag_id = %(dag_id)s AND came.run_id = gate.run_id AND came.round = gate.round
          AND came.feed_id = feed.feed_id
        LIMIT 1) AS outcome
    ORDER BY run_id, feed_id, round DESC
)
SELECT feed_id, shown.run_id, shown.began,
       CASE WHEN shown.state IS NOT NULL THEN coalesce(missing.state, 'in') END AS state,
       arrival.status, arrival.rows_staged, arrival.quality_score,
       arrival.registered_at, arrival.opened_at, arrival.decided_at,
       (SELECT avg(believed.accuracy) FROM orchestration.trust AS believed
        WHERE believed.dag_id = %(dag_id)s AND believed.run_id = shown.run_id AND believed.feed_id = feed.feed_id) AS trust
FROM feed
JOIN known USING (feed_id)
JOIN shown USING (roster)
LEFT JOIN missing USING (run_id, feed_id)
LEFT JOIN arrival USING (run_id, feed_id)
ORDER BY feed.place, shown.began, shown.run_id;
