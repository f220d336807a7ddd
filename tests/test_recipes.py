from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
RECIPES = (REPOSITORY / "docs/recipes.md").read_text()
FILES = sorted(path.name for path in (REPOSITORY / "tests/dags").glob("recipe_*.py"))
CODE = dict(
    re.findall(
        r"^\[`tests/dags/(\w+\.py)`\]\(\.\./tests/dags/\1\)\n\n```python\n(.*?)```$",
        RECIPES,
        re.DOTALL | re.MULTILINE,
    )
)


def test_every_recipe_is_in_the_docs() -> None:
    """What the tests run as a recipe is what the docs show, and the other way round."""
    assert FILES == sorted(CODE)
    assert RECIPES.count("```python") == len(CODE)


@pytest.mark.parametrize("name", FILES)
def test_code_is_that_of_the_dag(name: str) -> None:
    """The code of a recipe is, to the letter, the Dag file behind its docstring."""
    _, _, code = (REPOSITORY / "tests/dags" / name).read_text().partition('"""\n\n')

    assert code == CODE[name]


@pytest.mark.parametrize("anchor", re.findall(r"\]\(#([^)]+)\)", RECIPES))
def test_links_lead_to_a_heading(anchor: str) -> None:
    """Every link inside the page leads to a heading of it."""
    headings = re.findall(r"^#+ (.+)$", RECIPES, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert anchor in anchors
