-- A run may bring several datasets, each merged and published for itself.

ALTER TABLE orchestration.merge ADD COLUMN dataset text;
UPDATE orchestration.merge AS merge SET dataset = coalesce(run.spec -> 'contract' ->> 'name', '')
FROM orchestration.run WHERE (run.dag_id, run.run_id) = (merge.dag_id, merge.run_id);
UPDATE orchestration.merge SET dataset = '' WHERE dataset IS NULL;
ALTER TABLE orchestration.merge
    ALTER COLUMN dataset SET NOT NULL,
    DROP CONSTRAINT merge_pkey,
    ADD PRIMARY KEY (dag_id, run_id, round, dataset);
COMMENT ON TABLE orchestration.merge IS 'The merge of a dataset in a round; the newest epoch wins';

UPDATE orchestration.run SET spec = spec - 'contract' || jsonb_build_object('contracts', jsonb_build_array(spec -> 'contract'))
WHERE spec ? 'contract';


-- A stream is read once: each run holds the ranges that it read, until it ends without publishing them.

ALTER TABLE orchestration.feed_outcome ADD COLUMN ranges jsonb;

CREATE TABLE orchestration.stream_range (
    dag_id        text NOT NULL,
    feed_id       text NOT NULL,
    partition     text NOT NULL,
    start         bigint[] NOT NULL,
    stop          bigint[] NOT NULL,
    run_id        text NOT NULL,
    round         integer NOT NULL CHECK (round >= 1),
    epoch         bigint NOT NULL,
    held          boolean NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dag_id, feed_id, partition, start, run_id),
    CHECK (start < stop)
);
COMMENT ON TABLE orchestration.stream_range IS 'What each run read of a stream; nobody else reads what a run holds';

CREATE UNIQUE INDEX stream_range_held ON orchestration.stream_range (dag_id, feed_id, partition, start) WHERE held;
CREATE INDEX stream_range_returned ON orchestration.stream_range (dag_id, feed_id, partition, start) WHERE NOT held;
CREATE INDEX stream_range_run ON orchestration.stream_range (dag_id, run_id, feed_id);

CREATE TABLE orchestration.stream_closed (
    dag_id  text NOT NULL,
    run_id  text NOT NULL,
    feed_id text NOT NULL,
    PRIMARY KEY (dag_id, run_id, feed_id)
);
COMMENT ON TABLE orchestration.stream_closed IS 'The streams that a run ended without: it holds nothing of them any more';


-- What the rows of each feed look like, for the runs to come, and what is unusual about them.

ALTER TABLE orchestration.feed_outcome ADD COLUMN drift jsonb;

CREATE TABLE orchestration.feed_profile (
    dag_id        text NOT NULL,
    run_id        text NOT NULL,
    round         integer NOT NULL,
    feed_id       text NOT NULL,
    profile       jsonb NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (dag_id, run_id, round, feed_id),
    FOREIGN KEY (dag_id, run_id, round, feed_id) REFERENCES orchestration.feed_outcome
);
COMMENT ON TABLE orchestration.feed_profile IS 'What the rows of a feed looked like in a round: counts, means, bounds';

CREATE INDEX feed_profile_history ON orchestration.feed_profile (dag_id, feed_id, registered_at DESC);


-- What came of the rules of a feed's contract about many rows.

ALTER TABLE orchestration.feed_outcome ADD COLUMN rules jsonb;


-- A feed may be many files: which of them a quarantined row comes from.

ALTER TABLE orchestration.quarantined_row ADD COLUMN origin text;


-- What runs taught about the reliability of their feeds.

CREATE TABLE orchestration.trust (
    dag_id      text NOT NULL,
    dataset     text NOT NULL,
    run_id      text NOT NULL,
    attribute   text NOT NULL,
    feed_id     text NOT NULL,
    right_count double precision NOT NULL CHECK (right_count >= 0),
    total_count double precision NOT NULL CHECK (total_count >= right_count),
    accuracy    double precision NOT NULL CHECK (accuracy BETWEEN 0 AND 1),
    method      text NOT NULL,
    PRIMARY KEY (dag_id, dataset, run_id, attribute, feed_id)
);
COMMENT ON TABLE orchestration.trust IS 'How often a feed was right in an attribute, run by run, and what it was believed to be';
