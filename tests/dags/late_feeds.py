"""The Dags of the pipeline files in which feeds come late."""

from __future__ import annotations

from pathlib import Path

from airflow_orchestration.dags.pipeline_dag import pipeline_dag

late_feeds = pipeline_dag(Path(__file__).parent / "late_feeds.yaml")
next_run_feeds = pipeline_dag(Path(__file__).parent / "next_run_feeds.yaml")
