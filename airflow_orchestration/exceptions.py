"""One tree of errors: everything that this package raises on purpose is an `OrchestrationError`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OrchestrationError(Exception):
    """Something that this package was asked to do can't be done."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.in_general())

    @classmethod
    def in_general(cls) -> str:
        """What such an error means and what helps, without the names and places of this one."""
        return (cls.__doc__ or "").strip().splitlines()[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong with an input: where it is, and what to do about it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InputRefusedError(OrchestrationError):
    """An input was refused; `problems` lists everything that is wrong with it."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(self._told("; nothing was changed."))

    def to_who_looks(self) -> str:
        """The same words for who only wanted to see something, and could have changed nothing."""
        return self._told(".")

    def _told(self, end: str) -> str:
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        return "\n  ".join([f"{self.subject}: {count}{end}", *map(str, self.problems)])


class FeedError(OrchestrationError):
    """A feed can't be used as a whole; running the same bytes again would end the same way."""


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
