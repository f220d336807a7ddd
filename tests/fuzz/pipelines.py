"""Pipeline files, contracts, and the conf of runs: the examples that they begin with, and the looks at what is accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from airflow_orchestration.cli.validate import check
from airflow_orchestration.domain.conf import read_conf
from airflow_orchestration.domain.contract import Contract
from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.domain.pipeline_file import PipelineFile, read_pipeline_file
from airflow_orchestration.domain.run_spec import RunSpec, contract_problems, resolve
from airflow_orchestration.engine.query_problems import query_problems
from airflow_orchestration.exceptions import InputRefusedError
from tests.fuzz.appearing import lost, unbounded
from tests.fuzz.inputs import Made
from tests.fuzz.judging import require
from tests.fuzz.rules import lost_rules
from tests.fuzz.structure import Changer
from tests.fuzz.yaml_text import keys_that_vanish, plainly_read, written

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = Path(__file__).parent / "examples"
PIPELINES = tuple(
    EXAMPLES / "everything.yaml" if name == "everything" else REPOSITORY / f"{name}.yaml"
    for name in (
        *("everything", "everything", "dags/airport_reference", "dags/flights"),
        *("tests/dags/five_lanes", "tests/dags/asked", "tests/dags/late_feeds", "tests/dags/stragglers"),
    )
)
"""What is changed most stands here twice."""
CONTRACTS = (
    *(EXAMPLES / "everything.odcs.yaml",) * 3,
    REPOSITORY / "dags/airport_reference.odcs.yaml",
    REPOSITORY / "dags/flights.odcs.yaml",
    REPOSITORY / "dags/tenants/red/list_quality.odcs.yaml",
)
RUN_DATE = date(2026, 11, 22)
WITH_SQL = 0.02
"""The share of pipelines whose SQL is read too, by an engine that takes 50 ms to begin."""
CONF_FIELDS = frozenset(
    {
        *("batches", "workflow_mode", "sync_deadline", "sync_floor", "sync_grace_period"),
        *("quality_approve_at", "preset"),
    }
)
BATCH_FIELDS = frozenset({"id", "uri", "required", "priority"})


@cache
def plain(path: Path) -> Any:
    """An example as a tree, which is changed in copies only."""
    return yaml.safe_load(path.read_text())


@cache
def pipeline_changer() -> Changer:
    """Changes pipeline files."""
    return Changer([plain(path) for path in dict.fromkeys(PIPELINES)])


@cache
def contract_changer() -> Changer:
    """Changes contracts."""
    return Changer([plain(path) for path in dict.fromkeys(CONTRACTS)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A pipeline that is right, with its contracts."""

    found: PipelineFile
    contracts: tuple[Contract, ...]


@cache
def known(path: Path) -> Known:
    """Read an example once."""
    found = read_pipeline_file(path)
    return Known(found=found, contracts=found.read_contracts())


# --- conf ---


def make_conf(dice: Random) -> Made:
    """A conf for one of the examples, changed."""
    path = dice.choice(PIPELINES)
    tree, done = _conf_changer(path).change(dice, _valid_conf(dice, known(path)))
    try:
        text = json.dumps(tree)
    except (ValueError, RecursionError):
        text = "{}"
    terms = {"pipeline": str(path.relative_to(REPOSITORY)), "right": not done}
    return Made(kind="conf", files={"conf.json": text.encode()}, terms=terms, changes=done)


@cache
def _conf_changer(path: Path) -> Changer:
    dice = Random(0)
    return Changer([_valid_conf(dice, known(path)) for _ in range(20)])


def _valid_conf(dice: Random, one: Known) -> dict[str, Any]:
    pipeline = one.found.pipeline
    needed = {feed.id for feed in pipeline.feeds if feed.required} | {
        need for feed in pipeline.feeds for need in feed.depends_on
    }
    chosen = [feed for feed in pipeline.feeds if feed.id in needed or dice.random() < 0.6]
    chosen = chosen or list(pipeline.feeds)
    asked: dict[str, Any] = {
        "batches": [_valid_batch(dice, feed.id, feed.uri) for feed in chosen],
        "workflow_mode": dice.choice(("auto", "parallel", "sequential", "adaptive")),
        "sync_floor": dice.choice((0.75, 0.9, 1.0)),
        "quality_approve_at": dice.choice((0.8, 0.95, 1)),
    }
    if not isinstance(pipeline.sync.deadline, str):
        asked["sync_deadline"] = dice.choice((1, 10, 20.5))
    if pipeline.presets:
        asked["preset"] = dice.choice(sorted(pipeline.presets))
    return {name: value for name, value in asked.items() if dice.random() < 0.6}


def _valid_batch(dice: Random, feed_id: str, uri: str | None) -> dict[str, Any]:
    batch: dict[str, Any] = {"id": feed_id}
    if uri is not None and dice.random() < 0.3:
        batch["uri"] = f"{uri.partition('/')[0]}/{{date}}/other.csv"
    if dice.random() < 0.3:
        batch["priority"] = dice.choice(("high", "medium", "low"))
    if dice.random() < 0.2:
        batch["required"] = True
    return batch


def look_at_conf(made: Made, folder: Path) -> None:
    """Read a conf as the first task does, and find all of it in what the run does."""
    one = known(REPOSITORY / made.terms["pipeline"])
    conf = json.loads((folder / "conf.json").read_text())
    spec = resolve(one.found.pipeline, one.contracts, read_conf(conf), RUN_DATE)
    require(conf is None or isinstance(conf, dict), f"a conf that is {ascii(conf)[:100]} was accepted")
    asked = {} if conf is None else {name: value for name, value in conf.items() if value is not None}
    require(asked.keys() <= CONF_FIELDS, f"unknown fields {sorted(asked.keys() - CONF_FIELDS)} were accepted")
    wrong = [*_lost_of_conf(asked, spec, one), *unbounded(spec.as_json()), *unbounded(asked)]
    require(not wrong, "; ".join(wrong[:5]))
    _require_same_again(spec)


def _lost_of_conf(asked: Mapping[str, Any], spec: RunSpec, one: Known) -> Iterator[str]:
    """What conf says and the run does not do."""
    done = spec.pipeline.model_dump(mode="json")
    results = {
        "sync_deadline": done["sync"]["deadline"],
        "sync_floor": done["sync"]["floor"],
        "sync_grace_period": done["sync"]["grace_period"],
        "quality_approve_at": done["quality"]["approve_at"],
        "workflow_mode": done["workflow_mode"],
        "preset": spec.preset,
    }
    for name in results.keys() & asked.keys():
        yield from lost(asked[name], results[name], name)
    declared = [feed.id for feed in one.found.pipeline.feeds]
    batches = asked.get("batches", [])
    ran = {feed["id"]: feed for feed in done["feeds"]}
    if "batches" in asked:
        if sorted(batch["id"] for batch in batches) != sorted(ran):
            yield "the run has other feeds than batches names"
        for batch in batches:
            if not batch.keys() <= BATCH_FIELDS:
                yield f"unknown fields of a batch: {sorted(batch.keys() - BATCH_FIELDS)}"
            yield from lost(
                {key: it for key, it in batch.items() if it is not None}, ran.get(batch["id"]), "batches"
            )
            yield from _led_out(batch.get("uri"), one.found.pipeline.roots)
    if sorted([*ran, *(feed.id for feed in spec.left_out)]) != sorted(declared):
        yield "a declared feed is neither in the run nor left out"


def _led_out(uri: Any, roots: Mapping[str, str]) -> Iterator[str]:
    """Why a URI could lead out of its root."""
    if uri is None:
        return
    root, _, rest = uri.partition("/")
    if root not in roots or not rest or "\\" in uri or "://" in uri or not uri.isprintable():
        yield f"uri {uri!a} was accepted"
    if {"", ".", ".."} & set(uri.split("/")):
        yield f"uri {uri!a} leads out of its root"


def _require_same_again(spec: RunSpec) -> None:
    """What a run does is read again by every task of it, from JSON that PostgreSQL has kept."""
    text = json.dumps(spec.as_json(), allow_nan=False)
    require("\\u0000" not in text, "the run's specification holds NUL, which no database takes")
    text.encode()
    require(
        RunSpec.model_validate(json.loads(text)) == spec, "the run's specification is not what was stored"
    )


# --- pipeline files ---


def make_pipeline(dice: Random) -> Made:
    """A pipeline file, changed, beside its contract, which seldom is changed too."""
    path = dice.choice(PIPELINES)
    tree, done = pipeline_changer().change(dice, plain(path))
    data, more = written(dice, tree)
    contract = path.parent / plain(path)["contract"]
    files = {"file.yaml": data, contract.name: contract.read_bytes()}
    if dice.random() < 0.1:
        changed, others = contract_changer().change(dice, plain(contract))
        files[contract.name], spoilt = written(dice, changed)
        done = (*done, *(f"contract: {one}" for one in (*others, *spoilt)))
    changes = (*done, *more)
    terms = {"sql": dice.random() < WITH_SQL, "right": not changes}
    return Made(kind="pipeline", files=files, terms=terms, changes=changes)


def look_at_pipeline(made: Made, folder: Path) -> None:
    """Read a pipeline file as its Dag file and its first task do, and find all of it in what was read."""
    path = folder / "file.yaml"
    if made.terms["sql"]:
        _read_with_sql(path)
    found = read_pipeline_file(path)
    wrong = list(_lost_of_document(made.files["file.yaml"], found, {}))
    require(not wrong, "; ".join(wrong[:5]))
    contracts = found.read_contracts()
    spec = resolve(found.pipeline, contracts, read_conf(None), RUN_DATE)
    wrong = list(unbounded(spec.as_json()))
    require(not wrong, "; ".join(wrong[:5]))
    require(
        not list(contract_problems(found.pipeline, contracts)), "problems with the contract were not told"
    )
    _require_same_again(spec)


def _read_with_sql(path: Path) -> None:
    """`validate` reads everything, its SQL too; told is what it would print."""
    if problems := check(str(path)).problems:
        raise InputRefusedError("files", [problem for _, problem in problems])


def lost_of_pipeline(document: Any, found: PipelineFile, own: Mapping[str, Any]) -> Iterator[str]:
    """What a pipeline file says and its model does not; `own` are fields that its place says."""
    kept = found.pipeline.model_dump(mode="json")
    said = {name: value for name, value in document.items() if name not in own}
    for name in ("roots", "staging", "contract", "pool"):
        said.pop(name, None)
    feeds = said.pop("feeds", [])
    yield from lost(_as_texts(said), kept)
    if len(feeds) != len(kept["feeds"]):
        yield f"{len(feeds)} feeds became {len(kept['feeds'])}"
    for number, (feed, other) in enumerate(zip(feeds, kept["feeds"], strict=False)):
        yield from lost(_as_texts(_with_long_columns(feed)), other, f"feeds[{number}]")
    yield from _lost_places(document, found)


def _lost_of_document(data: bytes, found: PipelineFile, own: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"key {name!a} stands twice" for name in keys_that_vanish(data))
    yield from lost_of_pipeline(plainly_read(data), found, own)


def _lost_places(document: Mapping[str, Any], found: PipelineFile) -> Iterator[str]:
    roots = document["roots"]
    if roots.keys() != found.pipeline.roots.keys():
        yield "other roots were read than are written"
    for name, root in roots.items():
        if not found.pipeline.roots.get(name, "").endswith(Path(root).name):
            yield f"root {name} became {found.pipeline.roots.get(name)!a}"


def _with_long_columns(feed: Mapping[str, Any]) -> dict[str, Any]:
    """The short form of a column is a text."""
    columns = feed.get("columns")
    if not isinstance(columns, dict):
        return dict(feed)
    return {
        **feed,
        "columns": {key: {"column": it} if isinstance(it, str) else it for key, it in columns.items()},
    }


def _as_texts(tree: Any) -> Any:
    """Dates that YAML made of texts, as they were written."""
    if isinstance(tree, dict):
        return {key: _as_texts(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_as_texts(value) for value in tree]
    return str(tree) if isinstance(tree, date | datetime) else tree


# --- contracts ---


def make_contract(dice: Random) -> Made:
    """A dataset contract, changed."""
    tree, done = contract_changer().change(dice, plain(dice.choice(CONTRACTS)))
    data, more = written(dice, tree)
    return Made(
        kind="contract",
        files={"it.odcs.yaml": data},
        terms={"sql": dice.random() < WITH_SQL, "right": not (*done, *more)},
        changes=(*done, *more),
    )


def look_at_contract(made: Made, folder: Path) -> None:
    """Read a contract, and find every column with its rules in what was read."""
    contracts = read_contracts(folder / "it.odcs.yaml")
    if made.terms["sql"] and (problems := query_problems(contracts)):
        raise InputRefusedError("contract", problems)
    data = made.files["it.odcs.yaml"]
    wrong = [f"key {name!a} stands twice" for name in keys_that_vanish(data)]
    wrong += lost_of_contract(plainly_read(data), contracts)
    wrong += [fault for one in contracts for fault in unbounded(one.model_dump(mode="json"))]
    require(not wrong, "; ".join(wrong[:5]))


OPTIONS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusiveMinimum": "exclusive_minimum",
    "exclusiveMaximum": "exclusive_maximum",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
    "format": "format",
    "multipleOf": "multiple_of",
}


def lost_of_contract(document: Mapping[str, Any], contracts: Sequence[Contract]) -> Iterator[str]:
    """What a contract says of columns and rules and its model does not."""
    tables = document["schema"]
    if [table["name"] for table in tables] != [contract.name for contract in contracts]:
        yield "other schema objects were read than are written"
        return
    for table, contract in zip(tables, contracts, strict=True):
        declared = _listed(table.get("properties"))
        if [str(item["name"]) for item in declared] != [column.name for column in contract.columns]:
            yield f"{contract.name}: other columns were read than are written"
            continue
        for item in declared:
            yield from _lost_of_column(item, contract)
        rules = [
            (name, rule)
            for name, one in ((None, table), *((item["name"], item) for item in declared))
            for rule in _listed(one.get("quality"))
        ]
        yield from lost_rules(rules, contract)
        yield from _lost_key(declared, contract)


def _lost_of_column(item: Mapping[str, Any], contract: Contract) -> Iterator[str]:
    column = contract.by_name[item["name"]]
    kept = column.model_dump(mode="json")
    told = {"type": item.get("logicalType") or "string"}
    options = item.get("logicalTypeOptions")
    for option, value in ({} if options is None else options).items():
        if option in OPTIONS and value is not None:
            told[OPTIONS[option]] = value.isoformat() if isinstance(value, date) else value
    if _listed(item.get("enum")):
        told["enum"] = [_as_texts(one["value"]) for one in item["enum"]]
    for name in ("required", "unique"):
        if item.get(name) is not None and item[name] is not False:  # a rule may say so too
            told[name] = item[name]
    yield from lost(told, kept, f"{contract.name}.{column.name}")
    if (item["name"] in contract.key) != bool(item.get("primaryKey")):
        yield f"{contract.name}.{column.name}: is in the key or not, other than written"


def _lost_key(declared: Sequence[Mapping[str, Any]], contract: Contract) -> Iterator[str]:
    """The key has its columns in the order of their positions."""
    key = sorted(
        (item for item in declared if item.get("primaryKey")),
        key=lambda item: item.get("primaryKeyPosition") or 0,
    )
    if tuple(item["name"] for item in key) != contract.key:
        yield f"{contract.name}: the key became {contract.key}"


def _listed(written: Any) -> Sequence[Any]:
    """What is no list was to be refused, whatever it is."""
    require(
        written is None or isinstance(written, list), f"a list that is {ascii(written)[:100]} was accepted"
    )
    return [] if written is None else list(written)
