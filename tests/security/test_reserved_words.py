"""Names that strangers choose become keys of XComs; none of them is one that Airflow would make an object of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_orchestration.domain.odcs import read_contracts
from airflow_orchestration.exceptions import InputRefusedError, ProblemCode
from tests.security.canaries import CONTRACT, planted

PLACES: list[tuple[str | int, ...]] = [
    ("schema", 0, "name"),
    ("schema", 0, "properties", 2, "quality", 0, "name"),
    ("schema", 0, "quality", 0, "name"),
]


def read(folder: Path, contract: dict[str, Any]) -> None:
    path = folder / "contract.yaml"
    path.write_text(yaml.safe_dump(contract))
    read_contracts(path)


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("word", ["__classname__", "__type", "__var", "__version__", "__data__"])
def test_a_word_of_airflow_s_serializer_is_no_name(
    tmp_path: Path, place: tuple[str | int, ...], word: str
) -> None:
    """A task could not hand on what is called so, or something else would come out at the other end."""
    with pytest.raises(InputRefusedError, match="begins with two underscores") as refused:
        read(tmp_path, planted(CONTRACT, place, word))

    assert [(ProblemCode.RESERVED, "schema[0]")] == [(one.code, one.path) for one in refused.value.problems]


def test_such_a_word_elsewhere_is_a_text(tmp_path: Path) -> None:
    """What is no key of anything may be called as it likes."""
    read(tmp_path, planted(CONTRACT, ("schema", 0, "description"), "__classname__"))
