"""`airflow orchestration ...`: the provider's part of Airflow's command line."""

from __future__ import annotations

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand

from airflow_orchestration.cli.actions import A_RUN, action
from airflow_orchestration.cli.agent_commands import agent_commands
from airflow_orchestration.cli.arguments import (
    ARRIVALS,
    CLAIMS,
    CONF,
    CONN_ID,
    CSV,
    DEADLINE,
    DRY_RUN,
    EXPORT,
    FEED,
    FLOOR,
    FORGET,
    FORMAT,
    GRACE_PERIOD,
    LABELS,
    LIMIT,
    OLDER_THAN,
    OUTPUT,
    PIPELINE,
    PIPELINES,
    PROBES,
    PRUNED_DAG,
    PUBLISH_TO,
    QUARANTINED,
    RECORDED,
    RULE,
    RUN,
    RUNS,
    SEED,
    TARGET,
    TOLERANCE,
    TRUST_RUNS,
)

_HANDLERS = "airflow_orchestration.cli.handlers"
_TRIALS = "airflow_orchestration.cli.policy_trials"
_TRUST = "airflow_orchestration.cli.trust"
_RUN_VIEWS = "airflow_orchestration.cli.run_views"


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
                *_file_commands(),
                *_work_commands(),
                *_upkeep_commands(),
                *_run_views(),
                *_run_commands(),
                *_trust_commands(),
                agent_commands(),
                *_trial_commands(),
            ),
        )
    ]


def _file_commands() -> tuple[ActionCommand, ...]:
    return (
        action(
            "validate",
            "Check pipeline files with their contracts and SQL, as far as can be without data",
            "airflow_orchestration.cli.validate.validate",
            PIPELINES,
            FORMAT,
            example="validate dags/airport_reference.yaml",
            more="JSON: a list of {file, problems: [{subject, code, path, message}]}. Exit codes: 0 nothing is wrong, 2 refused.",
        ),
        action(
            "plan",
            "Say what a run would do now: mode, branches, lanes, costs and gate; nothing is executed or written",
            "airflow_orchestration.cli.plans.plan",
            PIPELINE,
            CONF,
            FORMAT,
            example="""plan dags/airport_reference.yaml --conf '{"sync_floor": 0.8}'""",
            more="JSON: {mode, branches: [{branch_id, feeds}], allocation, gate, waiting_for, left_out}.",
        ),
    )


def _work_commands() -> tuple[ActionCommand, ...]:
    return (
        action(
            "try",
            "Run a pipeline file in one process, without a scheduler",
            f"{_HANDLERS}.try_pipeline",
            PIPELINE,
            CONF,
            OUTPUT,
            PUBLISH_TO,
            example="try dags/airport_reference.yaml --output /tmp/tried",
            more="Exit codes: 0 published, 1 not published, 2 refused.",
        ),
    )


def _upkeep_commands() -> tuple[ActionCommand, ...]:
    return (
        action(
            "migrate",
            "Create or update the orchestration schema of a database",
            f"{_HANDLERS}.migrate",
            CONN_ID,
            FORMAT,
            example="migrate --conn-id orchestration_default",
            more="JSON: {applied: [migration]}.",
        ),
        action(
            "prune",
            "Delete runs that ended long ago with their files, and what executions that died have left",
            "airflow_orchestration.cli.prune.prune",
            OLDER_THAN,
            PRUNED_DAG,
            TARGET,
            QUARANTINED,
            FORGET,
            DRY_RUN,
            CONN_ID,
            FORMAT,
            example="prune --older-than 90d --dry-run",
            more="JSON: {runs: [{dag_id, run_id}], rows: {table: count}, staging: {files, bytes, runs_unknown, refused}, "
            "targets: {conn_id: {scratch, quarantined}}}. "
            "Exit codes: 0 done, 1 a staging area could not be opened, 2 refused.",
        ),
        action(
            "roles",
            "Print the SQL that makes the database roles of owner, worker, publisher and reader",
            "airflow_orchestration.cli.roles.roles",
            FORMAT,
            example="roles",
            more="For psql -v ON_ERROR_STOP=1, after each migrate. JSON: {sql}.",
        ),
    )


def _run_views() -> tuple[ActionCommand, ...]:
    return (
        action(
            "explain",
            "Tell every decision of a run in order, and why it ended as it did",
            f"{_RUN_VIEWS}.explain",
            RUN,
            CONN_ID,
            FORMAT,
            example=f"explain {A_RUN}",
            more="JSON: {state, decisions: [decision with sentence and mattered], end: [sentence], agents}.",
        ),
        action(
            "manifest",
            "Show the completeness manifest of a run",
            f"{_RUN_VIEWS}.manifest",
            RUN,
            CONN_ID,
            FORMAT,
            example=f"manifest {A_RUN} --output json",
            more="JSON: the manifest as it was recorded. Exit codes: 0 shown, 1 the run has not ended, 2 refused.",
        ),
    )


def _run_commands() -> tuple[ActionCommand, ...]:
    return (
        action(
            "quarantine",
            "Show the rows that a run put aside, by feed and rule, or write all of them to a file",
            "airflow_orchestration.cli.quarantine.quarantine",
            RUN,
            FEED,
            RULE,
            LIMIT,
            CSV,
            CONN_ID,
            FORMAT,
            example=f"quarantine {A_RUN} --feed vega --csv vega.csv",
            more="JSON: {rules: [{feed, rule, rows, samples}], where, note}; with --csv {file, rows}.",
        ),
        action(
            "reconcile",
            "Merge what came late to a run, now, as the Dag <pipeline>__reconcile does",
            "airflow_orchestration.cli.reconcile.reconcile",
            RUN,
            CONN_ID,
            FORMAT,
            example=f"reconcile {A_RUN}",
            more="JSON: {merged, manifest}. Exit codes: 0 merged, 1 nothing to merge yet, 2 refused.",
        ),
    )


def _trial_commands() -> tuple[ActionCommand, ...]:
    return (
        action(
            "replay",
            "Decide recorded gates again: as they were, or with another policy",
            f"{_TRIALS}.replay",
            *RECORDED,
            EXPORT,
            FLOOR,
            DEADLINE,
            GRACE_PERIOD,
            FORMAT,
            example="replay --dag-id airport_reference --floor 0.9",
            more="Exit codes: 0 done, 1 a recorded decision came out different, 2 refused.",
        ),
        action(
            "simulate",
            "Try gates on many runs, with arrivals drawn from recorded or given ones",
            f"{_TRIALS}.simulate",
            *RECORDED,
            ARRIVALS,
            *map(repeated, (FLOOR, DEADLINE, GRACE_PERIOD)),
            RUNS,
            SEED,
            FORMAT,
            example="simulate --arrivals arrivals.yaml --deadline 600 --deadline 900",
        ),
    )


def _trust_commands() -> tuple[ActionCommand, ...]:
    return (
        action(
            "trust",
            "Show how trust in feeds moved from run to run, and what it changed",
            f"{_TRUST}.trust",
            PIPELINE,
            FEED,
            TRUST_RUNS,
            FORMAT,
            example="trust dags/airport_reference.yaml --feed vega",
        ),
        action(
            "try-trust",
            "Learn whom to believe from claims and labels, and judge it by the other labels",
            f"{_TRUST}.try_claims",
            CLAIMS,
            LABELS,
            TOLERANCE,
            PROBES,
            SEED,
            FORMAT,
            example="try-trust --claims claims.csv --labels labels.csv --tolerance latitude=0.01",
        ),
    )
