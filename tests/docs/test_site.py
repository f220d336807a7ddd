"""The site is built of the pages as they are, without a warning."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.site_pages import policies
from tests.docs.blocks import DOCS, PAGES, REPOSITORY


@pytest.mark.parametrize("name", policies.named_policies())
def test_the_table_of_a_policy_is_that_of_its_tests(name: str) -> None:
    """`make docs` has been run since the policy's cases changed."""
    page = (DOCS / "policies" / f"{name}.md").read_text()

    assert policies.with_table(page, name) == page


def test_every_policy_has_a_page() -> None:
    """And the list of them names each."""
    code = REPOSITORY / "airflow_orchestration" / "policies"
    names = {path.stem for path in code.iterdir() if not path.name.startswith("_")}
    listed = re.findall(
        r"^\| \[(\w+)\]\(\1\.md\)", (DOCS / "policies" / "index.md").read_text(), re.MULTILINE
    )

    assert names == {path.stem for path in (DOCS / "policies").glob("*.md")} - {"index"} == set(listed)


def test_no_page_links_to_what_only_the_site_has() -> None:
    """Links work on a repository page too."""
    assert [] == [page.name for page in PAGES if re.search(r"\]\([^)]*generated/", page.read_text())]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the repository, since pages are written beside the others while the site is built."""
    ignored = shutil.ignore_patterns(".*", "generated", "__pycache__", "data", "dist")
    copy = tmp_path / "repository"
    shutil.copytree(REPOSITORY, copy, ignore=ignored)
    return copy


def test_no_picture_is_still_to_be_taken() -> None:
    """Where a picture belongs, it stands."""
    assert [] == [page.name for page in PAGES if "<!-- picture" in page.read_text()]


def test_the_site_is_built_without_a_warning(copied: Path, tmp_path: Path) -> None:
    """Every link, anchor and picture is found, and the reference has every field and command."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-n",
        "-q",
        "-d",
        str(tmp_path / "read"),
        str(copied / "docs"),
        str(tmp_path / "site"),
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False, cwd=copied)
    site = tmp_path / "site"

    told = [line for line in built.stderr.splitlines() if re.search("WARNING|[Ee]rror", line)]
    assert (0, []) == (built.returncode, told)
    assert "airflow orchestration migrate" in (site / "generated" / "command_line.html").read_text()
    assert "grace_period" in (site / "generated" / "pipeline_file.html").read_text()
    assert not re.findall(r'<(?:script|link)[^>]+(?:src|href)="https?://', (site / "index.html").read_text())
