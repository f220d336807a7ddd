"""A canary in one text after the other: it is a text of its place or refused there, and no secret is repeated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.serialization.serialized_objects import DagSerialization
from pydantic import BaseModel

from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from airflow_orchestration.domain.agent import read_queue
from airflow_orchestration.domain.conf import BatchConf, RunConf, read_conf, validated
from airflow_orchestration.domain.job_file import read_job
from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.pipeline_file import read_pipeline_file
from airflow_orchestration.domain.problems import path_of
from airflow_orchestration.domain.run_spec import resolve
from airflow_orchestration.domain.tenancy import Tenancy
from airflow_orchestration.exceptions import MAX_MESSAGE, MAX_PATH, InputRefusedError, Problem
from tests.security.canaries import (
    CONTRACT,
    ENVIRONMENT,
    FILE_NAME,
    JINJA,
    MARKER,
    NAME,
    PLANTED,
    PWNED,
    SECRETS,
    TEXT,
    TRACES,
    conf,
    leaves,
    planted,
)
from tests.security.planting import Place, met, names, places, reachable, renamed

FUZZED = Path(__file__).parents[1] / "fuzz" / "examples"
"""Files that say nearly everything that one can say."""
SECRET = "Sesame-0f-a-str4nger"
ADDRESS = f"postgresql://who:{SECRET}@host/db"
STORAGE = f"s3://who:{SECRET}@bucket/folder"
WORD = f"{ADDRESS} {TEXT}"
NO_TEXTS_OF_ONES_OWN = {
    "roots.landing", "roots.remote", "roots.out", "staging", "store_conn_id", "datasets.reading.publish.conn_id",
}  # fmt: skip
"""Where an address with a password in it would be taken, if anywhere."""

PIPELINE = frozenset[type[BaseModel]]([Pipeline])
PIPELINES = ("everything.yaml", "job.yaml")
PLACES = ("roots.landing", "roots.remote", "roots.out", "staging")
LONG = {
    "description", "feeds[0].columns.station", "feeds[0].columns.value.expression", "feeds[0].null_words[0]",
    "feeds[7].aggregate.measures.mean.where", "datasets.reading", "datasets.reading.merge.trust.probes", "staging",
}  # fmt: skip
SHORT = {"owner", "pool", "feeds[0].dataset", "feeds[0].quality_task", "feeds[7].aggregate.group_by[0]"}
FREE = {TEXT: LONG, FILE_NAME: LONG | SHORT}
"""Where such a text is taken, at the least."""

WORD_OF_CONF = "sesame_of_a_conf"

Read = Callable[[Any], Any]


def refusal(read: Read, given: Any) -> str:
    """What is told of an input that is refused; nothing of one that is taken."""
    try:
        read(given)
    except InputRefusedError as error:
        return str(error)
    return ""


def document(name: str) -> Any:
    """A file that says much; a lane of its own besides."""
    found = yaml.safe_load((FUZZED / name).read_text())
    if name == "everything.yaml":
        del found["agents"]
        found["lanes"] = {"beta": {"queue": "north", "pool": "north"}}
    return found


def read_whole(path: Path) -> None:
    read_pipeline_file(path).read_contracts()


def read_of_tenant(path: Path) -> None:
    read_job(
        path, Tenancy(tenant="north", job="job", data="/data", shared_conn_ids=("warehouse",))
    ).read_contracts()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The contracts beside the files."""
    for name in ("everything.odcs.yaml", "job.odcs.yaml"):
        (tmp_path / name).write_text((FUZZED / name).read_text())
    return tmp_path


def everywhere(found: Any) -> list[Place]:
    """Where a text may be put into a file: once for each field, whichever of several feeds has it first."""
    first: dict[Place, Place] = {}
    for place in places(found, PIPELINE):
        first.setdefault(tuple("" if isinstance(part, int) else part for part in place), place)
    return list(first.values())


def each_planted(found: Any, text: str) -> Iterator[tuple[Place, Any]]:
    """A pipeline file with a text in one place after the other, and in the place of one name after the other."""
    for place in everywhere(found):
        yield place, planted(found, place, text)
    for place in names(found, PIPELINE):
        yield place, renamed(found, place, text)


def as_model(found: Any) -> None:
    """Read a file's content alone, as reading the file does first."""
    validated(Pipeline, found, subject="pipeline file")


def put(path: Path, found: Any) -> Path:
    """Write a file: JSON is YAML, and quick."""
    path.write_text(json.dumps(found))
    return path


def test_every_model_is_in_the_examples() -> None:
    """A new field is planted without being listed; a model without an example would hide its fields."""
    found = frozenset[type[BaseModel]]().union(*(met(document(name), PIPELINE) for name in PIPELINES))
    assert reachable(Pipeline) == found


@pytest.mark.parametrize("name", PIPELINES)
def test_a_canary_is_a_text_or_refused_where_it_stands(folder: Path, name: str) -> None:
    """In every place of a file in turn: no fault, and the password of an address is never told again."""
    found, path = document(name), folder / name
    read = read_of_tenant if name == "job.yaml" else read_whole
    read(put(path, found))
    told = {
        path_of(place): refusal(as_model, changed) or refusal(read, put(path, changed))
        for place, changed in each_planted(found, WORD)
    }

    assert [] == [leaf for leaf, words in told.items() if SECRET in words]
    assert 100 < len([words for words in told.values() if words])


def test_a_canary_in_a_contract_is_a_text_or_refused_where_it_stands(folder: Path) -> None:
    """Every text of a contract in turn."""
    found, path = document("everything.odcs.yaml"), folder / "everything.odcs.yaml"
    read_contracts(put(path, found))
    told = {
        path_of(leaf): refusal(read_contracts, put(path, planted(found, leaf, WORD)))
        for leaf in leaves(found)
    }

    assert [] == [leaf for leaf, words in told.items() if SECRET in words]
    assert 10 < len([words for words in told.values() if words])


@pytest.mark.parametrize("text", [TEXT, FILE_NAME], ids=["text", "file"])
def test_a_canary_arrives_as_it_came_or_is_refused_there(
    folder: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is taken stands letter for letter where it was put; what is refused is told with its place; nothing happens."""
    (folder / PLANTED).write_text(MARKER)
    monkeypatch.chdir(folder)
    found, path = document("everything.yaml"), folder / "everything.yaml"
    arrived, before = set(), sorted([*folder.rglob("*"), path])
    for place, changed in each_planted(found, text):
        told = problems_of(as_model, changed) or problems_of(read_pipeline_file, put(path, changed))
        where = path_of(place)[:MAX_PATH]
        if told:
            assert [one for one in told if related(one.path, place)], (where, told)
        else:
            kept = read_at(read_pipeline_file(path).pipeline.model_dump(mode="json"), place, text)
            assert kept in (text, str((folder / text).resolve())), where
            arrived.add(where)

    assert FREE[text] <= arrived
    assert before == sorted(folder.rglob("*"))


def problems_of(read: Read, given: Any) -> tuple[Problem, ...]:
    try:
        read(given)
    except InputRefusedError as error:
        return tuple(error.problems)
    return ()


def related(told: str, place: Place) -> bool:
    """Whether a problem is told where something was planted, in it, or at the part of the file that it belongs to."""
    where = path_of(place)
    return where.startswith(told) or told.startswith((where, path_of(place[:-1]) or where))


def read_at(kept: Any, place: Place, text: str) -> object:
    """What was read at a place; the name itself, where that was planted."""
    for part in place:
        if isinstance(kept, dict) and part not in kept:
            return next((name for name in kept if name == text), None)
        kept = kept[part]
    return kept["column"] if isinstance(kept, dict) and "column" in kept else kept


def test_a_dag_full_of_canaries_has_them_as_texts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one in each place that takes one, all at once: the Dag as Airflow keeps it tells no secret and has no trace."""
    (folder / PLANTED).write_text(MARKER)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CANARY_ENVIRONMENT", ENVIRONMENT)
    found, path = document("everything.yaml"), folder / "everything.yaml"
    count = 0
    for place in everywhere(found):
        for text in (TEXT, NAME, JINJA) if path_of(place) not in ("contract", *PLACES) else ():
            changed = planted(found, place, text)
            if not refusal(as_model, changed) and not refusal(read_whole, put(path, changed)):
                found, count = changed, count + 1
                break
    kept = json.dumps(DagSerialization.to_dict(pipeline_dag(put(path, found))))

    assert 15 < count
    assert [] == [one for one in (*TRACES, *SECRETS) if one in kept]
    assert json.dumps(JINJA)[1:-1] in kept
    assert [] == [*folder.rglob(PWNED)]


@pytest.mark.parametrize("address", [ADDRESS, STORAGE])
def test_an_address_with_a_password_is_no_place_and_no_connection(folder: Path, address: str) -> None:
    """Places and connections are kept and shown: a login in one is refused, at its path."""
    found, path = document("everything.yaml"), folder / "everything.yaml"
    for leaf in leaves(found):
        if path_of(leaf) not in NO_TEXTS_OF_ONES_OWN and leaf[-1] != "conn_id":
            continue
        path.write_text(yaml.safe_dump(planted(found, leaf, address)))
        with pytest.raises(InputRefusedError) as error:
            read_pipeline_file(path)
        assert [path_of(leaf)] == [problem.path for problem in error.value.problems]
        assert SECRET not in str(error.value)


NAMED: dict[str, Any] = {
    "preset": {"preset": WORD_OF_CONF},
    "batches[].id": {"batches": [{"id": WORD_OF_CONF}]},
    "batches[].uri": {"batches": [{"id": "files", "uri": f"{WORD_OF_CONF}/x.csv"}]},
    "the name of a field": {WORD_OF_CONF: 1},
    "the name of a field of a batch": {"batches": [{"id": "files", WORD_OF_CONF: 1}]},
}
"""Whoever names what is not there is told which name that was: of a uri its root alone."""
UNNAMED: dict[str, Any] = {
    "batches": {"batches": WORD_OF_CONF},
    **{
        f"batches[].{name}": {"batches": [{"id": "files", name: WORD_OF_CONF}]}
        for name in BatchConf.model_fields.keys() - {"id", "uri"}
    },
    "behind the root of a uri": {"batches": [{"id": "files", "uri": f"landing/../{WORD_OF_CONF}"}]},
    "a login": {"batches": [{"id": "files", "uri": f"s3://who:{WORD_OF_CONF}@bucket/x.csv"}]},
    **{name: {name: WORD_OF_CONF} for name in RunConf.model_fields.keys() - {"preset", "batches"}},
}


def told_of(conf: Any, folder: Path) -> str:
    """What whoever triggers a run with such a conf is told; it is refused."""
    pipeline = read_pipeline_file(put(folder / "everything.yaml", document("everything.yaml")))
    with pytest.raises(InputRefusedError) as error:
        resolve(pipeline.pipeline, pipeline.read_contracts(), read_conf(conf), date(2026, 11, 22))
    return str(error.value)


@pytest.mark.parametrize("place", [*NAMED, *sorted(UNNAMED)])
def test_of_a_conf_names_alone_are_repeated(folder: Path, place: str) -> None:
    """Ids, a preset, the root of a uri and names of fields, when there are none such; of all else only the place is told."""
    assert (place in NAMED) == (WORD_OF_CONF in told_of({**NAMED, **UNNAMED}[place], folder))


@pytest.mark.parametrize(
    "conf",
    [
        {"batches": [{"id": "files", "uri": f"{'x' * 900}\u202e\x1b[31m/x.csv"}]},
        {"\u202e\x1b[31m" + "x" * 9000: 1},
        {"batches": [{"id": "files", "\u202e\x1b[31m" + "x" * 9000: 1}]},
    ],
    ids=["root", "field", "field of a batch"],
)
def test_what_is_repeated_is_short_and_printable(folder: Path, conf: Any) -> None:
    """Letters that turn a line around or control a terminal are told as escapes, and a long name is cut."""
    told = told_of(conf, folder)
    assert MAX_PATH + MAX_MESSAGE + len("conf: 1 problem; nothing was changed.\n  : ") >= len(told)
    assert told.replace("\n", "").isprintable()


def test_no_text_of_a_conf_that_is_no_name_is_repeated() -> None:
    """A canary, a secret and an address, in every text of a conf."""
    asked = {**conf(), "batches": [{**batch, "priority": "high"} for batch in conf()["batches"]]}
    tried: list[Any] = [
        planted(asked, leaf, word) for leaf in leaves(asked) for word in (SECRET, ADDRESS, WORD)
    ]
    tried += [[SECRET], SECRET, {"batches": SECRET}, {"batches": [SECRET]}]
    told = [refusal(read_conf, one) for one in tried]

    assert [] == [one for one, words in zip(tried, told, strict=True) if SECRET in words]
    assert len([one for one in told if one]) > 20


def test_no_text_of_a_queue_of_agents_is_ever_repeated() -> None:
    """Nor are the texts of batches for which agents are wanted."""
    batch = {
        "id": "lines",
        "type": "streaming",
        "capabilities": ["data_ingestion"],
        "complexity": "high",
        "description": "",
        "source": "kafka",
        "validation_type": "quick",
    }
    tried = [planted(batch, leaf, word) for leaf in leaves(batch) for word in (SECRET, ADDRESS, TEXT)]
    tried += [{**batch, "password": SECRET}, {**batch, "size": SECRET}, {**batch, "quality": ADDRESS}]
    told = [refusal(lambda one: read_queue([one], subject="queue"), one) for one in tried]

    assert [] == [one for one, words in zip(tried, told, strict=True) if SECRET in words or TEXT in words]
    assert 3 == told.count("")  # a description is any text


def test_a_login_in_an_address_is_masked_wherever_a_problem_quotes_it(tmp_path: Path) -> None:
    """A word that was taken for another one is told to help its author, but for a password in it."""
    path = tmp_path / "contract.yaml"
    path.write_text(yaml.safe_dump(planted(CONTRACT, ("schema", 0, "properties", 0, "logicalType"), ADDRESS)))
    with pytest.raises(InputRefusedError, match=r"'postgresql://\*\*\*@host/db' isn't supported"):
        read_contracts(path)
