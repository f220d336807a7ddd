-- A round may have several sync points, each with a deadline and a floor of its own. A run may publish
-- several versions: feeds that came late are merged afterwards.

CREATE TABLE orchestration.sync_point (
    dag_id           text NOT NULL,
    run_id           text NOT NULL,
    round            integer NOT NULL,
    name             text NOT NULL,
    deadline_at      timestamptz NOT NULL,
    floor_reached_at timestamptz,
    PRIMARY KEY (dag_id, run_id, round, name),
    FOREIGN KEY (dag_id, run_id, round) REFERENCES orchestration.round
);
COMMENT ON TABLE orchestration.sync_point IS 'When each quorum of a round must have decided, and when its floor was reached';

INSERT INTO orchestration.sync_point (dag_id, run_id, round, name, deadline_at, floor_reached_at)
SELECT dag_id, run_id, round, sync_point, deadline_at, floor_reached_at FROM orchestration.round;

ALTER TABLE orchestration.round
    DROP COLUMN sync_point,
    DROP COLUMN deadline_at,
    DROP COLUMN floor_reached_at;

COMMENT ON TABLE orchestration.round IS 'A round with its gate: plan and verdict are each written once';
ALTER TABLE orchestration.round RENAME CONSTRAINT round_check1 TO round_check;


ALTER TABLE orchestration.publish_ledger
    ADD COLUMN version integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    ADD COLUMN rows_withdrawn bigint NOT NULL DEFAULT 0 CHECK (rows_withdrawn >= 0);

-- Publications are told apart by number: a clock may be set back between two of them.
ALTER TABLE orchestration.publish_ledger ADD COLUMN number bigint;
UPDATE orchestration.publish_ledger AS ledger SET number = counted.number
FROM (SELECT target_table, publication_key, row_number() OVER (ORDER BY published_at) AS number
      FROM orchestration.publish_ledger) AS counted
WHERE (ledger.target_table, ledger.publication_key) = (counted.target_table, counted.publication_key);
ALTER TABLE orchestration.publish_ledger
    ALTER COLUMN number SET NOT NULL,
    ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval(pg_get_serial_sequence('orchestration.publish_ledger', 'number'),
              (SELECT coalesce(max(number), 0) + 1 FROM orchestration.publish_ledger), false);

CREATE INDEX publish_ledger_run ON orchestration.publish_ledger (target_table, dag_id, run_id, version);
CREATE UNIQUE INDEX publish_ledger_number ON orchestration.publish_ledger (target_table, number DESC);

ALTER TABLE orchestration.publish_ledger_feed
    ADD COLUMN rows_replaced bigint NOT NULL DEFAULT 0 CHECK (rows_replaced >= 0);
