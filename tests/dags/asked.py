"""Two Dags that ask a person: one waits for an answer, one hardly does."""

from __future__ import annotations

from pathlib import Path

from airflow_orchestration.dags.pipeline_dag import pipeline_dag

asked = pipeline_dag(Path(__file__).with_suffix(".yaml"))
asked_briefly = pipeline_dag(Path(__file__).with_name("asked_briefly.yaml"))
