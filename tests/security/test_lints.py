"""What the package's code may not do at all, read in its syntax trees, and what its documentation may not teach."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from airflow.sdk import BaseOperator

from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from tests.security.canaries import lay_out
from tests.security.executed_sql import EXECUTES, executed_in, is_allowed

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "airflow_orchestration"
CODE = sorted([*PACKAGE.rglob("*.py"), *(REPOSITORY / "dags").rglob("*.py")])
CALLS = {
    "T1": {
        "expand_kwargs",
        "render_template",
        "render_template_fields",
        "render_template_to_string",
        "from_string",
    },
    "T8": {"import_string", "import_by_path", "__import__", "eval", "exec", "compile_command"},
    "T22": {"unsafe_load", "full_load", "allow_pickle", "deserialize_value"},
    "shell": {"system", "popen", "getoutput", "getstatusoutput"},
}
"""Functions that make code, classes or templates of texts, by the threat that they would let in."""
IMPORTS = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "jinja2",
    "airflow.sdk.serde",
    "airflow.serialization",
}
POWERS = {
    "importlib", "importlib.import_module", "subprocess", "runpy", "ctypes", "code", "codeop", "pty", "yaml",
}  # fmt: skip
"""Modules with which a text could become code, a process or an object."""
IMPORTERS = {
    f"{PACKAGE.name}/{path}.py" for path in ("cli/schemas", "plugins/warm_start", "plugins/warm_worker")
}
KNOWN_POWERS = {
    "importlib": IMPORTERS,
    "importlib.import_module": IMPORTERS,
    "ctypes": {f"{PACKAGE.name}/workflow/stopping.py"},
    "yaml": {f"{PACKAGE.name}/domain/yaml_file.py"},
}
TEMPLATED = {
    "QuorumGateSensor": ("run_started_at",),
    "RegisterJobOperator": ("tenant", "job", "specification", "contract"),
}
"""What a Dag's author writes by hand, and no conf, feed or plan reaches."""
AS_TASKS_DO = {"deserialize_value": "airflow_orchestration/cli/airflow_database.py"}
"""A command reads the XCom of a quality tool by Airflow's own reader, as the tasks of the run have read it before."""
DUCKDB = "engine"
"""There statements are built of quoted names and literals, for a sandbox (T6)."""


_OF_AIRFLOW = "a query of Airflow's own models, made by SQLAlchemy: what varies is bound"
_BY_SERVER = "the catalog of the server has written it, with names quoted"
_OF_TARGET = "put together by `sql.SQL` in `target.py`, of quoted names"
MADE_ELSEWHERE = {
    ("operators/ask.py", "context"): "no statement: a task",
    ("operators/process_branch.py", "context"): "no statement: a task",
    ("plugins/run_note.py", "select(DagRunNote.content).where(of_run).with_for_update()"): _OF_AIRFLOW,
    ("plugins/run_note.py", "insert(DagRunNote).values(dag_run_id=dag_run_id, content=after)"): _OF_AIRFLOW,
    ("plugins/run_note.py", "update(DagRunNote).where(of_run).values(content=after)"): _OF_AIRFLOW,
    ("plugins/run_note.py", "query"): _OF_AIRFLOW,
    (
        "sources/outbox.py",
        "*query_of(outbox, span, start)",
    ): "put together by `sql.SQL` there, of quoted names",
    ("storage/migrating.py", "FOLDER.joinpath('migrations', f'{name}.sql').read_bytes()"): "a file of ours",
    ("storage/partitioning.py", "statement"): _BY_SERVER,
    ("storage/swapping.py", "statement"): _BY_SERVER,
    ("storage/swapping.py", "self.target.creation(self.scratch.template)"): _OF_TARGET,
    ("storage/swapping.py", "self.target.same_rows(self.scratch.merged, kept)"): _OF_TARGET,
    ("storage/writing.py", "self.target.creation()"): _OF_TARGET,
    ("storage/writing.py", "statement"): f"{_OF_TARGET}, or {_BY_SERVER}",
}
"""What is executed and was made elsewhere: file and expression -> why no text of a stranger is a part of it."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def calls() -> tuple[tuple[str, str, ast.Call], ...]:
    """Every call: its place, the last part of the function's name, and itself."""
    return tuple(
        (f"{path.relative_to(REPOSITORY)}:{node.lineno}", _name(node), node)
        for path in CODE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
    )


def _name(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", None) or getattr(call.func, "id", ""))


@cache
def executed() -> tuple[tuple[str, ast.expr, tuple[ast.AST, ...]], ...]:
    """Every statement that is executed outside the engine: its place, itself, and what it stands in."""
    return tuple(
        (f"{path.relative_to(REPOSITORY)}:{statement.lineno}", statement, around)
        for path in CODE
        if f"/{DUCKDB}/" not in str(path)
        for statement, around in executed_in(tree(path))
    )


@pytest.mark.parametrize("threat", CALLS)
def test_nothing_makes_code_of_data(threat: str) -> None:
    """No word of this kind stands anywhere in the package or its example Dags, called or kept in a variable or a text."""
    found = [(place, name) for place, name in words() if name in CALLS[threat]]

    assert [] == [(place, name) for place, name in found if place != AS_TASKS_DO.get(name)]


@cache
def words() -> tuple[tuple[str, str], ...]:
    """Every word of the code that one of the threats names, with its file."""
    known = set().union(*CALLS.values())
    return tuple(
        (str(path.relative_to(REPOSITORY)), name)
        for path in CODE
        for node in ast.walk(tree(path))
        for name in _words(node)
        if name in known
    )


def _words(node: ast.AST) -> list[str]:
    """What code names: a variable, a part of something, what is imported, and a text as `getattr` takes one."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            return [name]
        case ast.ImportFrom(names=names) | ast.Import(names=names):
            return [one.name.rpartition(".")[2] for one in names]
    return []


def test_modules_that_import_by_name_or_start_processes_are_known() -> None:
    """Each of them does it with names and commands of its own."""
    found: dict[str, set[str]] = {}
    for path in CODE:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {one.name for one in node.names}
                modules = (
                    names
                    if isinstance(node, ast.Import)
                    else {node.module or ""} | {f"{node.module}.{name}" for name in names}
                )
                for name in modules & POWERS:
                    found.setdefault(name, set()).add(str(path.relative_to(PACKAGE.parent)))

    assert KNOWN_POWERS == found


def test_yaml_is_read_by_safe_loaders_alone() -> None:
    """`yaml.load` is called with a loader that derives from the safe one, in the one module that reads YAML."""
    loads = [
        (place, call) for place, name, call in calls() if name in {"load", "load_all"} and _of(call, "yaml")
    ]

    assert [] == [place for place, call in loads if "yaml_file.py" not in place]
    named = re.findall(r"(?:yaml\.|\")(\w*Loader)\b", (PACKAGE / "domain/yaml_file.py").read_text())
    assert {"CSafeLoader", "SafeLoader"} == set(named)


def _of(call: ast.Call, module: str) -> bool:
    return isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == module


def test_nothing_is_unpickled_and_no_template_engine_is_known() -> None:
    """Neither these modules nor Airflow's own serializer of objects is imported."""
    found = [
        (path.name, name)
        for path in CODE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
        )
        if name in IMPORTS or name.split(".")[0] in IMPORTS
    ]

    assert [] == found


def test_no_process_is_started_through_a_shell() -> None:
    """And `shell=True` stands nowhere."""
    assert [] == [place for place, _, call in calls() if any(one.arg == "shell" for one in call.keywords)]


def test_sql_for_postgresql_is_never_put_together_of_texts() -> None:
    """What is executed is a statement of a file, a literal, or put together by `sql.SQL`: followed through every variable."""
    found = {
        (place.split(":")[0].removeprefix("airflow_orchestration/"), ast.unparse(statement))
        for place, statement, around in executed()
        if not is_allowed(statement, around)
    }

    assert len(executed()) > 100
    assert set(MADE_ELSEWHERE) == found


def test_what_executes_sql_has_no_other_name() -> None:
    """`execute` and its like are called where they stand: neither kept in a variable, nor looked up by a text."""
    called = {id(call.func) for _, _, call in calls()}
    found = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path in CODE
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Attribute) and node.attr in EXECUTES and id(node) not in called)
        or (
            isinstance(node, ast.Call)
            and _name(node) in {"getattr", "attrgetter", "methodcaller"}
            and _looks_up(node)
        )
    ]

    assert [] == found


def _looks_up(call: ast.Call) -> bool:
    return any(isinstance(one, ast.Constant) and one.value in EXECUTES for one in call.args)


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("def f(c): c.execute(_SQL['name'], {})", True),
        ("def f(c): c.execute('SELECT 1')", True),
        ("def f(c): c.execute(template('drop', table=name))", True),
        ("def f(c): c.execute(sql.SQL('DROP {}').format(name))", True),
        ("def f(c):\n  q = _SQL['a'] if x else _SQL['b']\n  c.execute(q)", True),
        ("Q = 'SELECT 1'\ndef f(c): c.execute(Q)", True),
        ("def f(c, x): c.execute(f'SELECT {x}')", False),
        ("def f(c, x): c.execute('SELECT ' + x)", False),
        ("def f(c, x):\n  q = f'SELECT {x}'\n  c.execute(q)", False),
        ("def f(c, x):\n  q = _SQL['a']\n  q += x\n  c.execute(q)", False),
        ("def f(c, x):\n  q = _SQL['a']\n  if x: q = x\n  c.execute(q)", False),
        ("def f(c, x): c.execute(x)", False),
        ("def f(c, x): c.execute(sql.SQL(x))", False),
        ("def f(c, x): c.execute(_SQL['a'].replace('b', x))", False),
        ("def f(c, x): c.execute('SELECT %s' % x)", False),
        ("def f(c, xs):\n  for x in xs: c.execute(x)", False),
        ("Q = 'SELECT 1'\ndef f(c, x):\n  Q = x\n  c.execute(Q)", False),
        ("def f(c, x):\n  if (q := x): c.execute(q)", False),
        ("def f(c, x):\n  q = _SQL['a']\n  (a, q) = x\n  c.execute(q)", False),
        ("def f(c, x):\n  with x as q: c.execute(q)", False),
        ("def f(c, x): c.execute(*x)", False),
        ("def f(c, x): c.execute(query=x)", False),
    ],
)
def test_the_lint_tells_an_allowed_statement_from_any_other(code: str, verdict: bool) -> None:
    """A form that it doesn't know is none that it allows."""
    ((statement, around),) = executed_in(ast.parse(code))
    assert verdict == is_allowed(statement, around)


def test_a_name_in_sql_for_postgresql_is_quoted() -> None:
    """`sql.SQL` gets texts of the package's own, the name of a type as the server writes it, and a query of the author's."""
    known = {
        "SQL[name]": "target.py",
        "COLUMN_TYPES[column.type]": "target.py",
        "_type(cursor, table, column)": "partitioning.py",
        "query": "database.py",
    }
    given = {
        ast.unparse(call.args[0]): place
        for place, name, call in calls()
        if name == "SQL" and _of(call, "sql") and not isinstance(call.args[0], ast.Constant)
    }

    assert known == {text: place.split(":")[0].split("/")[-1] for text, place in given.items()}


def operators() -> list[type[BaseOperator]]:
    """Every operator and sensor of the package."""
    modules = [
        import_module(f"airflow_orchestration.{folder}.{path.stem}")
        for folder in ("operators", "sensors")
        for path in (PACKAGE / folder).glob("[a-z]*.py")
    ]
    return sorted(
        {
            one
            for module in modules
            for one in vars(module).values()
            if isinstance(one, type)
            and issubclass(one, BaseOperator)
            and one.__module__.startswith(PACKAGE.name)
        },
        key=lambda one: one.__name__,
    )


def test_no_operator_renders_what_a_run_is_about() -> None:
    """Template fields are empty but for what an author writes by hand, and no field names a file of templates."""
    found = {one.__name__: tuple(one.template_fields) for one in operators() if one.template_fields}

    assert TEMPLATED == found
    assert {()} == {tuple(one.template_ext) for one in operators()}
    assert len(operators()) > 15


def test_a_generated_dag_renders_nothing(tmp_path: Path) -> None:
    """Of a pipeline full of canaries: sandboxed rendering, no template fields, mapping over ids that we made."""
    dag = pipeline_dag(lay_out(tmp_path))
    mapped = {task.task_id: task for task in dag.tasks if task.is_mapped}

    assert not dag.render_template_as_native_obj
    assert [] == [task.task_id for task in dag.tasks if task.template_fields]
    assert {("branch_id",)} == {tuple(task.expand_input.value) for task in mapped.values()}


def test_documentation_teaches_no_template_over_conf() -> None:
    """No page and no example puts conf, params or a run id into a template of a command or a statement."""
    pages = [
        REPOSITORY / "README.md",
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "dags").rglob("*.py"),
    ]
    bad = re.compile(r"\{\{[^}]*(dag_run\.conf|params[.\[]|conf\[)|expand_kwargs|shell=True|yaml\.load\(")

    assert [] == [page.name for page in pages if bad.search(page.read_text())]
