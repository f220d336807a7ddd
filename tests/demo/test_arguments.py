"""What `make run` may be told."""

from __future__ import annotations

import pytest
from rich.table import Table

from demo.__main__ import console, parse
from demo.flights import departures


@pytest.mark.parametrize(
    ("words", "pipeline", "scenario"),
    [
        ([], "airports", "degraded"),
        (["--scenario", "repair"], "airports", "repair"),
        (["--pipeline", "flights"], "flights", "live"),
        (["--pipeline", "agents"], "agents", "tenants"),
    ],
)
def test_each_demo_has_a_usual_scenario(words: list[str], pipeline: str, scenario: str) -> None:
    """Left out, the scenario is the demo's usual one, and the demo is that of the airports."""
    found = parse(["run", *words])

    assert (pipeline, scenario) == (found.pipeline, found.scenario)


def test_a_scenario_of_another_demo_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal says which scenarios there are."""
    with pytest.raises(SystemExit):
        parse(["run", "--pipeline", "flights", "--scenario", "repair"])

    assert "flights has no scenario 'repair'; it has: live" in capsys.readouterr().err


def test_departures_are_written_as_an_application_writes_them() -> None:
    """Numbers are numbers, and what is not known is null."""
    first = next(iter(departures()))

    assert (2013, -4, "N197UW") == (first["year"], first["dep_delay"], first["tailnum"])
    assert any(event["dep_time"] is None for event in departures())


def test_a_table_keeps_its_columns_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no terminal there is no edge: what a run of the agents ends with has all its figures."""
    monkeypatch.delenv("COLUMNS", raising=False)
    names = [f"a_column_of_{number}_words" for number in range(7)]
    table = Table(box=None)
    for name in names:
        table.add_column(name, no_wrap=True)
    console().print(table)

    assert names == capsys.readouterr().out.split()
