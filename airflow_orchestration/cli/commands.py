"""`airflow orchestration ...`: the provider's part of Airflow's command line."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

from airflow_orchestration.cli import values

_HANDLERS = "airflow_orchestration.cli.handlers"
_TRIALS = "airflow_orchestration.cli.policy_trials"
_TRUST = "airflow_orchestration.cli.trust"
_AGENTS = "airflow_orchestration.cli.agents"
_AGENT_TRIALS = "airflow_orchestration.cli.agent_trials"
_AGENT_VIEWS = "airflow_orchestration.cli.agent_views"
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

TENANT = Arg(("tenant",), metavar="TENANT")
SOME_TENANT = Arg(("tenant",), help="only this tenant", metavar="TENANT", nargs="?")
JOB = Arg(("job",), metavar="JOB")
SOME_JOB = Arg(("job",), help="only this job", metavar="JOB", nargs="?")
SPECIFICATION = Arg(("file",), help="the job's specification (YAML)", metavar="JOB.yaml")
JOB_FOLDER = Arg(("folder",), help="folder with a file <tenant>/<job>.yaml for each job", metavar="FOLDER")
CONTRACT = Arg(
    ("--contract",),
    help="the data contract; left out, the file beside the specification that it names",
    metavar="FILE",
)
BY = Arg(("--by",), help="who changes it (default: the user of the operating system)")
REVISION = Arg(("--revision",), help="as it was then (default: now)", type=values.whole)
DATA = Arg(("--data",), help="folder of the tenants' data (default: /data)", default="/data")
SHARED_CONN_ID = Arg(
    ("--shared-conn-id",), help="a connection that every tenant may use; may be repeated", action="append"
)
CPU = Arg(("--cpu",), help="CPUs that may be lent at a time", type=values.cpus)
MEMORY_MB = Arg(("--memory-mb",), help="memory in MB that may be lent at a time", type=values.count)
CONNECTIONS = Arg(("--connections",), help="connections that may be lent at a time", type=values.whole)
WHOSE = Arg(("tenant",), help="left out, work of no tenant", metavar="TENANT", nargs="?")
RUN = Arg(("run",), help="the run, as dag_id/run_id", metavar="RUN")
SETTINGS = Arg(("--settings",), help="settings to draw (default 20)", type=values.count, default=20)
NO_LIMIT = Arg(("--none",), help="lift the limit", action="store_true")


def as_server(path: str) -> Callable[[Namespace], None]:
    """Load a command when it is called, and let it find the connections that Airflow's database keeps.

    Airflow tells only its servers, and its own commands about connections, to look there.
    """
    command = lazy_load_command(path)

    def run(args: Namespace) -> None:
        os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
        command(args)

    return run


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
                    func=as_server(f"{_HANDLERS}.try_pipeline"),
                    args=(PIPELINE, CONF, OUTPUT, PUBLISH_TO),
                ),
                ActionCommand(
                    name="migrate",
                    help="Create or update the orchestration schema of a database",
                    func=as_server(f"{_HANDLERS}.migrate"),
                    args=(CONN_ID,),
                ),
                *_trust_commands(),
                _agent_commands(),
                *_trial_commands(),
            ),
        )
    ]


def _trial_commands() -> tuple[ActionCommand, ...]:
    return (
        ActionCommand(
            name="replay",
            help="Decide recorded gates again: as they were, or with another policy",
            func=as_server(f"{_TRIALS}.replay"),
            args=(*RECORDED, EXPORT, FLOOR, DEADLINE, GRACE_PERIOD, FORMAT),
        ),
        ActionCommand(
            name="simulate",
            help="Try gates on many runs, with arrivals drawn from recorded or given ones",
            func=as_server(f"{_TRIALS}.simulate"),
            args=(
                *RECORDED,
                ARRIVALS,
                *map(repeated, (FLOOR, DEADLINE, GRACE_PERIOD)),
                RUNS,
                SEED,
                FORMAT,
            ),
        ),
    )


def _trust_commands() -> tuple[ActionCommand, ...]:
    return (
        ActionCommand(
            name="trust",
            help="Show how trust in feeds moved from run to run, and what it changed",
            func=as_server(f"{_TRUST}.trust"),
            args=(PIPELINE, FEED, TRUST_RUNS, FORMAT),
        ),
        ActionCommand(
            name="try-trust",
            help="Learn whom to believe from claims and labels, and judge it by the other labels",
            func=as_server(f"{_TRUST}.try_claims"),
            args=(CLAIMS, LABELS, TOLERANCE, PROBES, SEED, FORMAT),
        ),
    )


def _agent_commands() -> GroupCommand:
    return GroupCommand(
        name="agents",
        help="The job registry: what agents do for tenants, and what they may use",
        subcommands=(
            *_registry_commands(),
            ActionCommand(
                name="check",
                help="Read a folder of jobs and say what is wrong with each",
                func=as_server(f"{_AGENTS}.check"),
                args=(JOB_FOLDER, DATA, SHARED_CONN_ID, FORMAT),
            ),
            ActionCommand(
                name="simulate",
                help="Try on drawn work what learning who succeeds gains over believing in everybody",
                func=lazy_load_command(f"{_AGENT_TRIALS}.simulate"),
                args=(SETTINGS, SEED, FORMAT),
            ),
            ActionCommand(
                name="capacity",
                help="Show or set what may be lent to agents at a time: to all together, or to a tenant",
                func=as_server(f"{_AGENTS}.capacity"),
                args=(SOME_TENANT, CPU, MEMORY_MB, CONNECTIONS, NO_LIMIT, CONN_ID, FORMAT),
            ),
            *_agent_views(),
        ),
    )


def _registry_commands() -> tuple[ActionCommand, ...]:
    return (
        ActionCommand(
            name="put",
            help="Keep a job's specification: its Dag appears when the bundle is refreshed and parsed",
            func=as_server(f"{_AGENTS}.put"),
            args=(TENANT, JOB, SPECIFICATION, CONTRACT, BY, FORMAT),
        ),
        ActionCommand(
            name="remove",
            help="Take a job away: runs that have begun stop; to let them finish, pause the Dag, wait, remove",
            func=as_server(f"{_AGENTS}.remove"),
            args=(TENANT, JOB, BY, FORMAT),
        ),
        ActionCommand(
            name="list",
            help="Show the jobs of a revision",
            func=as_server(f"{_AGENTS}.list_jobs"),
            args=(SOME_TENANT, REVISION, FORMAT),
        ),
        ActionCommand(
            name="show",
            help="Show the files of a job",
            func=as_server(f"{_AGENTS}.show"),
            args=(TENANT, JOB, REVISION, FORMAT),
        ),
        ActionCommand(
            name="history",
            help="Show who changed what and when",
            func=as_server(f"{_AGENTS}.history"),
            args=(SOME_TENANT, SOME_JOB, FORMAT),
        ),
    )


def _agent_views() -> tuple[ActionCommand, ...]:
    return (
        ActionCommand(
            name="work",
            help="Show the agents of a run: what each did, and who else was compared",
            func=as_server(f"{_AGENT_VIEWS}.work"),
            args=(RUN, CONN_ID, FORMAT),
        ),
        ActionCommand(
            name="leaderboard",
            help="Show which types of agent are good at what, by a tenant's own history",
            func=as_server(f"{_AGENT_VIEWS}.board"),
            args=(WHOSE, CONN_ID, FORMAT),
        ),
    )
