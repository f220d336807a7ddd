"""The same examples on every run, and no stopwatch: a law that fails does so for its author, not for the next one."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
