"""An event loop whose time passes as soon as nobody has anything to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class QuickLoop(asyncio.SelectorEventLoop):
    """Skips every wait for the clock; it knows no threads."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Impatient(self))

    def time(self) -> float:
        return self.now


class _Impatient(selectors.DefaultSelector):
    def __init__(self, loop: QuickLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is not None and timeout > 0:
            self._loop.now += timeout
        return ready


def run_quickly(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end, however much of its own time that takes."""
    with asyncio.Runner(loop_factory=QuickLoop) as runner:
        return runner.run(work)
