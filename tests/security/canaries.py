"""Texts that do something where somebody executes, renders, opens or shows them, and a pipeline full of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FIRST, SECOND = 104_729, 1_299_709
EXECUTED = str(FIRST * SECOND)
"""What a canary leaves behind that was executed anywhere; nothing else makes this number."""
PWNED = "pwned"
"""The name of a file that a command makes, and of a table that a statement makes."""
PLANTED, MARKER = "planted", "marker-of-the-planted-file"
"""A file that a template includes and a path leads to, and what stands in it."""
PADDED = "@" * 200
"""What a text becomes a part of when it is the format of another one."""
JINJA = f"{{{{ {FIRST} * {SECOND} }}}}"
INCLUDE = f'{{% include ["{PLANTED}"] ignore missing %}}'
JINJA_SECRET = "{% if conn is defined %}{{ conn.warehouse.password }}{{ var.value.api_key }}{% endif %}"
_COMMAND = f"echo $(({FIRST} * {SECOND}))"
NATIVE = (
    "{% if cycler is defined and cycler.__init__ is defined %}"
    f'{{{{ cycler.__init__.__globals__.os.popen("{_COMMAND}").read() }}}}{{% endif %}}'
)
_STATEMENT = f"CREATE TABLE canary.{PWNED} AS SELECT {FIRST}::bigint * {SECOND} AS trace"
SQL = f"'; {_STATEMENT}; --"
SQL_NAME = f'"; {_STATEMENT}; --'
SQL_VALUE = f"'||({FIRST}::bigint * {SECOND})::text||'"
HTML = f"<img src=x onerror=alert({FIRST}*{SECOND})>"
SHELL = f"$(touch {PWNED})`touch {PWNED}`"
PATH = f"../{PLANTED}"
FORMAT = "{0!s:@>300}"
PERCENT = "%(password)s"
VARIABLES = "${CANARY_ENVIRONMENT} $CANARY_ENVIRONMENT"
OBJECT = json.dumps({"__classname__": "os.system", "__type": "dict", "__var": {}})
"""What would be an object is refused by Airflow's serializer and leaves no trace but a task that failed."""
PAYLOADS = (
    SHELL, JINJA, INCLUDE, JINJA_SECRET, NATIVE, HTML, PATH, FORMAT, PERCENT, VARIABLES, OBJECT, SQL_NAME, SQL_VALUE, SQL,
)  # fmt: skip
TEXT = f"{SHELL}\n{JINJA} {INCLUDE} {JINJA_SECRET} {NATIVE} {HTML} {PATH} {VARIABLES} {SQL_VALUE} {SQL}"
"""For a leaf that takes any text: whoever renders it, executes it or expands it leaves the traces of its parts."""
NOTHING = TEXT.replace("\n", " ")
"""The same on one line: a word for nothing in a file."""
NAME = f"{JINJA} {SQL} {HTML}"
"""For a name that is a part of something."""
FILE_NAME = f"{SQL} {HTML} {SHELL}"
"""For a file: a path of a feed takes no braces."""

PASSWORDS = {"orchestration_default": "sesame-of-the-store", "warehouse": "sesame-of-the-warehouse"}
VARIABLE, ENVIRONMENT = "sesame-of-a-variable", "sesame-of-the-environment"
CELL, REJECTED_CELL = "zanzibar-of-a-row", "ouagadougou-of-a-rejected-row"
"""Values of rows: they belong into tables of data and nowhere else."""
SECRETS = (*PASSWORDS.values(), VARIABLE, ENVIRONMENT)
TRACES = (EXECUTED, MARKER, PADDED)
"""What stands nowhere unless a canary took effect; a file or table of the name `PWNED` besides."""

COUNTED = f"counted {NAME}"
CONTRACT: dict[str, Any] = {
    "apiVersion": "v3.1.0",
    "kind": "DataContract",
    "id": TEXT,
    "name": TEXT,
    "version": TEXT,
    "status": "active",
    "domain": TEXT,
    "tenant": TEXT,
    "dataProduct": TEXT,
    "description": {"purpose": TEXT, "limitations": TEXT, "usage": TEXT},
    "tags": [TEXT],
    "schema": [
        {
            "name": NAME,
            "description": TEXT,
            "businessName": TEXT,
            "tags": [TEXT],
            "properties": [
                {
                    "name": "code",
                    "logicalType": "string",
                    "primaryKey": True,
                    "required": True,
                    "description": TEXT,
                },
                {"name": "size", "logicalType": "number", "logicalTypeOptions": {"minimum": 0}},
                {
                    "name": "label",
                    "logicalType": "string",
                    "businessName": TEXT,
                    "examples": [TEXT],
                    "quality": [
                        {
                            "name": f"known {NAME}",
                            "description": TEXT,
                            "metric": "invalidValues",
                            "arguments": {"pattern": "^[^#]*$"},
                            "mustBe": 0,
                            "dimension": "conformity",
                        }
                    ],
                },
                {"name": "note", "logicalType": "string"},
            ],
            "quality": [
                {
                    "name": f"counted {NAME}",
                    "description": TEXT,
                    "type": "sql",
                    "query": f"SELECT count(*) FROM {{object}} WHERE label = '{NAME.replace(chr(39), chr(39) * 2)}'",
                    "mustBeLessThan": 100,
                },
                {"type": "text", "description": TEXT},
            ],
        },
        {
            "name": COUNTED,
            "properties": [
                {"name": "label", "logicalType": "string", "primaryKey": True, "required": True},
                {"name": "number", "logicalType": "integer"},
            ],
        },
    ],
}


def pipeline() -> dict[str, Any]:
    """A pipeline whose texts, names of files, columns and words for nothing are canaries."""
    literal = NAME.replace("'", "''")
    return {
        "id": "canary",
        "description": TEXT,
        "owner": NAME,
        "tags": [NAME[:100]],
        "presets": {"loud": {"title": NAME[:100], "sync_floor": 0.5}},
        "roots": {"landing": f"landing {NAME}"},
        "staging": f"staging {NAME}",
        "contract": f"contract {NAME}.yaml",
        "feeds": [
            {
                "id": "lines",
                "dataset": NAME,
                "uri": "landing/lines.csv",
                "format": "csv",
                "columns": {
                    "code": NAME,
                    "size": "size",
                    "label": {"column": f"label {SQL}", "extract": "^(.*)$"},
                    "note": {"expression": f"concat(\"{NAME.replace(chr(34), chr(34) * 2)}\", '{literal}')"},
                },
                "null_words": [TEXT, NOTHING],
                "weight": 3,
            },
            {
                "id": "objects",
                "dataset": NAME,
                "uri": "landing/objects.json",
                "format": "json",
                "columns": {"code": f'$."{NAME}"', "size": "$.size", "label": f'$."{SQL}"."{HTML}"'},
            },
            {
                "id": "queried",
                "dataset": NAME,
                "database": {
                    "conn_id": "warehouse",
                    "query": f"SELECT '{literal}' AS code, 4 AS size, '{literal}' AS label",
                },
                "columns": {"code": "code", "size": "size", "label": "label"},
            },
            {
                "id": "broken",
                "dataset": NAME,
                "uri": f"landing/{FILE_NAME}.csv",
                "format": "csv",
                "columns": {"code": NAME},
            },
            {
                "id": "absent",
                "dataset": NAME,
                "uri": "landing/absent.csv",
                "format": "csv",
                "columns": {"code": NAME},
            },
            {
                "id": "records",
                "dataset": NAME,
                "source_type": "streaming",
                "kafka": {"conn_id": "nowhere", "topic": "canary"},
                "columns": {"code": f"code {SQL}", "label": NAME},
            },
            {
                "id": "counts",
                "dataset": COUNTED,
                "type": "data_aggregation",
                "depends_on": ["lines"],
                "aggregate": {
                    "feeds": ["lines"],
                    "group_by": ["label"],
                    "measures": {"number": {"function": "count", "where": f"label <> '{literal}'"}},
                },
            },
        ],
        "sync": {"deadline": 60, "floor": 0.5, "points": {"core": {"feeds": ["lines"], "floor": 1.0}}},
        "quality": {"approve_at": 0.3, "fail_below": 0.1},
        "ask_when": ["conditional", "below_floor", "near_miss"],
        "datasets": {
            NAME: {
                "merge": {"strategy": "trust", "attributes": {"label": "vote"}},
                "publish": {"table": "canary.target", "conn_id": "warehouse"},
            },
            COUNTED: {"publish": {"table": "canary.counted", "conn_id": "warehouse", "mode": "replace"}},
        },
        "max_rounds": 1,
    }


def conf() -> dict[str, Any]:
    """A conf with the one free text that conf has: the name of a file."""
    batches = [
        {"id": "lines", "uri": f"landing/{FILE_NAME} lines.csv"},
        {"id": "objects"},
        {"id": "queried"},
        {"id": "broken"},
        {"id": "absent", "uri": f"landing/{FILE_NAME} absent.csv"},
        {"id": "records"},
        {"id": "counts"},
    ]
    return {"batches": batches, "workflow_mode": "parallel", "preset": "loud"}


def lay_out(folder: Path) -> Path:
    """Write the pipeline, its contract and its feeds into a folder; returns the pipeline file."""
    declared = pipeline()
    landing = folder / declared["roots"]["landing"]
    landing.mkdir(parents=True)
    header = [NAME, "size", f"label {SQL}"]
    rows = [
        ["shared", "1", CELL],
        *([f"key {index} {payload}", "2", payload] for index, payload in enumerate(PAYLOADS)),
        [f"rejected {NAME}", "-2", REJECTED_CELL],
        ["unlike the pattern", "3", f"# {REJECTED_CELL}"],
        ["nothing", "4", NOTHING],
    ]
    lines = "".join(",".join(map(_quoted, row)) + "\n" for row in [header, *rows])
    (landing / f"{FILE_NAME} lines.csv").write_text(lines)
    objects = [
        {NAME: f"key {index} {payload}", "size": 9, SQL: {HTML: CELL}}
        for index, payload in enumerate(PAYLOADS)
    ]
    (landing / "objects.json").write_text(
        json.dumps([*objects, {NAME: "shared", "size": 1, SQL: {HTML: "other"}}])
    )
    (landing / f"{FILE_NAME}.csv").write_text(f'"{CELL}\n')
    (folder / declared["contract"]).write_text(yaml.safe_dump(CONTRACT))
    (folder / PLANTED).write_text(MARKER)
    path = folder / "canary.yaml"
    path.write_text(yaml.safe_dump(declared))
    return path


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def leaves(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every text of a document."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, Mapping):
        for name, child in value.items():
            yield from leaves(child, (*path, name))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from leaves(child, (*path, index))


def planted(value: Any, path: tuple[str | int, ...], text: str) -> Any:
    """A copy of a document with another text in one place."""
    if not path:
        return text
    first, rest = path[0], path[1:]
    copy = dict(value) if isinstance(value, Mapping) else list(value)
    copy[first] = planted(value[first], rest, text) if rest else text
    return copy
