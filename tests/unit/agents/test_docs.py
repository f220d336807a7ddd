"""The page about agents says what is so."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
import yaml

from airflow_orchestration import exceptions
from airflow_orchestration.agents import templates
from airflow_orchestration.agents.factory import AgentFactory
from airflow_orchestration.agents.templates import BUILT_IN, AgentTemplates, built_in_templates
from airflow_orchestration.domain.agent import AgentRequirement, Capability
from airflow_orchestration.domain.defaults import LEASE_WAIT_SECONDS, MAX_CONCURRENT_BATCHES
from airflow_orchestration.domain.job_file import read_job
from airflow_orchestration.domain.pipeline import Agents
from airflow_orchestration.domain.tenancy import Tenancy

PAGE = Path(__file__).parents[3] / "docs" / "agents.md"
TEXT = PAGE.read_text()


def block(language: str, containing: str) -> str:
    """Return the code block of a language that contains a text."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)
    return next(text for text in blocks if containing in text)


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table under a heading."""
    lines = TEXT.partition(heading)[2].partition("|---")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_example_runs() -> None:
    """The example of the page gives what the page says."""
    found = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)

    assert found.attempted > 0
    assert 0 == found.failed


def test_the_first_line_says_what_an_agent_is() -> None:
    """Nobody reads on in the belief that this is about language models."""
    first = next(line for line in TEXT.splitlines()[1:] if line)

    assert "An agent is a worker template with a specification, not a language model." == first


def test_the_job_can_be_copied(tmp_path: Path) -> None:
    """The job of the page is one of the tenant that the page names."""
    path = tmp_path / "airports.yaml"
    path.write_text(block("yaml", "north.airport"))
    tenancy = Tenancy(tenant="north", job="airports", data="/data/tenants")
    pipeline = read_job(path, tenancy).pipeline

    assert ("north__airports", "/data/tenants/north/landing") == (pipeline.id, pipeline.roots["landing"])
    assert pipeline.agents is not None
    assert 2 == pipeline.agents.max_concurrent_batches


def test_the_terms_on_the_page_are_the_defaults() -> None:
    """What the page writes out is what a pipeline has that writes `agents: {}`."""
    assert Agents() == Agents.model_validate(yaml.safe_load(block("yaml", "agents:\n"))["agents"])
    assert (3, 600) == (MAX_CONCURRENT_BATCHES, LEASE_WAIT_SECONDS)


def test_the_template_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's template is registered by its code, and is the best for the work that it is made for."""
    known = built_in_templates()
    monkeypatch.setattr(templates, "registered_templates", lambda: known)
    exec(block("python", "register_template(TEMPLATE)"), {"__name__": "page"})
    needed = AgentRequirement(capabilities_needed=(Capability.DATA_INGESTION, Capability.DATA_TRANSFORMATION))
    factory = AgentFactory(templates=AgentTemplates(known.all()), new_id=lambda: "1")

    assert "strict_refiner" == factory.select(needed).agent_type


def test_the_entry_point_group_is_the_one_that_is_read() -> None:
    """The lines for a package's own file name the group of the code."""
    assert f'entry-points."{templates.GROUP}"' in block("toml", "entry-points")


def test_every_built_in_type_is_in_the_table() -> None:
    """The table has the types and capabilities of the code, and parameters that these take."""
    by_name = {template.name: template for template in BUILT_IN}
    rows = {name.strip("`"): (capabilities, told) for name, capabilities, told in table("| built-in type |")}

    assert by_name.keys() == rows.keys()
    for name, (capabilities, told) in rows.items():
        template = by_name[name]
        if not capabilities.startswith("all but"):
            assert template.capabilities == {Capability(one) for one in capabilities.split(", ")}
        assert (
            set(filter(None, told.split(", "))) <= template.agent_class.parameters_model.model_fields.keys()
        )


@pytest.mark.parametrize("error", re.findall(r"`(\w+Error)`", TEXT))
def test_errors_on_the_page_are_errors_of_the_package(error: str) -> None:
    """Whoever looks an error up finds it under its name."""
    assert issubclass(getattr(exceptions, error), exceptions.OrchestrationError)
