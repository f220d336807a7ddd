"""`roles` prints the SQL that keeps apart who migrates, works, publishes and reads."""

from __future__ import annotations

import sys
from argparse import Namespace

from airflow_orchestration.cli.terminal import print_json, refusing
from airflow_orchestration.storage.sql_file import FOLDER


@refusing
def roles(args: Namespace) -> None:
    """Print the script, for psql or for reading."""
    script = FOLDER.joinpath("roles.sql").read_text(encoding="utf-8")
    if args.output == "json":
        print_json({"sql": script})
    else:
        sys.stdout.write(script)
