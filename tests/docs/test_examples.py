"""Every example of the documentation is one: it is read, parsed or prepared by what it is for."""

from __future__ import annotations

import doctest
import json
import re
import shlex
import tomllib
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from airflow.cli.cli_config import GroupCommand
from airflow.cli.cli_parser import get_parser
from airflow.sdk import DAG

from airflow_orchestration.cli.commands import get_cli_commands
from airflow_orchestration.domain.conf import read_conf, validated
from airflow_orchestration.domain.feed import SOURCES, Feed
from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.domain.run_spec import structure_problems
from airflow_orchestration.insights.arrivals_file import Arrivals
from tests.docs.blocks import DOCS, REPOSITORY, Block, blocks, commands, ids, mentioned

FEED = {"id": "feed", "uri": "landing/feed.csv", "format": "csv", "columns": {"key": "key"}}
FRAME = {
    "id": "frame",
    "roots": {"landing": "/l"},
    "staging": "/s",
    "contract": "c",
    "sync": {"deadline": 60},
    "feeds": [FEED],
}
CONTRACT = {"apiVersion": "v3.1.0", "kind": "DataContract", "id": "c", "version": "1", "status": "active"}
OWN_TESTS = {"docs/agents.md", "docs/recipes.md"}
"""Pages whose Dag files other tests run: `tests/test_agents_page.py`, `tests/test_recipes.py`."""


@pytest.mark.parametrize("block", blocks("yaml"), ids=ids(blocks("yaml")))
def test_yaml_is_what_the_models_take(block: Block, tmp_path: Path) -> None:
    """A pipeline file, a part of one, a list of feeds, a contract or a file of arrivals."""
    document = yaml.safe_load(block.text)
    if isinstance(document, list):
        assert [feed["id"] for feed in document] == [feed(part).id for part in document]
    elif "schema" in document:
        assert [one["name"] for one in document["schema"]] == contract(document, tmp_path)
    elif isinstance(document.get("feeds"), dict):
        assert set(document["feeds"]) == set(validated(Arrivals, document, subject=block.where).feeds)
    elif set(document) <= set(Pipeline.model_fields):
        assert set(document) <= pipeline(document).model_fields_set
    else:
        assert set(document) <= feed(document).model_fields_set


def feed(part: dict[str, Any]) -> Feed:
    """Complete what an example leaves out."""
    frame = {"id": "feed"} if set(part) & set(SOURCES) else FEED
    return validated(Feed, {**frame, **part}, subject="feed")


def pipeline(part: dict[str, Any]) -> Pipeline:
    feeds = [feed(one).model_dump(mode="json", exclude_unset=True) for one in part.get("feeds", [FEED])]
    goes = {} if "datasets" in part else {"publish": {"table": "public.t"}}
    found = validated(Pipeline, {**FRAME, **goes, **part, "feeds": feeds}, subject="pipeline")
    problems = [
        it for it in structure_problems(found) if "feeds" in part or "there is no feed" not in it.message
    ]
    assert [] == problems
    return found


def contract(document: dict[str, Any], folder: Path) -> list[str]:
    path = folder / "contract.odcs.yaml"
    path.write_text(yaml.safe_dump({**CONTRACT, **document}))
    return [one.name for one in read_contracts(path)]


@pytest.mark.parametrize("block", blocks("python"), ids=ids(blocks("python")))
def test_python_compiles_and_dag_files_have_a_dag(block: Block, tmp_path: Path) -> None:
    """Whoever copies a block into a Dag file gets a Dag."""
    if ">>>" in block.text:
        assert (0, True) == doctests(block.where.partition(":")[0])
        return
    code = compile(block.text, block.where, "exec")
    if block.where.partition(":")[0] in OWN_TESTS or "AgentFactoryHook" in block.text:
        return
    (tmp_path / "example.yaml").write_text(
        next(it.text for it in blocks("yaml") if it.text.startswith("id: airport"))
    )
    names: dict[str, Any] = {"__file__": str(tmp_path / "example.py"), "__name__": "example"}
    exec(code, names)
    assert any(isinstance(it, DAG) for it in names.values()) or re.search(
        r"^@dag\b", block.text, re.MULTILINE
    )


def doctests(page: str) -> tuple[int, bool]:
    """How many examples of a page fail, and whether there are any."""
    text = (REPOSITORY / page).read_text()
    found = doctest.DocTestParser().get_doctest(text, {}, page, page, 0)
    ran = doctest.DocTestRunner(verbose=False).run(found)
    return ran.failed, ran.attempted > 0


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    """The parser of Airflow, with our commands among its own."""
    return get_parser()


@pytest.mark.parametrize("block", commands(), ids=ids(commands()))
def test_commands_are_understood(block: Block, parser: ArgumentParser) -> None:
    """Each command can be typed as it stands there."""
    assert callable(parser.parse_args(shlex.split(before_a_pipe(block.text), comments=True)[1:]).func)


def before_a_pipe(line: str) -> str:
    """The command whose output another one reads."""
    return line.partition(" | ")[0]


@pytest.mark.parametrize("words", sorted({block.text for block in mentioned()}))
def test_commands_in_sentences_exist(words: str, parser: ArgumentParser) -> None:
    """Each command that a sentence names is one; its arguments may all be left out, or are such that it can be typed."""
    found: Any = get_cli_commands()
    typed = shlex.split(before_a_pipe(words).removesuffix(" --help"))[1:]
    for place, word in enumerate(typed, 1):
        [chosen] = [command for command in found if command.name == word]
        if not isinstance(chosen, GroupCommand):
            assert place == len(typed) or callable(parser.parse_args(typed).func)
            break
        found = chosen.subcommands


@pytest.mark.parametrize(
    "target",
    sorted(
        {
            line.split()[1]
            for block in blocks("")
            for line in block.text.splitlines()
            if line.startswith("make ")
        }
    ),
)
def test_make_has_the_target(target: str) -> None:
    """Each `make` command of a block is a target."""
    assert re.search(rf"^{target}:", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)


def test_sql_fits_the_schema(migrated: str) -> None:
    """Each statement can be prepared on a database that was migrated; tables that a page makes are made."""
    with psycopg.connect(migrated) as connection:
        number = 0
        for block in blocks("sql"):
            for statement in filter(str.strip, re.sub(r"--.*", "", block.text).split(";\n")):
                number += 1
                prepared = statement.strip().rstrip(";")
                readable = prepared.startswith(("SELECT", "DELETE"))
                connection.execute(f"PREPARE page_{number} AS {prepared}" if readable else prepared)

    assert number > 10


@pytest.mark.parametrize("block", blocks("json", "toml"), ids=ids(blocks("json", "toml")))
def test_conf_and_settings_are_read(block: Block) -> None:
    """JSON is a run's conf, and TOML is TOML."""
    if block.language == "toml":
        assert tomllib.loads(block.text)
    else:
        assert read_conf(json.loads(block.text)).model_fields_set


def test_every_language_has_a_test() -> None:
    """A block of a language that nobody reads would be checked by nobody."""
    known = {"", "yaml", "python", "sql", "json", "toml", "ini", "text"}

    assert known >= {
        match
        for page in DOCS.rglob("*.md")
        for match in re.findall(r"^ *```(\w+)$", page.read_text(), re.MULTILINE)
    }
