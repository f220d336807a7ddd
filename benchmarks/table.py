"""One way to print figures."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table


def show(title: str, rows: Iterable[tuple[str, str, str]]) -> None:
    """Print figures with their targets."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("target")
    for row in rows:
        table.add_row(*row)
    Console(width=100).print(table)
