"""The Dag of the pipeline file beside this file."""

from __future__ import annotations

from pathlib import Path

from airflow_orchestration.dags.pipeline_dag import pipeline_dag

dag = pipeline_dag(Path(__file__).with_suffix(".yaml"))
