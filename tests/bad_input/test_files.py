"""What owners of data deliver: a bad row is put aside with its reason, a bad file is told, and rows add up."""

from __future__ import annotations

from pathlib import Path

from tests.bad_input.files import find, read
from tests.bad_input.rows import Row, answer_of, check, each_row


@each_row("places")
def test_what_stands_in_the_place_of_a_file_is_told(row: Row, tmp_path: Path) -> None:
    """Only a whole regular file below the root is read."""
    check(row, answer_of(lambda: find(row.given, tmp_path)))


@each_row("files")
def test_a_file_is_read_put_aside_or_refused(row: Row, tmp_path: Path) -> None:
    """Every row of it is accounted for, or the feed says why it can't be used."""
    check(row, answer_of(lambda: read(row.given, tmp_path)))
