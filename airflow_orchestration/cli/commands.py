"""`airflow orchestration ...`: the provider's part of Airflow's command line."""

from __future__ import annotations

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

from airflow_orchestration.cli import values

_HANDLERS = "airflow_orchestration.cli.handlers"
_TRIALS = "airflow_orchestration.cli.policy_trials"
_TRUST = "airflow_orchestration.cli.trust"
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
DAG_ID = Arg(("--dag-id",), help="only gates of this Dag")
SINCE = Arg(
    ("--since",), help="only gates that decided since then, as 2026-11-22 or with a time", type=values.moment
)
FILE = Arg(
    ("--file",), help="read gates from a file that --export wrote, not from the store", metavar="GATES.jsonl"
)
EXPORT = Arg(("--export",), help="write the gates to a file, one a line", metavar="GATES.jsonl")
FORMAT = Arg(("--output",), help="how to print (default table)", choices=("table", "json"), default="table")
FLOOR = Arg(("--floor",), help="another floor, 0..1", type=values.share)
DEADLINE = Arg(
    ("--deadline",), help="another deadline, in seconds from the round's start", type=values.duration
)
GRACE_PERIOD = Arg(
    ("--grace-period",),
    help="another grace period in seconds; `none` holds to the deadline",
    type=values.grace_period,
)
RECORDED = (CONN_ID, DAG_ID, SINCE, FILE)
ARRIVALS = Arg(("--arrivals",), help="draw arrivals as this file gives them", metavar="ARRIVALS.yaml")
RUNS = Arg(("--runs",), help="runs to draw (default 10000)", type=values.count, default=10_000)
SEED = Arg(("--seed",), help="the same seed draws the same runs (default 1)", type=int, default=1)

FEED = Arg(("--feed",), help="only this feed")
TRUST_RUNS = Arg(("--runs",), help="how many runs back (default 20)", type=values.count, default=20)
CLAIMS = Arg(("--claims",), help="CSV: source, key, attribute, value", metavar="CLAIMS.csv", required=True)
LABELS = Arg(("--labels",), help="CSV: key, attribute, value", metavar="LABELS.csv", required=True)
TOLERANCE = Arg(
    ("--tolerance",),
    help="attribute=difference up to which numbers agree; may be repeated",
    type=values.tolerance,
    action="append",
)
PROBES = Arg(
    ("--probes",),
    help="share of the labelled keys to learn from (default 0.1)",
    type=values.share,
    default=0.1,
)


def repeated(argument: Arg) -> Arg:
    """Return an option that may be given several times, for policies side by side."""
    flags, known = argument.flags, argument.kwargs
    return Arg(flags, help=f"{known['help']}; may be repeated", type=known["type"], action="append")


def get_cli_commands() -> list[CLICommand]:
    """Return the commands that Airflow adds to its own."""
    return [
        GroupCommand(
            name="orchestration",
            help="Run and prepare batch orchestration pipelines, and try their policies",
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
                *_trust_commands(),
                ActionCommand(
                    name="replay",
                    help="Decide recorded gates again: as they were, or with another policy",
                    func=lazy_load_command(f"{_TRIALS}.replay"),
                    args=(*RECORDED, EXPORT, FLOOR, DEADLINE, GRACE_PERIOD, FORMAT),
                ),
                ActionCommand(
                    name="simulate",
                    help="Try gates on many runs, with arrivals drawn from recorded or given ones",
                    func=lazy_load_command(f"{_TRIALS}.simulate"),
                    args=(
                        *RECORDED,
                        ARRIVALS,
                        *map(repeated, (FLOOR, DEADLINE, GRACE_PERIOD)),
                        RUNS,
                        SEED,
                        FORMAT,
                    ),
                ),
            ),
        )
    ]


def _trust_commands() -> tuple[ActionCommand, ...]:
    return (
        ActionCommand(
            name="trust",
            help="Show how trust in feeds moved from run to run, and what it changed",
            func=lazy_load_command(f"{_TRUST}.trust"),
            args=(PIPELINE, FEED, TRUST_RUNS, FORMAT),
        ),
        ActionCommand(
            name="try-trust",
            help="Learn whom to believe from claims and labels, and judge it by the other labels",
            func=lazy_load_command(f"{_TRUST}.try_claims"),
            args=(CLAIMS, LABELS, TOLERANCE, PROBES, SEED, FORMAT),
        ),
    )
