from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict
from airflow.serialization.serialized_objects import DagSerialization

from airflow_orchestration.dags.dag_doc import dag_doc
from airflow_orchestration.dags.pipeline_dag import pipeline_dag
from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.conf import read_conf
from airflow_orchestration.domain.pipeline_file import read_pipeline_file
from airflow_orchestration.exceptions import InputRefusedError
from airflow_orchestration.operators.process_branch import LANE_OPERATORS

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "dags" / "airport_reference.yaml"
PACKAGE = REPOSITORY / "airflow_orchestration"


@pytest.fixture(scope="module")
def dag() -> DAG:
    return pipeline_dag(DEMO)


def test_seed_01_entry_is_the_analyzer_then_the_coordinator(dag: DAG) -> None:
    """The analyzer is the only root; the first round's plan follows it."""
    assert ["analyze_batches"] == [task.task_id for task in dag.roots]
    assert {"round_1.plan"} == dag.get_task("analyze_batches").downstream_task_ids


def test_seed_01_coordinator_fans_out_to_five_lanes_and_the_sync_point(dag: DAG) -> None:
    """The plan leads to a route for each lane, and to the gate beside them."""
    routes = {f"round_1.route.to_{lane.value}" for lane in Lane}

    assert {"round_1.gate", *routes} == dag.get_task("round_1.plan").downstream_task_ids
    for lane in Lane:
        assert f"round_1.{lane.value}" in dag.get_task(f"round_1.route.to_{lane.value}").downstream_task_ids


def test_seed_02_sync_point_leads_to_merger_or_load_balancer(dag: DAG) -> None:
    """After the gate the run merges, goes round again, or fails."""
    assert {"round_1.decide"} == dag.get_task("round_1.gate").downstream_task_ids
    assert {"round_1.merge", "round_2.plan", "fail"} == dag.get_task("round_1.decide").downstream_task_ids


def test_seed_03_quality_leads_to_publish_load_balancer_or_failure(dag: DAG) -> None:
    """After the quality gate the run publishes, goes round again, or fails."""
    following = dag.get_task("round_1.validate_quality").downstream_task_ids

    assert {"round_1.validate_quality"} == dag.get_task("round_1.merge").downstream_task_ids
    assert {"publish", "round_2.plan", "fail"} == following


def test_ruling_the_retry_loop_is_bounded(dag: DAG) -> None:
    """There are max_rounds rounds, and the last one leads to no other."""
    rounds = {task.task_id.split(".")[0] for task in dag.tasks if task.task_id.startswith("round_")}

    assert {"round_1", "round_2", "round_3"} == rounds
    assert {"round_3.merge", "fail"} == dag.get_task("round_3.decide").downstream_task_ids


def test_ruling_no_run_waits_for_a_person(dag: DAG) -> None:
    """A person on each run is an outage: no task of the Dag asks one."""
    modules = {type(task).__module__ for task in dag.tasks}

    assert not {module for module in modules if "hitl" in module}


def test_close_out_is_the_only_leaf(dag: DAG) -> None:
    """Accepted failures can't fail the run: only close_out decides, whatever happened before it."""
    assert ["close_out"] == [task.task_id for task in dag.leaves]
    assert "all_done" == dag.get_task("close_out").trigger_rule


def test_a_run_of_any_date_has_its_tasks(dag: DAG) -> None:
    """Airflow leaves out tasks that start after the run's date, and then calls the empty run a success."""
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)

    assert {long_ago} == {task.start_date for task in dag.tasks}


@pytest.mark.parametrize("more", [{}, {"agents": {}, "ask_when": ["near_miss"]}], ids=["lanes", "agents"])
def test_an_outage_of_a_minute_does_not_use_up_every_try(tmp_path: Path, more: dict[str, Any]) -> None:
    """What Airflow waits at least, all retries together, is a minute for every task but the one that is to fail."""
    path = tmp_path / "airports.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(DEMO.read_text()) | more))
    least = {
        task.task_id: sum(
            min(
                task.max_retry_delay, task.retry_delay * task.retry_exponential_backoff**number
            ).total_seconds()
            for number in range(task.retries)
        )
        for task in pipeline_dag(path).tasks
    }

    assert {"fail"} == {task_id for task_id, seconds in least.items() if seconds < 60}


def test_inside_a_round_skipping_cascades(dag: DAG) -> None:
    """Every trigger rule inside a round is the default, but for the plan, which several tasks lead to."""
    inside = [task for task in dag.tasks if task.task_id.startswith("round_")]

    assert {"all_success"} == {task.trigger_rule for task in inside if not task.task_id.endswith(".plan")}


def test_lanes_are_mapped_over_ids_that_the_plan_made(dag: DAG) -> None:
    """A lane expands over branch ids and over nothing else."""
    for lane in Lane:
        mapped: Any = dag.get_task(f"round_1.{lane.value}")
        assert mapped.is_mapped
        assert ["branch_id"] == list(mapped.expand_input.value)
        assert LANE_OPERATORS[lane].lane is lane


def test_nothing_renders_templates_but_the_stand_alone_gate(dag: DAG) -> None:
    """No task of a pipeline Dag has template fields that conf or feeds could reach."""
    own = [task for task in dag.tasks if type(task).__module__.startswith("airflow_orchestration")]

    assert [] == [task.task_id for task in own if task.template_fields]
    assert not dag.render_template_as_native_obj


def test_data_never_becomes_code() -> None:
    """The package calls nothing that turns data into templates, classes or code."""
    forbidden = {"expand_kwargs", "import_string", "render_template_fields", "eval"}
    calls = [
        (path.name, node.lineno)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and not forbidden.isdisjoint({getattr(node.func, "attr", None), getattr(node.func, "id", None)})
    ]

    assert [] == calls


def test_building_twice_gives_the_same_dag() -> None:
    """An unchanged pipeline file makes no new Dag version."""
    first, second = (DagSerialization.to_dict(pipeline_dag(DEMO)) for _ in range(2))

    assert first == second


def test_bad_file_is_one_import_error_with_every_problem(tmp_path: Path) -> None:
    """A bad pipeline file fails the parse of its Dag file, naming each path."""
    document = yaml.safe_load(DEMO.read_text())
    document["sync"]["floor"] = 75
    document["feeds"][2]["format"] = "xml"
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(InputRefusedError) as refused:
        pipeline_dag(path)

    assert {"sync.floor", "feeds[2].format"} == {problem.path for problem in refused.value.problems}


def test_form_offers_the_feeds_of_the_file(dag: DAG) -> None:
    """The trigger form lists every feed, and what it lists by default is accepted."""
    defaults = ParamsDict(dag.params).validate()

    assert 6 == len(defaults["batches"])
    assert 6 == len(read_conf(defaults).batches or ())


def test_tasks_have_names_for_people(dag: DAG) -> None:
    """Every task and group is called by words, and a name stands for one task of a round."""
    for task in dag.tasks:
        assert task.task_id != task.task_display_name
        assert task.task_display_name[0].isupper()
    first = [task.task_display_name for task in dag.tasks if task.task_id.startswith("round_1.")]
    groups = dag.task_group.get_task_group_dict()

    assert len(first) == len(set(first))
    assert ("Round 2", "Only what failed, is missing or is below standard after round 1") == (
        groups["round_2"].group_display_name,
        groups["round_2"].tooltip,
    )
    assert groups["round_3"].tooltip.endswith("; the last one")


def test_docs_of_the_dag_are_made_from_the_file(dag: DAG) -> None:
    """A person reads which feeds there are, what the gate waits for, and what is published where."""
    doc = dag.doc_md or ""

    assert doc.startswith("One trustworthy table of airports")
    assert "| `airportsdata` | data_ingestion | csv | 3 | yes |  |" in doc
    assert (
        "* The gate waits for 6 feeds for at most 25 s, then goes on with 75 % of the weight or more, "
        "never without `airportsdata`." in doc
    )
    assert "quality below 0.8 is run again, in at most 3 rounds; below 0.5 the table is a failure" in doc
    assert "* Publishes to `reference.airport` by upsert" in doc
    assert "(orchestration/page?dag_id=airport_reference)" in doc
    assert "├─ beta               airportsdata, ourairports" in doc


def test_docs_of_a_dag_of_all_terms(tmp_path: Path) -> None:
    """Sync points, deadlines of feeds, a grace period, questions and agents stand there too."""
    document = yaml.safe_load(DEMO.read_text())
    document["sync"] |= {
        "deadline": "06:00 Europe/Berlin",
        "grace_period": 5,
        "points": {"core": {"feeds": ["vega"], "floor": 1.0, "deadline": 9}},
        "late": "discard",
    }
    document["conf_bounds"] = {}
    document["presets"] = {}
    document["feeds"][1]["deadline"] = 7
    document |= {"ask_when": ["near_miss"], "agents": {}, "max_rounds": 1}
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump(document))
    doc = pipeline_dag(path).doc_md or ""

    assert "waits for 6 feeds until 06:00 Europe/Berlin; once that is there" not in doc
    assert "until 06:00 Europe/Berlin, and only 5 s more once 75 % of the weight is there" in doc
    assert "* `core` waits for at most 9 s, and wants 100 % of `vega`." in doc
    assert "| `ourairports` | data_ingestion | json | 2 |  | for at most 7 s |" in doc
    assert "* A feed that comes later stays outside." in doc
    assert "* A person is asked when it is `near_miss`, for 900 s." in doc
    assert "├─ agents             6 feeds" in doc


def test_docs_of_many_feeds_stay_small() -> None:
    """A pipeline of ten thousand feeds has docs that a page can show."""
    pipeline = read_pipeline_file(DEMO).pipeline
    feeds = tuple(pipeline.feeds[1].model_copy(update={"id": f"feed_{number}"}) for number in range(10_000))
    doc = dag_doc(pipeline.model_copy(update={"feeds": feeds}))

    assert len(doc) < 20_000
    assert "… and 9,800 more feeds." in doc
    assert "├─ beta               10,000 feeds: feed_0, feed_1" in doc
