from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from airflow_orchestration.domain.conf import read_conf, validated
from airflow_orchestration.domain.pipeline import Pipeline

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """Return the code block of a language that contains a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return next(text for text in blocks if containing in text)


def test_gate_example_is_the_tested_dag() -> None:
    """The example of the stand-alone gate is, to the letter, the Dag that the integration tests run."""
    assert block("python", "quorum_gate").strip() in (REPOSITORY / "tests/dags/gate_alone.py").read_text()


def test_loader_example_is_the_demo() -> None:
    """The lines beside a pipeline file are those of the demo's Dag file."""
    lines = block("python", "pipeline_dag(Path").strip().splitlines()
    demo = (REPOSITORY / "dags/airport_reference.py").read_text().splitlines()

    assert set(lines) <= set(demo)


def test_pipeline_example_is_valid() -> None:
    """The pipeline file that the README explains is accepted."""
    document = yaml.safe_load(block("yaml", "id: airport_reference"))

    assert "airport_reference" == validated(Pipeline, document, subject="README").id


def test_conf_example_is_valid() -> None:
    """The conf that the README shows is accepted."""
    assert 2 == len(read_conf(yaml.safe_load(block("json", "batches"))).batches or ())


@pytest.mark.parametrize(
    "path", re.findall(r"\]\(((?:docs|dags|demo|tests)[^)#]*|docker-compose.yaml)\)", README)
)
def test_links_lead_somewhere(path: str) -> None:
    """Every file that the README links to is there."""
    assert (REPOSITORY / path).exists()


@pytest.mark.parametrize("target", re.findall(r"^(?:\| `)?make ([a-z]+)", README, flags=re.MULTILINE))
def test_commands_are_make_targets(target: str) -> None:
    """Every `make` command of the README is a target."""
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
