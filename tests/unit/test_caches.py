"""What a process keeps from one run to the next is bounded: api-server, triggerer and Dag processor live for months."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "airflow_orchestration"
EMPTY = {
    "dict",
    "list",
    "set",
    "defaultdict",
    "deque",
    "OrderedDict",
    "WeakKeyDictionary",
    "WeakValueDictionary",
}
KEPT = {
    "agents/templates.py: registered_templates": "one, of this process",
    "domain/deadline.py: _zones": "one, of this machine",
    "hooks/outside.py: _require_connection": "by connection; of those that are not there nothing is kept",
    "hooks/pipeline_files.py: _checked": "by the text of a setting, which a process reads once",
    "hooks/schedules.py: _schedule_problem": "at most 1,000, by schedule",
    "engine/csv_grammar.py: _fullmatch": "at most 4,096, by pattern",
    "insights/run_facts.py: spec_of": "a few runs that somebody looks at",
    "triggers/poller.py: _shared": "by event loop, as long as anybody uses it",
    "triggers/shared_store.py: _stores": "by connection",
}
"""What is kept, and by what it is bounded. Never by run."""


def kept(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        for inner in (node, *getattr(node, "body", ())):
            if isinstance(inner, ast.FunctionDef) and any(map(is_cache, inner.decorator_list)):
                yield inner.name
        value = getattr(node, "value", None) if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if value is not None and is_empty(value):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target  # type: ignore[attr-defined]
            yield ast.unparse(target)


def is_cache(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called).rpartition(".")[2] in {"cache", "lru_cache"}


def is_empty(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return not value.args and ast.unparse(value.func).rpartition(".")[2] in EMPTY
    return (isinstance(value, ast.Dict) and not value.keys) or (
        isinstance(value, ast.List) and not value.elts
    )


def test_what_a_process_keeps_is_known_and_bounded() -> None:
    """A new cache, or a new container at the top of a module, has to say here what bounds it."""
    found = {f"{path.relative_to(PACKAGE)}: {name}" for path in PACKAGE.rglob("*.py") for name in kept(path)}
    assert KEPT.keys() == found
