"""What Airflow reads about this provider."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": "airflow-provider-orchestration",
        "name": "Orchestration",
        "description": "Batch orchestration: finish on time with what is good enough, say what is missing.",
        "integrations": [
            {
                "integration-name": "Orchestration",
                "external-doc-url": "https://airflow.apache.org/docs/",
                "tags": ["software"],
            }
        ],
        "operators": [
            {
                "integration-name": "Orchestration",
                "python-modules": [
                    "airflow_orchestration.operators.analyze_batches",
                    "airflow_orchestration.operators.decide",
                    "airflow_orchestration.operators.merge_branches",
                    "airflow_orchestration.operators.plan_round",
                    "airflow_orchestration.operators.process_branch",
                    "airflow_orchestration.operators.publish",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": "Orchestration",
                "python-modules": [
                    "airflow_orchestration.sensors.quorum_gate",
                    "airflow_orchestration.sensors.round_gate",
                ],
            }
        ],
        "hooks": [
            {
                "integration-name": "Orchestration",
                "python-modules": ["airflow_orchestration.hooks.orchestration"],
            }
        ],
        "triggers": [
            {
                "integration-name": "Orchestration",
                "python-modules": [
                    "airflow_orchestration.triggers.branch_wait",
                    "airflow_orchestration.triggers.quorum_gate",
                    "airflow_orchestration.triggers.round_gate",
                ],
            }
        ],
        "cli": ["airflow_orchestration.cli.commands.get_cli_commands"],
    }
