-- name: set_session
-- Name the attempt to everybody who looks at the server, and read dates in one way only.
SELECT set_config('application_name', %(application_name)s, false),
       set_config('timezone', 'UTC', false),
       set_config('datestyle', 'ISO, YMD', false),
       set_config('statement_timeout', %(statement_limit)s, false),
       set_config('lock_timeout', '10s', false),
       set_config('idle_in_transaction_session_timeout', '30s', false);

-- name: end_superseded
-- End the connections of older executions of this publication: a hung one would keep its locks for ever.
WITH others AS MATERIALIZED (
    SELECT pid, application_name
    FROM pg_stat_activity
    WHERE application_name ~ %(pattern)s
      AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid())
SELECT pg_terminate_backend(pid, 5000) FROM others
WHERE split_part(application_name, '_', 2)::bigint < %(epoch)s;

-- name: claim
-- Take the right to publish; no row means that a newer execution has it.
INSERT INTO orchestration.publish_claim AS held (target_table, publication_key, epoch)
VALUES (%(target_table)s, %(publication_key)s, %(epoch)s)
ON CONFLICT (target_table, publication_key) DO UPDATE
SET epoch = excluded.epoch, claimed_at = excluded.claimed_at
WHERE held.epoch <= excluded.epoch
RETURNING epoch;

-- name: claimed_by
-- Read who has the right to publish.
SELECT epoch FROM orchestration.publish_claim
WHERE target_table = %(target_table)s AND publication_key = %(publication_key)s;

-- name: superseded_scratch
-- Name the scratch tables that older executions of this publication left behind.
WITH scratch AS MATERIALIZED (
    SELECT relname::text AS name
    FROM pg_class
    WHERE relnamespace = 'orchestration_scratch'::regnamespace AND relkind IN ('r', 'p') AND relname ~ %(tables)s)
SELECT name FROM scratch WHERE split_part(name, '_', 2)::bigint < %(epoch)s;

-- name: drop_table
-- Drop a scratch table.
DROP TABLE IF EXISTS {table};

-- name: create_merged
-- Make the private table for an attempt's merged rows.
CREATE UNLOGGED TABLE {merged} (
    {columns}, _primary_source text, _sources jsonb, _attribution jsonb, _confidence jsonb, _conflicts jsonb);

-- name: create_quarantined
-- Make the private table for an attempt's quarantined rows.
CREATE UNLOGGED TABLE {quarantined} (
    feed_id text, origin text, position bigint, rule text, column_name text, reason text, raw text);

-- name: truncate
-- Empty the private tables: rows that come in by the same transaction may be frozen, and readers of every age see them.
TRUNCATE {merged}, {quarantined};

-- name: copy
-- Take rows in as CSV: an empty field is null, a quoted empty field is the empty text.
COPY {table} ({columns}) FROM STDIN (FORMAT csv, NULL '', ENCODING 'UTF8', FREEZE);

-- name: begin_settling
-- Bound the publishing transaction, and give its one big join room; settings that this server does not know are left out.
SELECT set_config(name, wanted.value, true)
FROM (VALUES ('transaction_timeout', %(limit)s), ('statement_timeout', %(limit)s), ('lock_timeout', '10s'),
             ('idle_in_transaction_session_timeout', '8s'), ('synchronous_commit', 'on'),
             ('search_path', 'pg_catalog'), ('work_mem', '64MB')) AS wanted (name, value)
JOIN pg_settings USING (name)
WHERE CASE name WHEN 'work_mem' THEN setting::bigint < 65536 ELSE true END;

-- name: fence
-- Lock the right to publish until the end of the transaction and read whose it is.
SELECT epoch FROM orchestration.publish_claim
WHERE target_table = %(target_table)s AND publication_key = %(publication_key)s
FOR UPDATE;

-- name: queue
-- Let one publication at a time write to a table.
SELECT pg_advisory_xact_lock(hashtextextended('orchestration.publish ' || %(target_table)s, 0));

-- name: open_ledger
-- Book the publication; no row means that its key is booked already.
INSERT INTO orchestration.publish_ledger
    (target_table, publication_key, dag_id, run_id, version, round, epoch, content_sha256,
     rows_in, rows_published, rows_superseded, rows_quarantined, rows_withdrawn)
VALUES (%(target_table)s, %(publication_key)s, %(dag_id)s, %(run_id)s, %(version)s, %(round)s, %(epoch)s,
        %(content_sha256)s, %(rows_in)s, %(rows_published)s, %(rows_superseded)s, %(rows_quarantined)s,
        %(rows_withdrawn)s)
ON CONFLICT (target_table, publication_key) DO NOTHING
RETURNING published_at;

-- name: ledger
-- Read what was booked under a key.
SELECT epoch, content_sha256, rows_in, rows_published, rows_superseded, rows_quarantined,
       rows_inserted, rows_updated, rows_unchanged
FROM orchestration.publish_ledger
WHERE target_table = %(target_table)s AND publication_key = %(publication_key)s;

-- name: one_snapshot
-- Let all statements of a transaction see the same moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- name: newest
-- Read which publication of a table is the newest.
SELECT publication_key FROM orchestration.publish_ledger
WHERE target_table = %(target_table)s AND publication_key <> %(publication_key)s
ORDER BY number DESC
LIMIT 1;

-- name: versions
-- Read what a run has published to a table, version by version.
SELECT version, publication_key, published_at, rows_inserted, rows_updated, rows_withdrawn,
       (SELECT jsonb_object_agg(feed_id, jsonb_build_array(rows_published, rows_replaced))
        FROM orchestration.publish_ledger_feed AS feed
        WHERE (feed.target_table, feed.publication_key) = (ledger.target_table, ledger.publication_key)) AS feeds
FROM orchestration.publish_ledger AS ledger
WHERE target_table = %(target_table)s AND dag_id = %(dag_id)s AND run_id = %(run_id)s
ORDER BY version;

-- name: later_runs
-- Read which runs have published to a table since a run first did, and which feeds.
SELECT later.dag_id, later.run_id, array_agg(DISTINCT feed_id) AS feeds
FROM orchestration.publish_ledger AS own
JOIN orchestration.publish_ledger AS later
  ON later.target_table = own.target_table AND later.number > own.number AND later.version = 1
JOIN orchestration.publish_ledger AS any_version
  ON any_version.target_table = later.target_table
 AND (any_version.dag_id, any_version.run_id) = (later.dag_id, later.run_id)
JOIN orchestration.publish_ledger_feed AS feed
  ON (feed.target_table, feed.publication_key) = (any_version.target_table, any_version.publication_key)
WHERE own.target_table = %(target_table)s AND own.version = 1
  AND (own.dag_id, own.run_id) = (%(dag_id)s, %(run_id)s)
  AND (later.dag_id, later.run_id) <> (%(dag_id)s, %(run_id)s)
GROUP BY later.dag_id, later.run_id
ORDER BY later.dag_id, later.run_id;

-- name: count_feeds
-- Count every feed's rows in the scratch tables, beside what was declared of it.
WITH declared AS (
    SELECT * FROM unnest(%(feeds)s::text[], %(feeds_in)s::bigint[], %(feeds_published)s::bigint[],
                         %(feeds_superseded)s::bigint[], %(feeds_quarantined)s::bigint[])
        AS feed (feed_id, rows_in, published, superseded, quarantined)),
kind AS (
    SELECT _primary_source, _sources, count(*) AS rows FROM {merged} GROUP BY _primary_source, _sources),
primary_rows AS (
    SELECT _primary_source AS feed_id, sum(rows) AS rows FROM kind GROUP BY _primary_source),
other_rows AS (
    SELECT source.feed_id, sum(kind.rows) AS rows
    FROM kind
    CROSS JOIN LATERAL (SELECT DISTINCT jsonb_array_elements_text(kind._sources) AS feed_id) AS source
    WHERE source.feed_id IS DISTINCT FROM kind._primary_source
    GROUP BY source.feed_id),
quarantined_rows AS (
    SELECT feed_id, count(*) AS rows FROM {quarantined} GROUP BY feed_id),
counted AS (
    SELECT feed_id, declared.rows_in AS declared_in,
           coalesce(primary_rows.rows, 0)::bigint AS published,
           coalesce(other_rows.rows, 0)::bigint AS superseded,
           coalesce(quarantined_rows.rows, 0)::bigint AS quarantined,
           declared.published AS declared_published,
           declared.superseded AS declared_superseded,
           declared.quarantined AS declared_quarantined
    FROM declared
    FULL JOIN primary_rows USING (feed_id)
    FULL JOIN other_rows USING (feed_id)
    FULL JOIN quarantined_rows USING (feed_id))
SELECT counted.*,
       declared_in IS NOT DISTINCT FROM published + superseded + quarantined
       AND (declared_published, declared_superseded, declared_quarantined)
           IS NOT DISTINCT FROM (published, superseded, quarantined) AS agrees
FROM counted
ORDER BY feed_id;

-- name: upsert
-- Insert the rows that are new and update those that differ; count both. A row that is the same is read, not locked.
WITH written AS (
    INSERT INTO {target} AS kept ({columns}, _run_id, _published_at)
    SELECT {merged_columns}, %(run)s, %(published_at)s
    FROM {merged} AS merged LEFT JOIN {target} AS old ON ({merged_key}) = ({old_key})
    WHERE ({old_key}) IS NULL OR ({merged_values}) IS DISTINCT FROM ({old_values})
    ON CONFLICT ({key}) DO UPDATE SET {assignments}, _run_id = excluded._run_id, _published_at = excluded._published_at
    WHERE ({kept}) IS DISTINCT FROM ({new})
    RETURNING (kept.xmax = 0) AS is_new)
SELECT count(*) FILTER (WHERE is_new) AS inserted, count(*) FILTER (WHERE NOT is_new) AS updated,
       %(rows)s::bigint - count(*) AS unchanged
FROM written;

-- name: has_filters
-- Tell whether a table has triggers that may keep rows out without an error.
SELECT EXISTS (
    SELECT FROM pg_trigger
    JOIN pg_class AS class ON class.oid = tgrelid JOIN pg_namespace AS space ON space.oid = relnamespace
    WHERE nspname = %(schema)s AND relname = %(name)s AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 3 = 3) AS found;

-- name: upsert_counted
-- Do the same, and count the unchanged rows apart: what is missing in the sum was kept out by a trigger.
WITH offered AS MATERIALIZED (
    SELECT merged.ctid AS place
    FROM {merged} AS merged LEFT JOIN {target} AS old ON ({merged_key}) = ({old_key})
    WHERE ({old_key}) IS NULL OR ({merged_values}) IS DISTINCT FROM ({old_values})),
written AS (
    INSERT INTO {target} AS kept ({columns}, _run_id, _published_at)
    SELECT {merged_columns}, %(run)s, %(published_at)s
    FROM {merged} AS merged JOIN offered ON offered.place = merged.ctid
    ON CONFLICT ({key}) DO UPDATE SET {assignments}, _run_id = excluded._run_id, _published_at = excluded._published_at
    RETURNING (kept.xmax = 0) AS is_new)
SELECT count(*) FILTER (WHERE is_new) AS inserted, count(*) FILTER (WHERE NOT is_new) AS updated,
       (SELECT count(*) FROM {merged}) - (SELECT count(*) FROM offered) AS unchanged
FROM written;

-- name: append
-- Add the rows of a run that has none in the table yet.
WITH written AS (
    INSERT INTO {target} ({columns}, _run_id, _published_at)
    SELECT {columns}, %(run)s, %(published_at)s FROM {merged}
    RETURNING 1)
SELECT count(*) AS inserted, 0 AS updated, 0 AS unchanged FROM written;

-- name: assignment
-- One column of the update.
{column} = excluded.{column};

-- name: keep_quarantined
-- Keep the rows that are not published, with their reasons.
INSERT INTO orchestration.quarantined_row
    (target_table, publication_key, feed_id, origin, position, rule, column_name, reason, raw)
SELECT %(target_table)s, %(publication_key)s, feed_id, origin, position, rule, column_name, reason, raw FROM {quarantined};

-- name: book_feeds
-- Book what became of each feed's rows.
INSERT INTO orchestration.publish_ledger_feed
    (target_table, publication_key, feed_id, rows_in, rows_staged, rows_published, rows_superseded,
     rows_quarantined, rows_replaced)
SELECT %(target_table)s, %(publication_key)s, feed.*
FROM unnest(%(feeds)s::text[], %(feeds_in)s::bigint[], %(feeds_staged)s::bigint[], %(feeds_published)s::bigint[],
            %(feeds_superseded)s::bigint[], %(feeds_quarantined)s::bigint[], %(feeds_replaced)s::bigint[]) AS feed;

-- name: close_ledger
-- Book what the publication did to the table.
UPDATE orchestration.publish_ledger
SET rows_inserted = %(inserted)s, rows_updated = %(updated)s, rows_unchanged = %(unchanged)s
WHERE target_table = %(target_table)s AND publication_key = %(publication_key)s
RETURNING rows_in, rows_published, rows_superseded, rows_quarantined, rows_inserted, rows_updated, rows_unchanged;

-- name: create_target
-- Make the target table as the contract describes it.
CREATE TABLE {target} (
    {columns},
    _primary_source text,
    _sources        jsonb,
    _attribution    jsonb,
    _confidence     jsonb,
    _conflicts      jsonb,
    _run_id         text,
    _published_at   timestamptz,
    PRIMARY KEY ({key})){partitioning};
COMMENT ON TABLE {target} IS {comment};
COMMENT ON COLUMN {target}._primary_source IS 'The feed that the row comes from';
COMMENT ON COLUMN {target}._sources IS 'Every feed that has the row, heaviest first';
COMMENT ON COLUMN {target}._attribution IS 'Which feed each value comes from, or which feeds made it';
COMMENT ON COLUMN {target}._confidence IS 'How sure each value is, from 0 to 1';
COMMENT ON COLUMN {target}._conflicts IS 'The columns in which a feed has another value';
COMMENT ON COLUMN {target}._run_id IS 'The run that last changed the row: Dag id, slash, run id';
COMMENT ON COLUMN {target}._published_at IS 'When the row was last changed';

-- name: required_column
-- A column that must have a value.
{column} {type} NOT NULL;

-- name: optional_column
-- A column that may be empty.
{column} {type};

-- name: partitioning
-- Divide a table by the values of a column.
PARTITION BY LIST ({column});

-- name: column_comment
-- Say what a column is.
COMMENT ON COLUMN {target}.{column} IS {comment};
