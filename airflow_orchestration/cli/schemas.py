"""Writes the JSON schemas of the pipeline file and of a run's conf, and the API's description: `python -m airflow_orchestration.cli.schemas DIR`."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel

from airflow_orchestration.domain.conf import RunConf
from airflow_orchestration.domain.pipeline import Pipeline

SCHEMAS: dict[str, type[BaseModel]] = {"pipeline.schema.json": Pipeline, "conf.schema.json": RunConf}


def schema_text(name: str) -> str:
    """Return one schema as the text of its file."""
    return json.dumps(SCHEMAS[name].model_json_schema(), indent=2) + "\n"


def main(folder: Path) -> None:
    """Write every schema into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS:
        (folder / name).write_text(schema_text(name))
    # by name: the API stands above the command line, and takes seconds to import
    (folder / "openapi.json").write_text(
        import_module("airflow_orchestration.plugins.web_app").openapi_text()
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
