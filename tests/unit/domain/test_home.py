"""Links below a tenant's data."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from airflow_orchestration.domain.home import check_folders
from airflow_orchestration.domain.run_spec import RunSpec
from airflow_orchestration.domain.tenancy import Tenancy
from airflow_orchestration.exceptions import InputRefusedError
from tests.unit.domain.test_tenancy import pipeline


def spec(data: str) -> RunSpec:
    tenancy = Tenancy(tenant="north", job="orders", data=data)
    changes = {"roots": {"landing": tenancy.place("landing/daily")}, "staging": tenancy.place("staging")}
    return RunSpec(pipeline=pipeline(**changes), contracts=(), run_date=date(2026, 11, 23), home=tenancy.home)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The deployer's folder with the data of two tenants."""
    for folder in ("north/landing", "south/landing/daily"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    return tmp_path / "data"


def test_links_inside_and_above_are_followed(data: Path, tmp_path: Path) -> None:
    """A tenant may link to its own, the deployer may move all data; what is not there yet leads nowhere else."""
    (data / "north" / "staging").symlink_to(data / "north" / "landing")
    (tmp_path / "moved").symlink_to(data)

    check_folders(spec(str(tmp_path / "moved")))
    check_folders(spec("s3://lake@bucket/data"))


@pytest.mark.parametrize("link", ["north/landing/daily", "north/staging"])
@pytest.mark.parametrize("to", ["south/landing/daily", "south", ".", ".."])
def test_links_that_leave_are_refused(data: Path, link: str, to: str) -> None:
    """Wherever they lead, and whichever folder of the run it is."""
    (data / link).symlink_to(data / to)
    with pytest.raises(InputRefusedError, match=r"(roots\.landing|staging): leads out of .*/north"):
        check_folders(spec(str(data)))


def test_a_tenant_that_is_a_link_to_another_is_refused(data: Path) -> None:
    """The whole folder of a tenant can't be another's either."""
    (data / "north" / "landing").rmdir()
    (data / "north").rmdir()
    (data / "north").symlink_to(data / "south")
    with pytest.raises(InputRefusedError, match="2 problems"):
        check_folders(spec(str(data)))
