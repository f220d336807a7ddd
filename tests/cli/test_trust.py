"""What `airflow orchestration trust` and `try-trust` show."""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import date
from pathlib import Path
from shutil import copytree
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from airflow_orchestration.cli import trust
from airflow_orchestration.cli.values import tolerance
from airflow_orchestration.domain.conf import RunConf
from airflow_orchestration.domain.decision import Decision
from airflow_orchestration.domain.pipeline_file import read_pipeline_file
from airflow_orchestration.domain.run_spec import resolve
from airflow_orchestration.policies.workflow_mode import ModeReason
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.store import Attempt, RunKey, WorkUnit
from airflow_orchestration.storage.trust_history import Taught
from benchmarks.trust_sets import SETS, drawn

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Claims and labels of a drawn set."""
    claims, labels = drawn(SETS["three sources"])
    said = "".join(f"{one.source},{one.cell[0]},{one.cell[1]},{one.value}\n" for one in claims)
    known = "".join(f"{key},{attribute},{value}\n" for (key, attribute), value in labels.items())
    (tmp_path / "claims.csv").write_text(f"source,key,attribute,value\n{said}")
    (tmp_path / "labels.csv").write_text(f"key,attribute,value\n{known}")
    return tmp_path / "claims.csv", tmp_path / "labels.csv"


def arguments(claims: Path, labels: Path, **changes: Any) -> Namespace:
    options = {"tolerance": None, "probes": 0.1, "seed": 1, "output": "table", **changes}
    return Namespace(claims=str(claims), labels=str(labels), **options)


def test_try_trust_prints_both_accuracies(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Vote and trust, the calibration error, and how often each source is right."""
    trust.try_claims(arguments(*files))
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("vote  0.", "trust 0.", "calibration error 0.", "s000"))


def test_try_trust_repeats_itself(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """The same seed gives the same figures, to the last digit."""
    found = []
    for _ in range(2):
        trust.try_claims(arguments(*files, output="json"))
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert found[0]["trust_accuracy"] > found[0]["vote_accuracy"]


def test_claims_without_a_column_are_refused(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the column that is missing, and the exit code is that of a bad input."""
    files[0].write_text("source,key,value\na,b,c\n")
    with pytest.raises(SystemExit):
        trust.try_claims(arguments(*files))
    assert "lacks the column attribute" in capsys.readouterr().err


def test_a_tolerance_lets_near_numbers_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Within the tolerance, a value is right although it is written in another way."""
    (tmp_path / "claims.csv").write_text("source,key,attribute,value\na,k,x,1.01\nb,k,x,5\nc,k,x,1.02\n")
    (tmp_path / "labels.csv").write_text("key,attribute,value\nk,x,1.0\n")
    files = (tmp_path / "claims.csv", tmp_path / "labels.csv")
    trust.try_claims(arguments(*files, probes=0.0, output="json", tolerance=[tolerance("x=0.05")]))
    assert 1.0 == json.loads(capsys.readouterr().out)["trust_accuracy"]


@pytest.fixture
def taught(migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's pipeline file, merged by trust, and a store in which two runs taught that `vega` gets worse."""
    parts = conninfo_to_dict(migrated)
    document = {
        "conn_type": "postgres",
        "host": parts["host"],
        "login": parts["user"],
        "schema": parts["dbname"],
    }
    monkeypatch.setenv("AIRFLOW_CONN_ORCHESTRATION_DEFAULT", json.dumps(document))
    copytree(REPOSITORY / "dags", tmp_path / "dags")
    file = tmp_path / "dags" / "airport_reference.yaml"
    file.write_text(file.read_text().replace("\nmerge:\n", "\nmerge:\n  strategy: trust\n", 1))
    found = read_pipeline_file(file)
    spec = resolve(found.pipeline, found.read_contracts(), RunConf(), date(2026, 11, 22)).as_json()
    with PostgresStore(lambda: psycopg.connect(migrated)) as store:
        for number, right in enumerate((9.0, 6.0)):
            line = Taught(attribute="name", feed_id="vega", right=right, total=10, accuracy=right / 10)
            teach(store, spec, number, line)
    return file


def teach(store: PostgresStore, spec: dict[str, Any], number: int, line: Taught) -> None:
    unit = WorkUnit(run=RunKey(dag_id="airport_reference", run_id=f"run_{number}"), round=0, unit="close_out")
    fence = store.claim(unit, Attempt(try_number=1, ti_id="t", process="p"))
    why = ModeReason.MODERATE_WORK
    store.save_run(fence, spec, Decision(policy="mode", action=why, reason=why, evidence={}))
    store.trust.teach(fence, "airport", "both", [line])


def test_trust_shows_how_a_feed_moved(taught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run by run, the accuracy that each feed was believed to have; what can't be shown says why."""
    trust.trust(Namespace(pipeline=str(taught), feed=None, runs=20, output="json"))
    (found,) = json.loads(capsys.readouterr().out)
    assert [("vega", [0.9, 0.6])] == [(one["feed_id"], one["accuracy"]) for one in found["courses"]]
    assert pytest.approx(-0.3) == found["courses"][0]["moved"]
    assert {} == found["differs_from_vote"]


def test_a_pipeline_without_trust_says_so(taught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no dataset is merged by trust there is nothing to show."""
    taught.write_text(taught.read_text().replace("  strategy: trust\n", ""))
    trust.trust(Namespace(pipeline=str(taught), feed=None, runs=20, output="table"))
    assert "No dataset of this pipeline is merged by trust." in capsys.readouterr().out
