"""What a source needs of the world outside: databases, object stores and brokers, named by Airflow connections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import IO, Any, NoReturn, Protocol

import psycopg

from airflow_orchestration.domain.feed import Feed
from airflow_orchestration.exceptions import FeedCode, FeedError


class NoAnswerError(ConnectionError):
    """A server did not answer in time; the same request may succeed later."""


class RemotePath(Protocol):
    """What is needed of a place in an object store: Airflow's `ObjectStoragePath` has it."""

    @property
    def name(self) -> str:
        """The last part."""

    def __truediv__(self, key: str, /) -> RemotePath:
        """A path below this one."""

    def iterdir(self) -> Iterable[RemotePath]:
        """What stands directly below."""

    def exists(self) -> bool:
        """Whether it is there."""

    def is_file(self) -> bool:
        """Whether it is an object and no prefix."""

    def stat(self) -> Any:
        """Size and, where the store has it, the etag."""

    def open(self, mode: str, /) -> IO[Any]:
        """Open the object."""


class Outside(Protocol):
    """Opens what a feed or a root names."""

    def prepare(self, feed: Feed, root: str | None) -> None:
        """Find out all that opening the feed's source will take; `root` is what its files are below."""

    def postgres(self, conn_id: str) -> psycopg.Connection[Any]:
        """Open a connection to a PostgreSQL database."""

    def storage(self, uri: str) -> RemotePath:
        """Name a place in an object store, for example `s3://my_connection@bucket/folder`."""

    def kafka(self, conn_id: str) -> Mapping[str, Any]:
        """The configuration of a Kafka connection, in the words of librdkafka."""


class Nowhere:
    """No world outside: enough for feeds that are local files."""

    def prepare(self, feed: Feed, root: str | None) -> None:
        """See `Outside`: there is nothing to find out."""

    def postgres(self, conn_id: str) -> psycopg.Connection[Any]:
        """See `Outside`; raises `FeedError`."""
        _refuse(f"connection {conn_id}")

    def storage(self, uri: str) -> RemotePath:
        """See `Outside`; raises `FeedError`."""
        _refuse(uri)

    def kafka(self, conn_id: str) -> Mapping[str, Any]:
        """See `Outside`; raises `FeedError`."""
        _refuse(f"connection {conn_id}")


NOWHERE = Nowhere()


def _refuse(what: str) -> NoReturn:
    raise FeedError(
        f"{what} can't be opened here; run the pipeline in Airflow, which keeps the connections.",
        code=FeedCode.NOT_INSTALLED,
    )
