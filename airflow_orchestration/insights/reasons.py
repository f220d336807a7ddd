"""What does a decision's reason mean, in a sentence for who does not know the policies?"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from airflow_orchestration.policies.acceptance import AcceptanceReason
from airflow_orchestration.policies.admission import AdmissionReason
from airflow_orchestration.policies.agent_order import AgentOrderReason
from airflow_orchestration.policies.agent_requirements import AgentRequirementsReason
from airflow_orchestration.policies.agent_selection import AgentSelectionReason
from airflow_orchestration.policies.allocation import AllocationReason
from airflow_orchestration.policies.asking import AnswerReason, GateQuestionReason, QualityQuestionReason
from airflow_orchestration.policies.drift import DriftReason
from airflow_orchestration.policies.leasing import LeaseReason
from airflow_orchestration.policies.merging import MergeReason
from airflow_orchestration.policies.quality import QualityReason
from airflow_orchestration.policies.quorum_gate import GateReason
from airflow_orchestration.policies.rebalancing import RebalanceReason
from airflow_orchestration.policies.workflow_mode import ModeReason

CONF = "conf"
"""What stands as the policy of what a person chose when they triggered the run."""
LEFT_OUT_BY_CONF = "left_out_by_conf"
_MERGING: Mapping[str, str] = {
    MergeReason.NO_SOURCE: "No feed was there to be merged.",
    MergeReason.NO_SIGNAL: "Nothing tells the sources apart, so all count the same.",
    MergeReason.RANKED_BY_QUALITY_AND_TIME: "Sources of better quality and newer data count more.",
}
MEANINGS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "quorum_gate": {
            GateReason.NOTHING_EXPECTED: "Nothing was expected in this round.",
            GateReason.ALL_ARRIVED: "Everything that was expected has arrived.",
            GateReason.ONLY_FAILED_MISSING: "Enough has arrived, and all that is missing has failed.",
            GateReason.GRACE_PERIOD_OVER: "Enough had arrived, and the time to wait for the others was over.",
            GateReason.DEADLINE_AT_FLOOR: "The deadline came, and enough had arrived.",
            GateReason.WAITING_FOR_STRAGGLERS: "Enough has arrived; the others are waited for a little.",
            GateReason.REQUIRED_FAILED: "A required feed has failed.",
            GateReason.FLOOR_UNREACHABLE: "So much has failed that the floor can't be reached any more.",
            GateReason.DEADLINE_BELOW_FLOOR: "The deadline came, and too little had arrived.",
            GateReason.DEADLINE_WITHOUT_REQUIRED: "The deadline came, and a required feed had not arrived.",
            GateReason.WAITING_FOR_FLOOR: "Too little has arrived so far.",
            GateReason.WAITING_FOR_REQUIRED: "A required feed has not arrived so far.",
        },
        "admission": {
            AdmissionReason.NOBODY_POOR: "Every feed that arrived is good enough.",
            AdmissionReason.ROUND_LEFT: "A feed is below standard, and can still be run again.",
            AdmissionReason.POOR_ARE_NEEDED: "Without the feeds below standard too little would be left.",
            AdmissionReason.REST_HOLDS_THE_FLOOR: "Feeds below standard stay outside; the others are enough.",
        },
        "merging": _MERGING,
        "reconciling": _MERGING,
        "quality_gate": {
            QualityReason.NOTHING_TO_PUBLISH: "The merged table has no rows.",
            QualityReason.NOTHING_NEW: "The streams hold nothing that was not read before.",
            QualityReason.BEYOND_REPAIR: "The quality is so low that another round would not help.",
            QualityReason.ROUNDS_EXHAUSTED: "The quality is too low, and no round is left.",
            QualityReason.FEEDS_BELOW_STANDARD: "Some feeds are below standard.",
            QualityReason.TABLE_BELOW_STANDARD: "The merged table is below standard.",
            QualityReason.STANDARD_MET: "The merged table and every feed in it are good enough.",
        },
        "rebalancing": {
            RebalanceReason.NOTHING_TO_REPAIR: "No feed failed, is missing or is below standard.",
            RebalanceReason.ROUNDS_EXHAUSTED: "No further round is allowed.",
            RebalanceReason.TIME_IS_OVER: "The deadline is a time of day, and it has passed.",
            RebalanceReason.FEEDS_TO_REPAIR: "Feeds that failed, are missing or are below standard run again.",
        },
        "asking": {
            GateQuestionReason.NOTHING_MISSING: "Nothing is missing.",
            GateQuestionReason.NOT_WANTED: "The pipeline asks nobody about this.",
            GateQuestionReason.OPENED_WITHOUT_EVERYBODY: "The gate opened, but not everything has arrived.",
            GateQuestionReason.REQUIRED_MISSING: "Without a required feed there is nothing to choose.",
            GateQuestionReason.NOTHING_ARRIVED: "Nothing has arrived that could be merged.",
            GateQuestionReason.BELOW_FLOOR: "Too little has arrived, but no required feed is missing.",
            QualityQuestionReason.APPROVED: "The quality gate has approved the table.",
            QualityQuestionReason.TOO_FAR_BELOW: "The quality is too far below what is approved.",
            QualityQuestionReason.NEAR_MISS: "The quality is just below what is approved.",
        },
        "person": {
            AnswerReason.ANSWERED: "A person chose this.",
            AnswerReason.NOBODY_ANSWERED: "Nobody answered in time; the run does what it does unasked.",
            AnswerReason.NO_TIME_LEFT: "There was no time left for another round.",
        },
        "workflow_mode": {
            ModeReason.FORCED: "The mode was set by a person.",
            ModeReason.COMPLEX_AND_CPU_FREE: "The work is complex, and processors are free.",
            ModeReason.STRONG_DEPENDENCIES: "Much of the work depends on other work.",
            ModeReason.MODERATE_WORK: "The work is neither complex nor strongly dependent.",
        },
        "allocation": {
            AllocationReason.NOTHING_TO_DISPATCH: "There is nothing to do.",
            AllocationReason.ONE_BRANCH: "One branch does all the work.",
            AllocationReason.BOUND_BY_CRITICAL_PATH: "Work that waits for other work decides how long it takes.",
            AllocationReason.BOUND_BY_BRANCHES: "The number of branches decides how long it takes.",
        },
        "acceptance": {
            AcceptanceReason.COMPLETE: "Nothing is missing.",
            AcceptanceReason.ENOUGH: "Something is missing, but enough is there.",
            AcceptanceReason.NOT_PUBLISHED: "The run published nothing.",
            AcceptanceReason.REQUIRED_MISSING: "A feed that must be there is missing.",
            AcceptanceReason.SOMETHING_MISSING: "Something is missing, and everything was asked for.",
            AcceptanceReason.SHARE_TOO_SMALL: "Less is there than was asked for.",
        },
        "drift": {
            DriftReason.TOO_LITTLE_HISTORY: "There are too few earlier runs to compare with.",
            DriftReason.AS_USUAL: "The feed looks as in earlier runs.",
            DriftReason.UNUSUAL: "The feed looks unlike in earlier runs.",
        },
        "leasing": {
            LeaseReason.HELD_ALREADY: "It has what it asks for already.",
            LeaseReason.ITS_TURN: "There is room, and nobody comes before it.",
            LeaseReason.NO_ROOM: "There is no room now.",
            LeaseReason.OTHERS_FIRST: "There is room, but others come first.",
            LeaseReason.TENANT_AT_LIMIT: "Its tenant has all that it may have now.",
            LeaseReason.MORE_THAN_THERE_IS: "It asks for more than there is at all.",
            LeaseReason.MORE_THAN_TENANT_MAY_HAVE: "It asks for more than its tenant may ever have.",
        },
        "agent_order": {
            AgentOrderReason.FEW_AGENTS: "So few agents need no order.",
            AgentOrderReason.NOBODY_NEEDS_ANOTHER: "No agent needs what another one makes.",
            AgentOrderReason.NEEDED_FIRST: "Agents come after those whose work they need.",
            AgentOrderReason.SOME_NEED_EACH_OTHER: "Some agents need one another's work, and stand side by side.",
        },
        "agent_requirements": {
            AgentRequirementsReason.QUEUE_EMPTY: "No batch waits for an agent.",
            AgentRequirementsReason.NO_BATCH_NEEDS_ONE: "No batch that waits needs a specialist.",
            AgentRequirementsReason.FEW_SPECIALISTS: "So few specialists need nobody who coordinates them.",
            AgentRequirementsReason.MANY_SPECIALISTS: "So many specialists need one who coordinates them.",
        },
        "agent_selection": {
            AgentSelectionReason.NO_TEMPLATES: "There is no type of agent to choose from.",
            AgentSelectionReason.CAPABILITY_MISSING: "No type of agent can do all that is needed.",
            AgentSelectionReason.ONLY_SUITABLE: "Only this type can do all that is needed.",
            AgentSelectionReason.TIE_BROKEN_BY_NAME: "Several types are equally good; the first by name was taken.",
            AgentSelectionReason.HIGHEST_SCORE: "This type has the highest score.",
        },
        CONF: {LEFT_OUT_BY_CONF: "Whoever triggered the run left feeds out in its conf."},
    }
)
"""Policy, then reason. Two questions share the policy `asking`, and some reasons."""


def meaning_of(decision: Mapping[str, Any]) -> str | None:
    """Return what a recorded decision's reason means; None for one of another version, which is not known here."""
    return MEANINGS.get(decision["policy"], {}).get(decision["reason"])
