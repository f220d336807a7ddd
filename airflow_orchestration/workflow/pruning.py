"""What may be deleted, and when? Whole runs that ended long ago, and what executions that died have left behind.

Everything is decided by the store's clock and its rows. A file is deleted when its run is, or when its run knows it
not and nobody has begun any work on the run for a while. Rows go before files: prune ends what a prune that was
killed has left, and two at once do the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from airflow_orchestration.engine.staging import FoundFile, StagingArea
from airflow_orchestration.exceptions import InputRefusedError, StagedFileError
from airflow_orchestration.storage.postgres import PostgresStore
from airflow_orchestration.storage.pruning import RunFiles
from airflow_orchestration.storage.store import RunKey
from airflow_orchestration.workflow.reconcile import LOOK_BACK
from airflow_orchestration.workflow.step import run_hash

LEAST_AGE = LOOK_BACK
"""Until then a degraded run is still repaired, from its files and those of later runs."""
QUIET = timedelta(days=1)
"""Ours: work that was begun so long ago and has told nothing has died; should it live, its feed is run again."""
RUNS_AT_ONCE = 200
"""Ours: runs whose files are looked up together."""
_ATTEMPT = re.compile(r"\.?(?:\d+-)?e\d{1,18}-(?:rows|quarantine)\.parquet(?:\.\d+\.partial)?")
_DEPTH = 5
"""A staged file is <dag>/<run>/<round>/<feed>/<file> below its root, however that is written."""

Open = Callable[[str], StagingArea]
Place = tuple[str, ...]


def nothing(_: str) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What to delete: runs that ended so long ago, of all Dags or one. A rehearsal deletes nothing."""

    age: timedelta
    dag_id: str | None = None
    rehearse: bool = False
    quiet: timedelta = QUIET
    forget: frozenset[str] = frozenset()
    """Staging areas that are gone: nothing is looked for there."""


@dataclass(slots=True, kw_only=True)
class Swept:
    """What was found in staging areas."""

    files: int = 0
    bytes: int = 0
    runs_unknown: int = 0
    """Folders of runs that the store does not know: nothing of them was deleted."""
    refused: dict[str, str] = field(default_factory=dict)
    """The areas that could not be opened, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was deleted, or would be: runs, rows by table, files."""

    runs: tuple[RunKey, ...]
    rows: Mapping[str, int]
    swept: Swept


def prune(
    store: PostgresStore, open_staging: Open, terms: Terms, report: Callable[[str], None] = nothing
) -> Pruned:
    """Delete runs of a store with their files, and what is left of executions that died.

    It may be ended at any time: the next one goes on.
    """
    pruning = store.pruning
    cut = pruning.cut(terms.age)
    expired = pruning.expired(cut, dag_id=terms.dag_id)
    runs: list[RunKey] = []
    rows: Counter[str] = Counter()
    for some, deleted in pruning.delete_runs(expired, cut, rehearse=terms.rehearse):
        runs += some
        rows += deleted
        report(f"{len(runs):,} of {len(expired):,} runs")
    for lines in pruning.delete_lines(runs, dag_id=terms.dag_id, rehearse=terms.rehearse):
        rows += lines
        report(f"{rows.total():,} rows")
    rows += pruning.delete_rests(runs, cut, dag_id=terms.dag_id, rehearse=terms.rehearse)
    rows += pruning.delete_leases(terms.quiet, rehearse=terms.rehearse)
    swept = sweep_staging(store, open_staging, terms, gone=frozenset(runs), report=report)
    return Pruned(runs=tuple(runs), rows=dict(sorted(rows.items())), swept=swept)


def sweep_staging(
    store: PostgresStore,
    open_staging: Open,
    terms: Terms,
    *,
    gone: Collection[RunKey] = frozenset(),
    report: Callable[[str], None] = nothing,
) -> Swept:
    """Delete the staged files that no run counts: of pruned runs, and of attempts that nobody registered.

    `gone` are runs to treat as pruned, though the store may know them still. The age in `terms` means nothing here.
    """
    swept = Swept()
    if not terms.rehearse:
        for root in terms.forget:
            store.pruning.forget_staging(root)
    for root, dag_ids in store.pruning.staging_areas(dag_id=terms.dag_id).items():
        if root in terms.forget:
            continue
        try:
            area = open_staging(root)
            for dag_id in dag_ids:
                report(f"files of {dag_id}")
                _sweep_dag(store, area, dag_id, terms, gone, swept)
        except (InputRefusedError, StagedFileError, OSError) as error:
            swept.refused[root] = str(error)
    return swept


def _sweep_dag(
    store: PostgresStore, area: StagingArea, dag_id: str, terms: Terms, gone: Collection[RunKey], swept: Swept
) -> None:
    folders = area.folders(dag_id)  # before the store is asked: what it knows not then, it never will
    known = {
        run_hash(RunKey(dag_id=dag_id, run_id=run_id)): run_id
        for run_id in store.pruning.runs_with_files(dag_id)
    }
    swept.runs_unknown += len(set(folders) - known.keys())
    ours = [folder for folder in folders if folder in known]
    for start in range(0, len(ours), RUNS_AT_ONCE):
        files = {
            known[folder]: area.files(f"{dag_id}/{folder}") for folder in ours[start : start + RUNS_AT_ONCE]
        }
        facts = store.pruning.files(dag_id, list(files), terms.quiet)  # after its files were listed, likewise
        doomed = [
            file
            for run_id, found in files.items()
            for file in _doomed(
                found,
                facts[run_id],
                is_gone=RunKey(dag_id=dag_id, run_id=run_id) in gone and terms.rehearse,
            )
        ]
        if doomed and not terms.rehearse:
            area.discard_all([file.key for file in doomed])
        swept.files += len(doomed)
        swept.bytes += sum(file.bytes for file in doomed)


def _doomed(files: Sequence[FoundFile], known: RunFiles, *, is_gone: bool) -> Iterator[FoundFile]:
    """Those that an execution of ours wrote, and that count no more. A run without claims, as a pruned one, is quiet."""
    counted = {_place(uri) for uri in known.registered}
    for file in files:
        place = file.key.split("/")
        if len(place) != _DEPTH or _ATTEMPT.fullmatch(place[-1]) is None:
            continue
        is_left = known.is_quiet and _place(file.key) not in counted
        if is_gone or is_left:
            yield file


def _place(uri: str) -> Place:
    """Name a file by its place below the root: one root may be written in several ways."""
    return tuple(uri.split("/")[-_DEPTH:])
