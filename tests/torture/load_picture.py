"""The course of a load as a picture: what runs and waits, and what the long-lived processes hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tests.torture.load_samples import Sample

WIDTH, PANEL, LEFT, TOP, GAP = 900, 180, 60, 30, 60
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f")

Line = tuple[str, Callable[[Sample], float | None]]


def draw_picture(samples: Sequence[Sample], faults: Sequence[float]) -> str:
    """Return an SVG of the samples, with a mark for each fault."""
    parts = sorted({part for sample in samples for part in sample.levels})
    panels: list[tuple[str, list[Line]]] = [
        (
            "tasks and gates",
            [(name, _count(name)) for name in ("queued", "running", "deferred", "open_gates")],
        ),
        ("memory, MiB", [(part, _level(part)) for part in parts if part.startswith("memory")]),
        ("connections", [("connections", _level("connections"))]),
        ("kept of a branch, KiB", [(part, _level(part)) for part in parts if part.endswith("KiB")]),
    ]
    height = TOP + len(panels) * (PANEL + GAP)
    body = [line for place, panel in enumerate(panels) for line in _panel(place, *panel, samples, faults)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *body, "</svg>"])


def _panel(
    place: int, title: str, lines: Sequence[Line], samples: Sequence[Sample], faults: Sequence[float]
) -> Iterator[str]:
    top, end = TOP + place * (PANEL + GAP), max((sample.at for sample in samples), default=1.0) or 1.0
    values = [value for sample in samples for _, read in lines if (value := read(sample)) is not None]
    most = max(values, default=1.0) or 1.0

    def x(at: float) -> float:
        return LEFT + at / end * (WIDTH - LEFT - 20)

    def y(value: float) -> float:
        return top + PANEL - value / most * PANEL

    yield f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{title}, up to {most:.0f}; {end / 60:.0f} minutes</text>'
    yield f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - 20}" height="{PANEL}" fill="none" stroke="#999"/>'
    yield from (
        f'<line x1="{x(at):.1f}" y1="{top}" x2="{x(at):.1f}" y2="{top + PANEL}" stroke="#f2c0c0"/>'
        for at in faults
        if 0 <= at <= end
    )
    for number, (name, read) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = [(sample.at, value) for sample in samples if (value := read(sample)) is not None]
        drawn = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.2"/>'
        yield f'<text x="{LEFT + number * 140}" y="{top + PANEL + 16}" fill="{colour}">{name.removeprefix("memory of ")}</text>'


def _count(name: str) -> Callable[[Sample], float | None]:
    return lambda sample: float(getattr(sample, name))


def _level(part: str) -> Callable[[Sample], float | None]:
    return lambda sample: sample.levels[part].value if part in sample.levels else None
