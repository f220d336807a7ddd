"""One tree of errors: everything that this package raises on purpose is an `OrchestrationError`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

MAX_PATH = 300
"""Ours: letters of a path; a key of a stranger may have thousands, at each level."""
MAX_MESSAGE = 2_000
"""Ours: letters of a message; of a longer one, which repeats what was written, the middle is left out."""
MAX_TOLD = 200
"""Ours: problems of one input; who has more is told so."""

MAX_DIGITS = 80
"""Ours: digits of a number that is told whole; more of them say nothing more."""

_WORD = re.compile(r"\S+")
_DIGITS = re.compile(rf"\d{{{MAX_DIGITS},}}")
_LOGIN = re.compile(r"://[^\s/:]*:")
"""The scheme's end and the user of an address; the password behind it may have any sign but blanks, and ends before the last @."""


class OrchestrationError(Exception):
    """Something that this package was asked to do can't be done."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.in_general())

    @classmethod
    def in_general(cls) -> str:
        """What such an error means and what helps, without the names and places of this one."""
        return (cls.__doc__ or "").strip().splitlines()[0]


class ProblemCode(StrEnum):
    """What kind of problem an input has, in one word for programs."""

    REQUIRED = "required"
    """Something that is needed is not said."""
    UNKNOWN_FIELD = "unknown_field"
    """A field that nothing reads."""
    UNKNOWN_NAME = "unknown_name"
    """Something is named that is declared nowhere: a feed, a column, a root, a time zone."""
    UNKNOWN_CHOICE = "unknown_choice"
    """Not one of the words that are possible here."""
    WRONG_TYPE = "wrong_type"
    """A text where a number belongs, a list where a mapping does, or the like."""
    NOT_FINITE = "not_finite"
    """A number that is none, or endless."""
    OUT_OF_RANGE = "out_of_range"
    """A number that is too small or too large."""
    BAD_FORMAT = "bad_format"
    """A text that is not written as one of its kind is: a time, a pattern, a schedule."""
    BAD_NAME = "bad_name"
    """A name with letters that no such name has."""
    BAD_EXPRESSION = "bad_expression"
    """SQL of the author that may not run here."""
    BAD_SYNTAX = "bad_syntax"
    """No YAML, JSON or CSV."""
    CONTROL_CHARACTER = "control_character"
    """A character that no database takes."""
    DUPLICATE = "duplicate"
    """Something stands twice that may stand once."""
    CONFLICT = "conflict"
    """Two things are said that don't go together."""
    CYCLE = "cycle"
    """What is needed first needs itself."""
    EMPTY = "empty"
    """Nothing, where something is needed."""
    TOO_LARGE = "too_large"
    """More bytes or letters than are read."""
    TOO_MANY = "too_many"
    """More things than are handled."""
    TOO_DEEP = "too_deep"
    """Lists and mappings inside each other beyond what is read."""
    NOT_ALLOWED = "not_allowed"
    """What the author, the tenant's terms or the deployment don't grant."""
    RESERVED = "reserved"
    """A name that has a meaning of its own."""
    OUTSIDE_ROOTS = "outside_roots"
    """A place outside the folders that may be used."""
    UNSUPPORTED = "unsupported"
    """What the standard has, and this package does not."""
    MISMATCH = "mismatch"
    """Two descriptions of the same thing differ: contract and feed, or contract and table."""
    NOT_FOUND = "not_found"
    """A file, connection, schema or table is not there."""
    UNREADABLE = "unreadable"
    """It is there, and can't be read."""
    UNWRITABLE = "unwritable"
    """It can't be written."""
    LOGIN_REFUSED = "login_refused"
    """The server turns the connection away."""
    READ_ONLY = "read_only"
    """The server only reads."""
    MISSING_PRIVILEGE = "missing_privilege"
    """A database role lacks a right."""
    OBSTACLE = "obstacle"
    """Something of others stands in the way in the database."""
    ROW_REFUSED = "row_refused"
    """The table refuses a row."""
    NOT_READY = "not_ready"
    """Something must be installed, set or migrated first."""
    MORE_PROBLEMS = "more_problems"
    """There are more of the kind; they are told when these are mended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with an input: its kind, where it is, and what to do about it."""

    code: ProblemCode
    """For programs; `str` leaves it out."""
    path: str
    """As it would be written in code."""
    message: str

    def __post_init__(self) -> None:
        """Whoever is told a problem is not told the login of an address that stands in it, nor a page of letters."""
        for name, most, kept in (("path", MAX_PATH, ""), ("message", MAX_MESSAGE, "\n")):
            object.__setattr__(self, name, _presentable(getattr(self, name), kept, most))

    def as_json(self) -> dict[str, str]:
        """Return it as plain data."""
        return {"code": self.code.value, "path": self.path, "message": self.message}

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InputRefusedError(OrchestrationError):
    """An input was refused; `problems` lists everything that is wrong with it."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.subject = _presentable(subject, "", MAX_PATH)
        self.problems = _bounded(problems)
        super().__init__(self._told("; nothing was changed."))

    def to_who_looks(self) -> str:
        """The same words for who only wanted to see something, and could have changed nothing."""
        return self._told(".")

    def _told(self, end: str) -> str:
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        return "\n  ".join([f"{self.subject}: {count}{end}", *map(str, self.problems)])


class RefusedValueError(OrchestrationError, ValueError):
    """A value is refused where it is read; pydantic makes a problem with a path of it."""

    def __init__(self, message: str, *, code: ProblemCode) -> None:
        self.code = code
        super().__init__(message)


class FeedCode(StrEnum):
    """Why a feed as a whole is of no use, in one word for programs; a row that is of no use has its rule."""

    MISSING = "missing"
    """There is no such file, folder, topic or table."""
    NOT_A_FILE = "not_a_file"
    """A folder, a device or a pipe where a file belongs."""
    BAD_NAME = "bad_name"
    """A file's name that can't be told."""
    UNREADABLE = "unreadable"
    """It is there, and the worker or the connection may not read it."""
    OUTSIDE_ROOT = "outside_root"
    """It leads out of its root, through a link or `..`."""
    CHANGED_WHILE_READ = "changed_while_read"
    """It was written while it was read."""
    EMPTY = "empty"
    """No byte, or blank lines only."""
    ENCODING = "encoding"
    """Text in another encoding than is declared."""
    HEADER = "header"
    """The first line names no columns."""
    SYNTAX = "syntax"
    """Its name or its outermost brackets promise another format."""
    DAMAGED = "damaged"
    """It ends before it is complete, or its bytes are not what its format says."""
    BOMB = "bomb"
    """It unpacks to many times its size."""
    TOO_LARGE = "too_large"
    """More rows or bytes than its limits grant."""
    TOO_LONG = "too_long"
    """Reading it took longer than its limits grant."""
    MEMORY = "memory"
    """Its branch has less memory than it takes."""
    CRASHED = "crashed"
    """Reading it ended the engine."""
    ROWS_LOST = "rows_lost"
    """Rows in and rows out don't add up."""
    COLUMNS = "columns"
    """It lacks columns that are mapped, or names some twice."""
    EXPRESSION = "expression"
    """An expression, a pattern or a query of the author can't be computed on these rows."""
    OUTPUT = "output"
    """Its output files can't be written."""
    DEPENDENCY = "dependency"
    """A feed that it needs brought nothing."""
    SOURCE = "source"
    """Its connection, query, topic or outbox can't be used."""
    NOT_INSTALLED = "not_installed"
    """What reads such sources is not installed or not reachable here."""
    QUALITY_RULES = "quality_rules"
    """The rows break rules of the contract that they must keep together."""
    QUALITY_RESULT = "quality_result"
    """The result of its quality task can't be read."""
    AGENT = "agent"
    """Its agent did not do its work."""
    FAULT = "fault"
    """Something else went wrong in each try; the task's log has it."""
    REFUSED = "refused"
    """What it was declared with is refused."""


def _presentable(text: str, kept: str, most: int) -> str:
    return _bounded_text(_DIGITS.sub(_few_digits, _WORD.sub(_without_login, _printable(text, kept))), most)


def _without_login(word: re.Match[str]) -> str:
    """Put stars where the address in a word has user and password, up to the last @: better too much than a rest of it."""
    head, at, rest = word[0].rpartition("@")
    login = _LOGIN.search(head)
    return f"{head[: login.start()]}://***{at}{rest}" if login else word[0]


def _printable(text: str, kept: str) -> str:
    """Escape what no log and no database takes, but for the letters in `kept`."""
    if text.isprintable():
        return text
    return "".join(it if it.isprintable() or it in kept else ascii(it)[1:-1] for it in text)


def _few_digits(number: re.Match[str]) -> str:
    return f"{number[0][:20]}... ({len(number[0])} digits)"


def _bounded_text(text: str, most: int) -> str:
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def _bounded(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    more = len(problems) - MAX_TOLD
    if more <= 0:
        return tuple(problems)
    message = f"{more} more problems are not shown; mend these first"
    return (*problems[:MAX_TOLD], Problem(code=ProblemCode.MORE_PROBLEMS, path="", message=message))


class FeedError(OrchestrationError):
    """A feed can't be used as a whole; running the same bytes again would end the same way."""

    def __init__(self, message: str | None = None, *, code: FeedCode) -> None:
        self.code = code
        super().__init__(message)


class ExpressionError(OrchestrationError):
    """An SQL text of the author isn't one that may run here; the message says which part and what to write."""


class FencedError(OrchestrationError):
    """A newer execution of the same work has taken over; this one must change nothing any more."""


class StreamTakenError(OrchestrationError):
    """Somebody else has registered these records of a stream meanwhile; nothing was registered."""


class StoreNotReadyError(OrchestrationError):
    """The store's schema is not the one of this package; run `airflow orchestration migrate`, or upgrade the package."""


class UnknownRunError(OrchestrationError, KeyError):
    """The store knows no such run."""

    __str__ = Exception.__str__  # a `KeyError` would put it into quotes


class PrunedRunError(OrchestrationError):
    """The run was deleted for its age, and can't begin anew: trigger a new run."""


class StagedFileError(OrchestrationError):
    """A staged file is not the one that was registered: its checksum or its row count differs."""


class PublishConflictError(OrchestrationError):
    """This publication key was already used for other content; a person has to look."""


class PublicationOvertakenError(OrchestrationError):
    """Somebody published to the table meanwhile; look at it again, and try once more."""


class LedgerMismatchError(OrchestrationError):
    """Rows in and rows out don't add up; nothing was published."""


class NotPublishedError(OrchestrationError):
    """The run ended without publishing anything."""


class UnknownAgentTypeError(OrchestrationError):
    """No template of this name is registered; agent types are names of templates, never class paths."""


class NoSuitableAgentError(OrchestrationError):
    """No type of agent has all the capabilities that the task needs."""


class NobodyHiredError(OrchestrationError):
    """A queue needs agents, and none of them could be had."""


class ResourceUnavailableError(OrchestrationError):
    """The pool can't give an agent what it needs."""


class LeaseLostError(OrchestrationError):
    """What an agent held may have been lent to somebody else; its task can be tried again."""


class AgentCreationError(OrchestrationError):
    """An agent could not be made from its specification; what it held was released."""


class AgentWorkError(OrchestrationError):
    """An agent did not do its work on a batch."""
