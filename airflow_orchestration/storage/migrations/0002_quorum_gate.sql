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

CREATE INDEX publish_ledger_run ON orchestration.publish_ledger (target_table, dag_id, run_id, version);
CREATE INDEX publish_ledger_newest ON orchestration.publish_ledger (target_table, published_at DESC);

ALTER TABLE orchestration.publish_ledger_feed
    ADD COLUMN rows_replaced bigint NOT NULL DEFAULT 0 CHECK (rows_replaced >= 0);
