"""`airflow orchestration ...`: the provider's part of Airflow's command line."""

from __future__ import annotations

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

_HANDLERS = "airflow_orchestration.cli.handlers"
_DEFAULT_CONN = "orchestration_default"

PIPELINE = Arg(("pipeline",), help="the pipeline file (YAML)", metavar="PIPELINE.yaml")
CONF = Arg(("--conf",), help="the run's conf, a JSON object", default="{}")
OUTPUT = Arg(("--output",), help="folder for merged rows, quarantine and manifest", metavar="DIR")
PUBLISH_TO = Arg(("--publish-to",), help="Airflow connection to publish to", metavar="CONN_ID")
CONN_ID = Arg(
    ("--conn-id",),
    help=f"Airflow connection of the database (default {_DEFAULT_CONN})",
    default=_DEFAULT_CONN,
)


def get_cli_commands() -> list[CLICommand]:
    """Return the commands that Airflow adds to its own."""
    return [
        GroupCommand(
            name="orchestration",
            help="Run and prepare batch orchestration pipelines",
            subcommands=(
                ActionCommand(
                    name="try",
                    help="Run a pipeline file in one process, without a scheduler",
                    func=lazy_load_command(f"{_HANDLERS}.try_pipeline"),
                    args=(PIPELINE, CONF, OUTPUT, PUBLISH_TO),
                ),
                ActionCommand(
                    name="migrate",
                    help="Create or update the orchestration schema of a database",
                    func=lazy_load_command(f"{_HANDLERS}.migrate"),
                    args=(CONN_ID,),
                ),
            ),
        )
    ]
