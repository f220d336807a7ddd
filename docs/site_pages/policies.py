"""Keeps the decision tables on the pages of policies as the tests have them.

`python -m docs.site_pages.policies` writes them anew, from `tests/unit/policies/*.toml`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from docs.site_pages.text import DOCS, REPOSITORY, table

TABLES = REPOSITORY / "tests" / "unit" / "policies"
BEGIN, END = "<!-- table: written by `make docs` -->", "<!-- end of the table -->"
DECIDED = ("expected", "rate", "outcomes")
"""What a row claims; all else of it are facts."""


def with_table(page: str, name: str) -> str:
    """Return the page of a policy with the table that the tests have now."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"docs/policies/{name}.md has no place for its table; write {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{decision_table(name)}\n{END}{after}"


def decision_table(name: str) -> str:
    """Return the rows of a policy's TOML file as Markdown, with the words that explain its short forms."""
    text = (TABLES / f"{name}.toml").read_text()
    notes = " ".join(
        line.lstrip("# ") for line in re.split(r"^\[", text, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    )
    rows = [_row(row) for rows in tomllib.loads(text).values() for row in rows]
    return f"{notes}\n\n" + table(("what is claimed", "facts", "decision"), rows)


def _row(row: Mapping[str, Any]) -> tuple[str, str, str]:
    facts = {name: value for name, value in row.items() if name not in ("claim", *DECIDED)}
    decided = {name: row[name] for name in DECIDED if name in row}
    verdict = decided.pop("expected", {})
    verdict = {**verdict, **decided} if isinstance(verdict, dict) else {"": verdict}
    return row["claim"], "<br>".join(_named(facts)), "<br>".join(_named(verdict))


def _named(values: Mapping[str, Any]) -> Iterator[str]:
    if "action" in values:
        yield f"**{values['action']}**"
    for name, value in values.items():
        if name != "action":
            yield f"{name}: {_shown(value)}" if name else f"**{_shown(value)}**"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} = {_shown(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list):
        return ("; " if any(map(_has_parts, value)) else ", ").join(map(_part, value)) or "none"
    return f"`{value}`" if isinstance(value, str) else json.dumps(value)


def _has_parts(value: Any) -> bool:
    return isinstance(value, (dict, list)) or (isinstance(value, str) and "," in value)


def _part(value: Any) -> str:
    return f"({_shown(value)})" if isinstance(value, list) else _shown(value)


def named_policies() -> list[str]:
    """Return the policies that have a table."""
    return sorted(path.stem for path in TABLES.glob("*.toml"))


def main() -> None:
    """Bring every page up to date."""
    for name in named_policies():
        page = DOCS / "policies" / f"{name}.md"
        text = page.read_text()
        if text != with_table(text, name):
            page.write_text(with_table(text, name))


if __name__ == "__main__":
    main()
