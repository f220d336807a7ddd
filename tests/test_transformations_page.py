"""The page about transformations says what a pipeline file may say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.source import AggregateFunction

PAGE = (Path(__file__).parents[1] / "docs" / "transformations.md").read_text()
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)]
FILE = {"id": "list", "uri": "landing/list.csv", "format": "csv", "columns": {"id": "id"}}


def test_every_function_is_in_the_table() -> None:
    """The table of functions has all of them, and no others."""
    table = PAGE.partition("| function |")[2].partition("\n\n")[0]
    named = re.findall(
        r"`(\w+)`", "\n".join(line.partition("|")[2].partition("|")[0] for line in table.splitlines())
    )

    assert set(AggregateFunction) == set(named)


@pytest.mark.parametrize(
    "block", BLOCKS, ids=lambda block: next(iter(block)) if isinstance(block, dict) else "feed"
)
def test_the_examples_are_accepted(block: Any) -> None:
    """Each example is a feed, or a part of one."""
    feeds = block if isinstance(block, list) else [{**FILE, **block}]

    assert [feed["id"] for feed in feeds] == [Feed.model_validate(feed).id for feed in feeds]


def test_examples_are_found() -> None:
    """The test above has something to look at."""
    assert 3 == len(BLOCKS)
