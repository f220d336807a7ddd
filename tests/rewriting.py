"""How a test makes an old row, or one that can't be: the store itself lets nobody write over what it was told."""

from __future__ import annotations

REWRITING = "SET LOCAL session_replication_role = replica"
"""The server's owner puts triggers aside with it until the transaction ends."""
