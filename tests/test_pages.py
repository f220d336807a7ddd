"""Examples in the documentation are what the models take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.pipeline import DatasetTerms, Pipeline

DOCS = Path(__file__).parents[1] / "docs"


def examples(page: str) -> list[Any]:
    """The YAML blocks of a page, read."""
    return [
        yaml.safe_load(block)
        for block in re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    ]


FEEDS = [(feed["id"], feed) for block in examples("sources.md") for feed in block]


@pytest.mark.parametrize("feed", [feed for _, feed in FEEDS], ids=[name for name, _ in FEEDS])
def test_the_feeds_on_the_page_of_sources_are_feeds(feed: dict[str, Any]) -> None:
    """Each example can be copied into a pipeline file."""
    assert feed["id"] == validated(Feed, feed, subject="feed").id


def test_the_page_of_sources_has_every_kind_of_file() -> None:
    """The examples are read, and show CSV with and without a header, NDJSON, a table and a query."""
    assert ["stations", "readings", "masts", "planes", "routes"] == [name for name, _ in FEEDS]


def test_the_datasets_on_their_page_make_a_pipeline() -> None:
    """The example needs nothing but an id, folders and a deadline."""
    [example] = examples("datasets.md")
    frame = {"id": "fleet", "roots": {"landing": "/l"}, "staging": "/s", "sync": {"deadline": 60}}
    found = validated(Pipeline, {**frame, **example}, subject="pipeline")
    assert ["plane", "weather"] == list(found.datasets)
    assert all(isinstance(terms, DatasetTerms) for terms in found.datasets.values())
