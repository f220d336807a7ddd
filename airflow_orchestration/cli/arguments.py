"""The arguments of `airflow orchestration ...`, each said once."""

from __future__ import annotations

from airflow.cli.cli_config import Arg

from airflow_orchestration.cli import values

_DEFAULT_CONN = "orchestration_default"

PIPELINE = Arg(("pipeline",), help="the pipeline file (YAML)", metavar="PIPELINE.yaml")
PIPELINES = Arg(("pipelines",), help="pipeline files (YAML)", metavar="PIPELINE.yaml", nargs="+")
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
RULE = Arg(("--rule",), help="only rows that broke this rule")
LIMIT = Arg(("--limit",), help="rows to show of each feed and rule (default 5)", type=values.whole, default=5)
CSV = Arg(("--csv",), help="write every row to a file, instead of showing some", metavar="FILE")
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

TENANT = Arg(("tenant",), help="whose job it is", metavar="TENANT")
SOME_TENANT = Arg(("tenant",), help="only this tenant", metavar="TENANT", nargs="?")
JOB = Arg(("job",), help="the name of the job", metavar="JOB")
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
OLDER_THAN = Arg(
    ("--older-than",),
    help="delete runs that ended so long ago, as 90d or 12w",
    type=values.age,
    metavar="AGE",
    required=True,
)
PRUNED_DAG = Arg(("--dag-id",), help="only runs of this Dag")
FORGET = Arg(
    ("--forget",),
    help="a staging area, written as prune tells it, that is gone for good: no longer look for files there; may be repeated",
    action="append",
    metavar="PLACE",
)
DRY_RUN = Arg(
    ("--dry-run",), help="do the same, take it back, and tell what would be deleted", action="store_true"
)
TARGET = Arg(
    ("--target",),
    help="also drop what publications that died have left in this Airflow connection's database; may be repeated",
    action="append",
    metavar="CONN_ID",
)
QUARANTINED = Arg(
    ("--quarantined-rows",),
    help="also delete rows put aside that long ago from the databases of --target",
    action="store_true",
)
