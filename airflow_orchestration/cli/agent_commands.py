"""`airflow orchestration agents ...`: the commands of the group."""

from __future__ import annotations

from airflow.cli.cli_config import ActionCommand, GroupCommand

from airflow_orchestration.cli.actions import A_RUN, action
from airflow_orchestration.cli.arguments import (
    BY,
    CONN_ID,
    CONNECTIONS,
    CONTRACT,
    CPU,
    DATA,
    FORMAT,
    JOB,
    JOB_FOLDER,
    MEMORY_MB,
    NO_LIMIT,
    REVISION,
    RUN,
    SEED,
    SETTINGS,
    SHARED_CONN_ID,
    SOME_JOB,
    SOME_TENANT,
    SPECIFICATION,
    TENANT,
    WHOSE,
)

_AGENTS = "airflow_orchestration.cli.agents"
_AGENT_TRIALS = "airflow_orchestration.cli.agent_trials"
_AGENT_VIEWS = "airflow_orchestration.cli.agent_views"


def agent_commands() -> GroupCommand:
    """Return the group `agents`."""
    return GroupCommand(
        name="agents",
        help="Agents: the jobs that they do for tenants, what they did and may use, and who is good at what",
        subcommands=(
            *_registry_commands(),
            *_registry_views(),
            *_agent_trials(),
            *_agent_views(),
        ),
    )


def _registry_commands() -> tuple[ActionCommand, ...]:
    return (
        action(
            "put",
            "Keep a job's specification: its Dag appears when the bundle is refreshed and parsed",
            f"{_AGENTS}.put",
            TENANT,
            JOB,
            SPECIFICATION,
            CONTRACT,
            BY,
            FORMAT,
            example="agents put north sales sales.yaml",
        ),
        action(
            "remove",
            "Take a job away: runs that have begun stop; to let them finish, put it without a schedule and wait",
            f"{_AGENTS}.remove",
            TENANT,
            JOB,
            BY,
            FORMAT,
            example="agents remove north sales",
        ),
    )


def _registry_views() -> tuple[ActionCommand, ...]:
    return (
        action(
            "list",
            "Show the jobs of a revision",
            f"{_AGENTS}.list_jobs",
            SOME_TENANT,
            REVISION,
            FORMAT,
            example="agents list north --revision 3",
        ),
        action(
            "show",
            "Show the files of a job",
            f"{_AGENTS}.show",
            TENANT,
            JOB,
            REVISION,
            FORMAT,
            example="agents show north sales",
        ),
        action(
            "history",
            "Show who changed what and when",
            f"{_AGENTS}.history",
            SOME_TENANT,
            SOME_JOB,
            FORMAT,
            example="agents history north",
        ),
    )


def _agent_views() -> tuple[ActionCommand, ...]:
    return (
        action(
            "work",
            "Show the agents of a run: what each did, and who else was compared",
            f"{_AGENT_VIEWS}.work",
            RUN,
            CONN_ID,
            FORMAT,
            example=f"agents work {A_RUN}",
        ),
        action(
            "leaderboard",
            "Show which types of agent are good at what, by a tenant's own history",
            f"{_AGENT_VIEWS}.board",
            WHOSE,
            CONN_ID,
            FORMAT,
            example="agents leaderboard north",
        ),
    )


def _agent_trials() -> tuple[ActionCommand, ...]:
    return (
        action(
            "check",
            "Read a folder of jobs and say what is wrong with each",
            f"{_AGENTS}.check",
            JOB_FOLDER,
            DATA,
            SHARED_CONN_ID,
            FORMAT,
            example="agents check /opt/jobs --data /data",
        ),
        action(
            "simulate",
            "Try on drawn work what learning who succeeds gains over believing in everybody",
            f"{_AGENT_TRIALS}.simulate",
            SETTINGS,
            SEED,
            FORMAT,
            example="agents simulate --settings 20",
        ),
        action(
            "capacity",
            "Show or set what may be lent to agents at a time: to all together, or to a tenant",
            f"{_AGENTS}.capacity",
            SOME_TENANT,
            CPU,
            MEMORY_MB,
            CONNECTIONS,
            NO_LIMIT,
            CONN_ID,
            FORMAT,
            example="agents capacity north --cpu 2 --memory-mb 4096 --connections 5",
        ),
    )
