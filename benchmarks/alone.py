"""Runs a piece of work in a process of its own, and says what it took."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a piece of work took: seconds, and the peak memory of its process in MB.

    Imports and the start of the process are not in the seconds; their memory is in the peak.
    """

    wall: float
    cpu: float
    peak_mb: float


def timed(work: Callable[..., None], folder: Path, *arguments: object) -> Run:
    """Run in a fresh folder below `folder` and take the time; the folder is the work's first argument."""
    with TemporaryDirectory(dir=folder) as scratch:
        cpu, wall = time.process_time(), time.perf_counter()
        work(Path(scratch), *arguments)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Run(wall=wall, cpu=cpu, peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def alone(work: Callable[..., None], folder: Path, *arguments: object) -> Run:
    """Do the same in a fresh process, whose memory is the work's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(timed, work, folder, *arguments).result()
