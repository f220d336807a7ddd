"""The thresholds that pipeline files and policies share; each number stands here and nowhere else."""

from __future__ import annotations

FLOOR = 0.75
"""SEED 13: the share of the weight from which a round may go on without the rest."""
APPROVE_AT = 0.8
"""SEED 25: the quality threshold."""
FAIL_BELOW = 0.5
"""Ours: below this another round is no repair; the document names `critical_failure` and no number."""
MAX_ROUNDS = 3
"""SEED 25: the iteration limit; the document's own loop never ends (ruling)."""
ASK_TIMEOUT = 900.0
"""Ours, in seconds: how long an answer is waited for; the document's interrupts wait for ever (ruling)."""
NEAR_MISS = 0.05
"""Ours: how far below `APPROVE_AT` a score is still worth a person's look."""
CONFIDENCE_LEVEL = 0.95
"""SEED 25: the confidence level of the intervals (SEED 17)."""
MAX_FEEDS = 10_000
"""Ours: how many feeds a pipeline may have."""
MAX_CONCURRENT_BATCHES = 3
"""SEED 20: batches that agents work on at a time."""
TIMEOUT_SECONDS = 300
"""SEED 20: how long an agent may work."""
RETRY_ATTEMPTS = 3
"""SEED 20: how often its work is tried again."""
LEASE_WAIT_SECONDS = 600
"""Ours: how long an agent waits for what it needs."""
COORDINATE_ABOVE = 2
"""SEED 26: more agents than this get a coordinator, who orders them."""
