-- Runs over time: what of a manifest is shown of many runs, kept beside it, since to read whole manifests is dear.

ALTER TABLE orchestration.run
    ADD COLUMN began          timestamptz GENERATED ALWAYS AS (coalesce(started_at, finished_at)) STORED,
    ADD COLUMN weight_share   double precision GENERATED ALWAYS AS ((manifest ->> 'weight_share')::double precision) STORED,
    ADD COLUMN feeds_in       integer GENERATED ALWAYS AS ((manifest ->> 'feeds_in')::integer) STORED,
    ADD COLUMN feeds_expected integer GENERATED ALWAYS AS ((manifest ->> 'feeds_expected')::integer) STORED,
    ADD COLUMN version        integer GENERATED ALWAYS AS ((manifest ->> 'version')::integer) STORED,
    ADD COLUMN feed_ids       jsonb GENERATED ALWAYS AS (CASE WHEN manifest IS NULL
        THEN jsonb_path_query_array(spec, '$.pipeline.feeds[*].id')
        ELSE jsonb_path_query_array(manifest, '$.feeds[*].feed') END) STORED,
    ADD COLUMN feeds_missing  jsonb GENERATED ALWAYS AS (jsonb_path_query_array(manifest, '$.feeds[*] ? (@.state != "in")')) STORED;

ALTER TABLE orchestration.round ADD COLUMN action text GENERATED ALWAYS AS (verdict ->> 'action') STORED;

CREATE INDEX run_began ON orchestration.run (dag_id, began DESC, run_id DESC);
CREATE INDEX decision_quality ON orchestration.decision (dag_id, run_id, id) WHERE decision ->> 'policy' = 'quality_gate';
CREATE INDEX trust_run ON orchestration.trust (dag_id, run_id, feed_id);


-- Disagreements: a few keys of which sources said different things.

ALTER TABLE orchestration.merge ADD COLUMN examples jsonb NOT NULL DEFAULT '{}';


-- The page of a run: what it asks of a timeline that may have a million events.

CREATE INDEX timeline_round ON orchestration.timeline (dag_id, run_id, round, id);
CREATE INDEX timeline_asked ON orchestration.timeline (dag_id, run_id, event, id)
    WHERE event IN ('person_asked', 'dynamic_data_processing_agent_creation');
CREATE INDEX timeline_agent ON orchestration.timeline (dag_id, run_id, (detail ->> 'agent'), event, id)
    WHERE event IN ('agent_waiting', 'agent_started', 'agent_progress', 'agent_finished');
CREATE INDEX decision_of_round ON orchestration.decision (dag_id, run_id, id)
    WHERE decision ->> 'policy' IN ('quorum_gate', 'merging', 'admission', 'quality_gate', 'asking', 'person', 'reconciling',
                                    'allocation', 'rebalancing', 'workflow_mode');
CREATE INDEX decision_besides ON orchestration.decision (dag_id, run_id, id)
    WHERE decision ->> 'policy' NOT IN ('quorum_gate', 'merging', 'admission', 'quality_gate', 'asking', 'person', 'reconciling',
                                        'allocation', 'rebalancing', 'workflow_mode')
      AND decision ->> 'policy' NOT IN ('agent_selection', 'agent_order');
CREATE INDEX claim_newest ON orchestration.claim (dag_id, run_id, epoch);


-- Quarantine: a few rows of a rule are found among millions of others.

DROP INDEX orchestration.quarantined_row_publication;
CREATE INDEX quarantined_row_publication
    ON orchestration.quarantined_row (target_table, publication_key, feed_id, rule, position);
