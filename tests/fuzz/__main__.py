"""`python -m tests.fuzz [KIND ...] --inputs N --seed S`: is there an input that the product does not answer in words?

A violation prints its seed, its number and the command that repeats it. The exit code is 1 with one, and with fewer
inputs than were asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.fuzz.inputs import Made
from tests.fuzz.judging import MOST_SECONDS, Told, Verdict
from tests.fuzz.kinds import KINDS, made_for
from tests.fuzz.running import Ended, ended_of, run

KEPT = Path(".orchestration/fuzz")
"""Where failing inputs are written."""
SAID_EVERY = 30.0
MOST_KEPT = 50


def main(arguments: Sequence[str]) -> int:
    """Make inputs, have them judged, and print what became of them."""
    args = _parser().parse_args(arguments)
    if args.input:
        return _again(Made.of(args.input.read_text()))
    wanted = tuple(args.kinds)
    if args.number is not None:
        return _again(made_for(args.seed, args.number, wanted))
    numbers = range(args.start, args.start + args.inputs)
    ended = _within(run(args.seed, numbers, wanted, args.workers), args.minutes)
    return _concluded(args, _followed(ended, args, len(numbers)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS], metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--inputs", type=int, default=2_000, help="how many (default 2000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same inputs (default 1)")
    parser.add_argument("--start", type=int, default=0, help="the number of the first input (default 0)")
    parser.add_argument("--number", type=int, help="judge this input alone, and show it")
    parser.add_argument("--input", type=Path, help="judge an input that was written to a file")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="stop after so many, with exit code 1 (default 60)"
    )
    return parser


def _within(ended: Iterator[Ended], minutes: float) -> Iterator[Ended]:
    ends = time.monotonic() + minutes * 60
    for one in ended:
        yield one
        if time.monotonic() > ends:
            return


def _followed(ended: Iterable[Ended], args: argparse.Namespace, count: int) -> list[Ended]:
    """Say now and then how far it is, and each violation at once; return all without their inputs."""
    found: list[Ended] = []
    said = started = time.monotonic()
    for one in ended:
        found.append(one)
        if one.told.verdict is Verdict.VIOLATION:
            _tell(one, args)
        if time.monotonic() - said > SAID_EVERY:
            said = time.monotonic()
            print(f"{len(found):,} of {count:,} inputs after {said - started:.0f} s", file=sys.stderr)
    return found


def _tell(one: Ended, args: argparse.Namespace) -> None:
    kinds = "".join(f" {kind}" for kind in args.kinds)
    print(
        f"VIOLATION by {one.kind}, seed {args.seed}, number {one.number}: {one.told.why[:1000]}",
        file=sys.stderr,
    )
    print(f"  python -m tests.fuzz{kinds} --seed {args.seed} --number {one.number}", file=sys.stderr)
    KEPT.mkdir(parents=True, exist_ok=True)
    if one.failing is not None and len(list(KEPT.iterdir())) < MOST_KEPT:
        path = KEPT / f"{one.kind}-{args.seed}-{one.number}.json"
        path.write_text(one.failing.text())
        print(f"  python -m tests.fuzz --input {path}", file=sys.stderr)


def _again(made: Made) -> int:
    """Judge one input in this process, and show it."""
    for name, data in made.files.items():
        print(f"--- {name}, {len(data):,} bytes\n{data[:4000].decode('utf-8', 'backslashreplace')}")
    print(f"--- {made.kind}: {', '.join(made.changes) or 'unchanged'}; {json.dumps(dict(made.terms))[:2000]}")
    told = ended_of(0, made).told
    print(
        f"{told.verdict} after {told.seconds:.2f} s: {ascii(told.why) if told.why else 'nothing was wrong'}"
    )
    return int(told.verdict is Verdict.VIOLATION)


def _concluded(args: argparse.Namespace, found: Sequence[Ended]) -> int:
    told = [one.told for one in found]
    violations = _count(told, Verdict.VIOLATION)
    slowest = max((one.seconds for one in told), default=0.0)
    figures: list[tuple[str, float, float | None]] = [
        ("fuzz_inputs", len(found), args.inputs),
        ("fuzz_accepted", _count(told, Verdict.ACCEPTED), None),
        ("fuzz_refused", _count(told, Verdict.REFUSED), None),
        ("fuzz_violations", violations, 0),
        ("fuzz_slowest_seconds", round(slowest, 2), MOST_SECONDS),
    ]
    for kind, count in sorted(Counter(one.kind for one in found).items()):
        of_kind = [one.told for one in found if one.kind == kind]
        figures.append((f"fuzz_{kind}_accepted", _count(of_kind, Verdict.ACCEPTED), None))
        figures.append(
            (f"fuzz_{kind}_refused", count - figures[-1][1] - _count(of_kind, Verdict.VIOLATION), None)
        )
    for figure, value, goal in figures:
        print(
            json.dumps({"figure": figure, "value": value, "goal": goal, "n": len(found), "seed": args.seed})
        )
    missing = args.inputs - len(found)
    if missing > 0:
        print(
            f"Stopped after {args.minutes:g} minutes: {missing:,} of {args.inputs:,} inputs were not judged; "
            "give it more --minutes or --workers.",
            file=sys.stderr,
        )
    return int(violations > 0 or missing > 0)


def _count(told: Iterable[Told], verdict: Verdict) -> int:
    return sum(one.verdict is verdict for one in told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
