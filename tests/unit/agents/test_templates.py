"""The registered types of agent: SEED 21, 25, and where types of the author's own come from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.agents.agent import (
    Agent,
    DataIngestionSpecialist,
    DataTransformationSpecialist,
    DataValidationSpecialist,
    PipelineCoordinator,
)
from airflow_orchestration.agents.templates import (
    GROUP,
    AgentTemplate,
    AgentTemplates,
    built_in_templates,
    register_template,
    registered_templates,
)
from airflow_orchestration.domain.agent import Capability, ResourceRequirements
from airflow_orchestration.exceptions import AgentCreationError, UnknownAgentTypeError
from tests.unit.agents.builders import NOW, factory, need

INGESTION = frozenset({Capability.DATA_INGESTION})
MODULE = """
from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.templates import AgentTemplate
from airflow_orchestration.domain.agent import Capability, ResourceRequirements

class Decrypting(Agent):
    pass

DECRYPTING = AgentTemplate(
    name="a_decrypter", capabilities=frozenset({Capability.DATA_INGESTION}), agent_class=Decrypting,
    footprint=ResourceRequirements(cpu_millicores=500, memory_mb=256),
)
"""
DAG_FILE = """
from airflow_orchestration.agents.agent import Agent
from airflow_orchestration.agents.templates import AgentTemplate, register_template
from airflow_orchestration.domain.agent import Capability

class Loader(Agent):
    pass

class OtherLoader(Agent):
    pass

register_template(
    AgentTemplate(name="loader", capabilities=frozenset({Capability.DATA_INGESTION}), agent_class=Loader)
)
"""


def loader(**changes: Any) -> AgentTemplate:
    return AgentTemplate(**{"name": "loader", "capabilities": INGESTION, **changes})


@pytest.fixture
def process() -> Iterator[None]:
    """The types of a process that has just begun."""
    registered_templates.cache_clear()
    yield
    registered_templates.cache_clear()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place where distributions can be installed; what they bring is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("decrypting", None)


def install(place: Path, entry_point: str) -> None:
    """Install a distribution with one module and one entry point, as pip would leave them."""
    (place / "decrypting.py").write_text(MODULE)
    told = place / "decrypting-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: decrypting\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(f"[{GROUP}]\n{entry_point}\n")


def only_candidate(template: AgentTemplate) -> dict[str, Any]:
    """The line of the table of candidates, when there is one."""
    table: Any = factory(AgentTemplates([template])).select(need()).evidence["table"]
    (row,) = table
    return dict(row)


def parse(text: str, name: str) -> dict[str, Any]:
    """Do with a Dag file what Airflow does: run it in a module of this name."""
    found: dict[str, Any] = {"__name__": name}
    exec(compile(text, name, "exec"), found)
    return found


def test_seed_21_a_template_is_a_class_with_capabilities() -> None:
    """A template is registered with a class and capabilities, and comes back under its name."""
    found = AgentTemplates([loader(agent_class=DataIngestionSpecialist)]).get("loader")

    assert (DataIngestionSpecialist, INGESTION) == (found.agent_class, found.capabilities)


def test_seed_21_a_new_type_was_never_used_and_always_succeeded() -> None:
    """In the choice a new type has a success rate of 1.0, and no outcome behind it."""
    row = only_candidate(loader())

    assert (1.0, 0) == (row["success_rate"], row["outcomes"])


def test_a_footprint_is_a_fact_of_the_choice() -> None:
    """A candidate comes with how well its size suits the task."""
    large = ResourceRequirements(cpu_millicores=1000, memory_mb=512)

    assert 0.5 == only_candidate(loader(footprint=large))["resource_efficiency"]


@pytest.mark.parametrize("capability", Capability)
def test_seed_25_every_capability_has_a_specialist(capability: Capability) -> None:
    """For each capability there is a built-in type that does just this."""
    names = [it.name for it in built_in_templates().all() if it.capabilities == frozenset({capability})]

    assert 1 == len(names)


@pytest.mark.parametrize(
    ("name", "agent_class"),
    [
        ("data_ingestion_specialist", DataIngestionSpecialist),
        ("data_validation_specialist", DataValidationSpecialist),
        ("data_transformation_specialist", DataTransformationSpecialist),
        ("pipeline_coordinator", PipelineCoordinator),
    ],
)
def test_seed_25_specialists_are_registered(name: str, agent_class: type[Agent]) -> None:
    """The three specialists of the document are there under their names, and the coordinator."""
    assert agent_class is built_in_templates().get(name).agent_class


def test_another_class_under_a_taken_name_is_refused() -> None:
    """A name stands for one class, and the first one keeps it."""
    templates = AgentTemplates([loader()])

    with pytest.raises(ValueError, match="'loader' is registered already; choose another name"):
        templates.register(loader(agent_class=DataIngestionSpecialist))
    assert Agent is templates.get("loader").agent_class


@pytest.mark.parametrize("name", ["", "Loader", "a.b", "loader\n", "a" * 64])
def test_names_are_names(name: str) -> None:
    """A name that could be a path or a text is refused."""
    with pytest.raises(ValueError, match="is no name"):
        loader(name=name)


def test_empty_capabilities_are_refused() -> None:
    """A type that can do nothing is refused."""
    with pytest.raises(ValueError, match="'loader' has no capability; name at least one"):
        loader(capabilities=frozenset())


@pytest.mark.parametrize("given", ["os.system", "airflow_orchestration.agents.agent.Agent", print, dict])
def test_ruling_only_code_brings_classes(given: object) -> None:
    """A class path, a function and a class of another kind are no agents."""
    with pytest.raises(TypeError, match="needs a subclass of Agent, not"):
        loader(agent_class=given)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "unheard_of"])
def test_unknown_types_are_refused(name: str) -> None:
    """Whoever asks for an unknown type is told which ones there are."""
    with pytest.raises(UnknownAgentTypeError, match="is not registered; there are: loader"):
        AgentTemplates([loader()]).get(name)
    with pytest.raises(UnknownAgentTypeError, match="there are: none"):
        AgentTemplates().get(name)


@pytest.mark.usefixtures("process")
def test_an_installed_package_brings_its_template(installed: Path) -> None:
    """The entry point of an installed distribution is a type like the built-in ones, and is chosen by its name."""
    install(installed, "decrypting = decrypting:DECRYPTING")
    made_by = factory(registered_templates())
    made = made_by.generate(need(), now=NOW)

    assert "a_decrypter" == made.agent_type
    assert ("decrypting", "Decrypting") == (
        type(made_by.create(made)).__module__,
        type(made_by.create(made)).__qualname__,
    )


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize("value", ["decrypting:Decrypting", "decrypting"])
def test_an_entry_point_that_names_no_template_is_refused(installed: Path, value: str) -> None:
    """A class or a module is no template; the error names the entry point, its group and what it is."""
    install(installed, f"mine = {value}")

    with pytest.raises(
        AgentCreationError, match=f"'mine' of {GROUP} is {value}, which is no AgentTemplate; mend"
    ):
        registered_templates()


@pytest.mark.usefixtures("process")
def test_a_dag_file_that_is_parsed_again_has_one_template() -> None:
    """The class is another object each time, of the same name: the newest one is the type."""
    first, second = parse(DAG_FILE, "loading"), parse(DAG_FILE, "loading")

    assert first["Loader"] is not second["Loader"]
    assert second["Loader"] is registered_templates().get("loader").agent_class
    assert 1 == [it.name for it in registered_templates().all()].count("loader")


@pytest.mark.usefixtures("process")
def test_another_class_of_a_dag_file_does_not_take_a_name() -> None:
    """Neither another class of the same file nor one of that name in another file replaces a type."""
    known = parse(DAG_FILE, "loading")
    taken = "'loader' is registered already; choose another name"

    with pytest.raises(ValueError, match=taken):
        register_template(loader(agent_class=known["OtherLoader"]))
    with pytest.raises(ValueError, match=taken):
        parse(DAG_FILE, "another_file")
    assert known["Loader"] is registered_templates().get("loader").agent_class
