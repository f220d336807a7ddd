"""What a person reads on the page of a Dag: its feeds, its terms and what it publishes, from the pipeline file.

Airflow renders it as Markdown with tables, without HTML, Mermaid or pictures in the text, so the fan-out is drawn
in letters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from airflow_orchestration.domain.batch import Lane
from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.domain.pipeline import Late, Pipeline
from airflow_orchestration.insights.completeness import percent
from airflow_orchestration.insights.evidence import quoted
from airflow_orchestration.insights.page_path import page_path
from airflow_orchestration.policies.routing import route

LISTED_FEEDS = 200
"""Ours: feeds in the table."""
NAMES_IN_A_LINE = 6
"""Ours: feeds beside a lane in the drawing, and required feeds in a sentence."""
LATE = {
    Late.RECONCILE: "is merged afterwards, as a new version",
    Late.NEXT_RUN: "is merged by the next run",
    Late.DISCARD: "stays outside",
}


def dag_doc(pipeline: Pipeline) -> str:
    """Return Markdown that never ends as the name of a file, which Airflow would read from its disk."""
    return "\n".join(
        [
            *_described(pipeline),
            f"[Runs over time]({page_path(pipeline.id)}); each run has a tab *Orchestration* of its own.",
            "",
            "### Feeds",
            *_feeds(pipeline.feeds),
            "",
            "### Terms",
            *(f"* {sentence}" for sentence in _terms(pipeline)),
            "",
            "### Way of a run",
            "```text",
            *_drawing(pipeline),
            "```",
            "",
        ]
    )


def _described(pipeline: Pipeline) -> list[str]:
    """The author's Markdown as it is; a tenant's text as text."""
    if not pipeline.description:
        return []
    if pipeline.tenant is None:
        return [pipeline.description.rstrip(), ""]
    return ["```text", pipeline.description.rstrip().replace("`", "'"), "```", ""]


def _feeds(feeds: Sequence[Feed]) -> Iterator[str]:
    yield "| feed | type | format | weight | required | deadline |"
    yield "|---|---|---|---:|---|---|"
    for feed in feeds[:LISTED_FEEDS]:
        cells = (
            f"`{feed.id}`",
            feed.type.value,
            feed.format.value if feed.format else "",
            f"{feed.weight:g}",
            "yes" if feed.required else "",
            "" if feed.deadline is None else _until(feed.deadline),
        )
        yield f"| {' | '.join(cells)} |"
    if len(feeds) > LISTED_FEEDS:
        yield f"\n… and {len(feeds) - LISTED_FEEDS:,} more feeds."


def _terms(pipeline: Pipeline) -> Iterator[str]:
    yield _gate(pipeline)
    for name, point in pipeline.sync.points.items():
        until = "as long" if point.deadline is None else _until(point.deadline)
        yield f"`{name}` waits {until}, and wants {percent(point.floor)} of {_names(point.feeds)}."
    yield f"A feed that comes later {LATE[pipeline.sync.late]}."
    quality = pipeline.quality
    yield (
        f"A feed, or the merged table, of quality below {quality.approve_at:g} is run again, in at most "
        f"{pipeline.max_rounds} rounds; below {quality.fail_below:g} the table is a failure."
    )
    if pipeline.ask_when:
        asked = ", ".join(f"`{when.value}`" for when in pipeline.ask_when)
        yield f"A person is asked when it is {asked}, for {pipeline.ask_timeout:g} s."
    for publish in pipeline.targets:
        yield f"Publishes to `{publish.table}` by {publish.mode.value}, connection {quoted(publish.conn_id)}."


def _gate(pipeline: Pipeline) -> str:
    sync, required = pipeline.sync, [feed.id for feed in pipeline.feeds if feed.required]
    without = f", never without {_names(required)}" if required else ""
    enough = f"{percent(sync.floor)} of the weight"
    grace = (
        "" if sync.grace_period is None else f", and only {sync.grace_period:g} s more once {enough} is there"
    )
    return (
        f"The gate waits for {_counted(len(pipeline.feeds))} {_until(sync.deadline)}{grace}, then goes on with "
        f"{enough} or more{without}."
    )


def _until(deadline: float | str) -> str:
    return f"until {deadline}" if isinstance(deadline, str) else f"for at most {deadline:g} s"


def _names(feeds: Sequence[str]) -> str:
    more = len(feeds) - NAMES_IN_A_LINE
    return ", ".join(f"`{feed}`" for feed in feeds[:NAMES_IN_A_LINE]) + (
        f" and {more} more" if more > 0 else ""
    )


def _drawing(pipeline: Pipeline) -> Iterator[str]:
    yield _line("analyze_batches", "checks the conf, chooses the mode")
    yield from _round(pipeline)
    yield _line("publish", ", ".join(publish.table for publish in pipeline.targets))
    yield _line("close_out", "says how the run ended")


def _round(pipeline: Pipeline) -> Iterator[str]:
    most = pipeline.max_rounds
    yield _line("round 1", f"again for what has to be, up to round {most}" if most > 1 else "the only one")
    yield _line("├─ plan", "puts batches on branches")
    if pipeline.agents:
        yield _line("├─ create_agents", "chooses who works on what")
        yield _line("├─ agents", _counted(len(pipeline.feeds)))
    else:
        for lane, feeds in _lanes(pipeline).items():
            yield _line(f"├─ {lane.value}", _short(feeds))
    yield _line("├─ gate", "waits for enough")
    yield _line("├─ merge", _counted(len(pipeline.targets), "table"))
    yield _line("└─ validate_quality", "leads to publish, another round, or fail")


def _line(name: str, text: str) -> str:
    return f"{name:<22}{text}"


def _lanes(pipeline: Pipeline) -> dict[Lane, list[str]]:
    found: defaultdict[Lane, list[str]] = defaultdict(list)
    for feed in pipeline.feeds:
        found[route(feed.type, feed.source_type, feed.priority)].append(feed.id)
    return {lane: found[lane] for lane in Lane if lane in found}


def _short(feeds: Sequence[str]) -> str:
    if len(feeds) > NAMES_IN_A_LINE:
        return f"{_counted(len(feeds))}: {', '.join(feeds[:NAMES_IN_A_LINE])}, …"
    return ", ".join(feeds)


def _counted(number: int, noun: str = "feed") -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"
