"""From what a task needs to an agent that does it: select, specialize, specify, create (SEED 22, 23, 27)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self, TypeAlias

from airflow_orchestration.agents.agent import Agent, MonitoredAgent
from airflow_orchestration.agents.estimation import (
    estimate_resources,
    performance_targets,
    quality_thresholds,
)
from airflow_orchestration.agents.resources import ResourcePool
from airflow_orchestration.agents.specialization import specialize
from airflow_orchestration.agents.templates import AgentTemplate, AgentTemplates
from airflow_orchestration.domain.agent import AgentRequirement, AgentSpecification, TaskContext
from airflow_orchestration.domain.conf import validated
from airflow_orchestration.domain.decision import Json
from airflow_orchestration.exceptions import AgentCreationError, NoSuitableAgentError, OrchestrationError
from airflow_orchestration.policies.agent_selection import (
    AgentSelection,
    AgentSelectionDecision,
    AgentSelectionFacts,
)
