"""What Airflow reads about this provider."""

from __future__ import annotations

from typing import Any

INTEGRATION = "Orchestration"
MODULES = {
    "operators": [
        "airflow_orchestration.operators.analyze_batches",
        "airflow_orchestration.operators.arrived",
        "airflow_orchestration.operators.create_agents",
        "airflow_orchestration.operators.decide",
        "airflow_orchestration.operators.fork",
        "airflow_orchestration.operators.merge_branches",
        "airflow_orchestration.operators.plan_round",
        "airflow_orchestration.operators.process_branch",
        "airflow_orchestration.operators.publish",
        "airflow_orchestration.operators.register_job",
        "airflow_orchestration.operators.require_completeness",
        "airflow_orchestration.operators.run_agent",
    ],
    "sensors": [
        "airflow_orchestration.sensors.quorum_gate",
        "airflow_orchestration.sensors.round_gate",
    ],
    "hooks": ["airflow_orchestration.dags.agent_factory", "airflow_orchestration.hooks.orchestration"],
    "triggers": [
        "airflow_orchestration.triggers.branch_wait",
        "airflow_orchestration.triggers.lease_wait",
        "airflow_orchestration.triggers.quorum_gate",
        "airflow_orchestration.triggers.round_gate",
    ],
    "bundles": ["airflow_orchestration.bundles.agent_registry"],
}
CONFIGURATION = {
    "orchestration": {
        "description": "Settings of the provider for orchestration.",
        "options": {
            "locations": {
                "description": "Where this deployment keeps what pipeline files name: a JSON object of root names, and\n"
                "`staging`, with a full path or an object storage URI each. It wins over what the files say.\n"
                "The dag-processor, the workers and the command line need the same value.\n",
                "version_added": "0.1.0",
                "type": "string",
                "example": '{"staging": "s3://my_connection@bucket/staging", "landing": "/data/landing"}',
                "default": "",
            },
        },
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": "airflow-provider-orchestration",
        "name": INTEGRATION,
        "description": "Batch orchestration: finish on time with what is good enough, say what is missing.",
        **{
            kind: [{"integration-name": INTEGRATION, "python-modules": modules}]
            for kind, modules in MODULES.items()
        },
        "config": CONFIGURATION,
        "cli": ["airflow_orchestration.cli.commands.get_cli_commands"],
    }
