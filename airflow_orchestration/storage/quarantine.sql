-- name: published_feeds
-- Name the feeds that a run has published to a table: what was put aside of them is kept there.
SELECT DISTINCT feed_id
FROM orchestration.publish_ledger JOIN orchestration.publish_ledger_feed USING (target_table, publication_key)
WHERE target_table = %(target_table)s AND (dag_id, run_id) = (%(dag_id)s, %(run_id)s);

-- name: quarantine_samples
-- The first rows of each wanted feed and rule that a run has put aside.
SELECT wanted.feed_id, wanted.rule, sample.origin, sample.position, sample.column_name, sample.reason, sample.raw
FROM unnest(%(feeds)s::text[], %(rules)s::text[]) WITH ORDINALITY AS wanted (feed_id, rule, place)
CROSS JOIN LATERAL (
    SELECT kept.origin, kept.position, kept.column_name, kept.reason, kept.raw
    FROM orchestration.publish_ledger AS booked
    CROSS JOIN LATERAL (
        SELECT origin, position, column_name, reason, raw
        FROM orchestration.quarantined_row AS put_aside
        WHERE (put_aside.target_table, put_aside.publication_key) = (booked.target_table, booked.publication_key)
          AND (put_aside.feed_id, put_aside.rule) = (wanted.feed_id, wanted.rule)
        ORDER BY position
        LIMIT %(each)s) AS kept
    WHERE booked.target_table = %(target_table)s AND (booked.dag_id, booked.run_id) = (%(dag_id)s, %(run_id)s)
    ORDER BY kept.position
    LIMIT %(each)s) AS sample
ORDER BY wanted.place, sample.position;

-- name: quarantined_rows
-- Every row that a run has put aside of these feeds that it published to a table: by all rules, or by one.
SELECT feed_id, rule, origin, position, column_name, reason, raw
FROM orchestration.publish_ledger JOIN orchestration.quarantined_row USING (target_table, publication_key)
WHERE target_table = %(target_table)s AND (dag_id, run_id) = (%(dag_id)s, %(run_id)s)
  AND feed_id = ANY(%(feeds)s)
  AND (%(rule)s::text IS NULL OR rule = %(rule)s)
ORDER BY feed_id, rule, position;
