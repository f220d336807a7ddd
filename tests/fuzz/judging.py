"""Judges what became of an input: accepted, refused in words, or a violation."""

from __future__ import annotations

import re
import tempfile
import time
import traceback
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from airflow_orchestration.exceptions import (
    AgentCreationError,
    ExpressionError,
    FeedCode,
    FeedError,
    InputRefusedError,
    NoSuitableAgentError,
    RefusedValueError,
    ResourceUnavailableError,
    UnknownAgentTypeError,
)
from tests.fuzz.hostile import SECRET
from tests.fuzz.inputs import Made, files_below

MOST_SECONDS = 30.0
"""A refusal that takes longer is none: nobody waits for it."""
MOST_PROBLEMS = 250
LONGEST_PROBLEM = 4_000
LONGEST_REFUSAL = 120_000
"""Ours: a hundred problems of a thousand letters; what shows a refusal cuts it further."""
INTERNALS = re.compile(
    r"Traceback|object at 0x|<class '|<function |<bound method|PosixPath\(|datetime\.(date|datetime)\(|ValidationError"
    r"|pydantic|<[A-Z]\w+\.\w+: |dict_keys|mappingproxy|\bKeyError\b|\bTypeError\b|AttributeError|INTERNAL Error"
)
"""What only a programmer understands."""
NO_LETTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What no line of a log or field of a database should get from a stranger."""

REFUSALS = (
    *(InputRefusedError, FeedError, RefusedValueError, ExpressionError, ArgumentTypeError),
    *(UnknownAgentTypeError, NoSuitableAgentError, ResourceUnavailableError, AgentCreationError),
)
"""What an input may be answered with: any other error, such as a ledger that doesn't add up, is the product's own."""
OWN_FAULTS = frozenset({FeedCode.ROWS_LOST, FeedCode.FAULT})
"""Codes of feeds that no input should bring about."""

Look = Callable[[Made, Path], None]
"""Gives an input to the product, and looks at what it accepts: raises `WrongError` when that is not what was written."""


class WrongError(AssertionError):
    """The product accepted what it should not have, or made something else of it."""


class Verdict(StrEnum):
    """What became of an input."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    VIOLATION = "violation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of an input, and why."""

    verdict: Verdict
    why: str = ""
    seconds: float = 0.0


def require(condition: object, what: str) -> None:
    """Raise `WrongError` unless a condition holds."""
    if not condition:
        raise WrongError(what)


def judged(made: Made, looks: Mapping[str, Look]) -> Told:
    """Give an input to the product in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        made.write(folder)
        before = dict(files_below(folder))
        started = time.monotonic()
        told = _verdict(made, looks[made.kind], folder)
        seconds = time.monotonic() - started
        if told.verdict is Verdict.REFUSED and dict(files_below(folder)) != before:
            told = Told(verdict=Verdict.VIOLATION, why="the refusal changed files")
        if seconds > MOST_SECONDS:
            told = Told(verdict=Verdict.VIOLATION, why=f"took {seconds:.0f} s")
        return Told(verdict=told.verdict, why=told.why, seconds=seconds)


def _verdict(made: Made, look: Look, folder: Path) -> Told:
    try:
        look(made, folder)
    except REFUSALS as error:
        fault = _fault_of_refusing(error, made) or fault_of(error, made)
        return Told(verdict=Verdict.VIOLATION if fault else Verdict.REFUSED, why=fault or str(error))
    except WrongError as error:
        return Told(verdict=Verdict.VIOLATION, why=str(error))
    except Exception as error:  # noqa: BLE001  # any other is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        return Told(verdict=Verdict.VIOLATION, why=why[:2000])
    return Told(verdict=Verdict.ACCEPTED)


def _fault_of_refusing(error: Exception, made: Made) -> str | None:
    """Why this input may not be refused, or not with this code."""
    if isinstance(error, FeedError) and error.code in OWN_FAULTS:
        return f"a fault of the product ({error.code}): {error}"
    return f"what is right was refused: {error}" if made.terms.get("right") else None


def fault_of(error: Exception, made: Made) -> str | None:
    """What is wrong with a refusal, None when a person can use it."""
    if isinstance(error, InputRefusedError):
        if not error.problems or len(error.problems) > MOST_PROBLEMS:
            return f"a refusal with {len(error.problems)} problems"
        for problem in error.problems:
            if not problem.message.strip():
                return f"a problem without a message at {problem.path!a}"
            if fault := fault_of_words(f"{problem.path}: {problem.message}", LONGEST_PROBLEM, made):
                return fault
    return fault_of_words(str(error), LONGEST_REFUSAL, made)


def fault_of_words(words: str, longest: int, made: Made) -> str | None:
    """What is wrong with the words of a refusal."""
    if len(words) > longest:
        return f"a refusal of {len(words)} letters: {words[:300]!a}"
    if not words.strip():
        return "a refusal without words"
    if found := NO_LETTER.search(words):
        return f"a refusal with the control character {found.group()!a}: {_around(words, found)}"
    if (found := INTERNALS.search(words)) and not _is_said_by(made, found.group()):
        return f"a refusal that shows internals: {_around(words, found)}"
    if SECRET in words:
        return f"a refusal that tells a secret: {words[:500]!a}"
    return None


def _around(words: str, found: re.Match[str]) -> str:
    return ascii(words[max(0, found.start() - 100) : found.end() + 100])


def _is_said_by(made: Made, word: str) -> bool:
    """Whether the input itself has the word."""
    return any(word.encode() in data for data in made.files.values())
