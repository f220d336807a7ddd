from __future__ import annotations

from pathlib import Path

import pytest

from airflow_orchestration.domain.locations import read_locations
from airflow_orchestration.domain.pipeline_file import read_pipeline_file
from airflow_orchestration.exceptions import InputRefusedError
from tests.unit.domain.test_pipeline_file import written

PLACES = [
    ("/data/landing", "/data/landing"),
    ("/data/landing//", "/data/landing"),
    ("/", "/"),
    ("s3://bucket", "s3://bucket"),
    ("s3://my_connection@bucket/a/b/", "s3://my_connection@bucket/a/b"),
]


@pytest.mark.parametrize(("said", "meant"), PLACES)
def test_a_location_is_a_full_path_or_a_uri(said: str, meant: str) -> None:
    """Both are taken as they are, but for slashes at the end."""
    assert {"landing": meant} == read_locations(f'{{"landing": "{said}"}}')


def test_a_deployment_may_say_nothing() -> None:
    """An empty setting moves nothing."""
    assert [{}, {}, {}] == [read_locations(text) for text in ("", " \n", "{}")]


BAD = [
    ("{", [""]),
    ("landing=/data", [""]),
    ("[]", [""]),
    ("7", [""]),
    ("null", [""]),
    ('[{"landing": "/data"}]', [""]),
    ('{"landing": {"uri": "/data"}}', ["landing"]),
    ('{"landing": null}', ["landing"]),
    ('{"landing": ""}', ["landing"]),
    ('{"landing": "data/landing"}', ["landing"]),
    ('{"landing": "file:///data"}', ["landing"]),
    ('{"landing": "s3:///folder"}', ["landing"]),
    ('{"landing": "s3://key:secret@bucket/x"}', ["landing"]),
    ('{"landing": "s3://bucket/x?versionId=1"}', ["landing"]),
    ('{"landing": "/a", "landing": "/b"}', ["landing"]),
    ('{"Landing": "/a", "b.c": "/b", "staging": "x"}', ["Landing", "b.c", "staging"]),
]


@pytest.mark.parametrize(("text", "paths"), BAD, ids=[text for text, _ in BAD])
def test_bad_locations_are_refused_with_every_name(text: str, paths: list[str]) -> None:
    """The refusal names the setting and each location that is wrong, and repeats no value."""
    with pytest.raises(InputRefusedError) as refused:
        read_locations(text)

    assert "Airflow's setting [orchestration] locations" == refused.value.subject
    assert paths == [problem.path for problem in refused.value.problems]
    assert "secret" not in str(refused.value)


def test_locations_win_over_the_file(tmp_path: Path) -> None:
    """What the deployment names is there, and what it does not name is where the file says."""
    roots = {"landing": "landing", "archive": "archive"}
    locations = {"landing": "s3://store@bucket/in", "staging": "/shared/staging", "unknown": "/nowhere"}
    pipeline = read_pipeline_file(written(tmp_path, {"roots": roots}), locations).pipeline

    assert {"landing": "s3://store@bucket/in", "archive": str(tmp_path / "archive")} == pipeline.roots
    assert "/shared/staging" == pipeline.staging


def test_a_root_is_not_taken_for_the_staging_folder(tmp_path: Path) -> None:
    """A root named `staging` is refused where the deployment says what staging is, and only there."""
    path = written(tmp_path, {"roots": {"landing": "landing", "staging": "elsewhere"}})
    with pytest.raises(InputRefusedError) as refused:
        read_pipeline_file(path, {"staging": "/shared/staging"})

    assert ["roots.staging"] == [problem.path for problem in refused.value.problems]
    assert str(tmp_path / "elsewhere") == read_pipeline_file(path).pipeline.roots["staging"]
