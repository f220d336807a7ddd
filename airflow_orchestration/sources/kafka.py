"""Reads a Kafka topic from given offsets on, without a consumer group: the store knows what was read, not the broker."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_orchestration.domain.feed import FeedFormat
from airflow_orchestration.domain.source import Gone, Kafka
from airflow_orchestration.domain.stream import Span, StreamMarks
from airflow_orchestration.exceptions import FeedCode, FeedError
from airflow_orchestration.sources.fetched import Fetched
from airflow_orchestration.sources.micro_batch import Bound, PartitionFile, line_of
from airflow_orchestration.sources.outside import NoAnswerError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

log = logging.getLogger(__name__)

READING = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 100,
}
"""What a connection can't change. No offset is committed to the broker, and only committed records are read."""
GROUP = "airflow-orchestration"
"""librdkafka wants a name, though no group is ever joined."""
ANSWER_SECONDS = 30.0
"""How long the broker may take to say what there is."""
POLL_SECONDS = 0.05
MESSAGES_AT_ONCE = 2000
REFUSALS = frozenset(
    {
        "_AUTHENTICATION",
        "_SSL",
        "_UNKNOWN_TOPIC",
        "CLUSTER_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "SASL_AUTHENTICATION_FAILED",
        "TOPIC_AUTHORIZATION_FAILED",
        "UNKNOWN_TOPIC_OR_PART",
    }
)
"""What the broker would say again."""


@dataclass(kw_only=True)
class _Partition:
    """A partition while it is read: `at` is the offset after the last record that was taken or passed over."""

    number: int
    span: Span
    file: PartitionFile
    low: int
    at: int
    done: bool = False

    @property
    def before(self) -> int | None:
        """The offset at which somebody else's records begin."""
        return self.span.before[0] if self.span.before else None

    def move_to(self, offset: int) -> None:
        """Go on from an offset; done when somebody else's records begin there."""
        self.at = offset if self.before is None else min(offset, self.before)
        self.done = self.done or self.at == self.before


@dataclass(frozen=True, kw_only=True)
class _Topic:
    """A topic that is being read, and what librdkafka reports on the side."""

    feed_id: str
    kafka: Kafka
    consumer: Consumer
    faults: list[KafkaError] = field(default_factory=list)
    answer_seconds: float

    def failure(self, error: KafkaError) -> Exception:
        """What an error of the broker is to us: the feed's, or of the moment."""
        told = [error, *self.faults]
        refusal = next((one for one in told if one.name() in REFUSALS), None)
        words = (refusal or error).str()
        where = f"{self.feed_id}: topic {self.kafka.topic} behind connection {self.kafka.conn_id}"
        if refusal is not None:
            return FeedError(
                f"{where} can't be read: {words}; correct the connection or its rights.", code=FeedCode.SOURCE
            )
        return NoAnswerError(f"{where}: {words}; see whether the brokers are up")


def read_kafka(
    feed_id: str,
    kafka: Kafka,
    marks: StreamMarks,
    *,
    config: Mapping[str, Any],
    scratch: Path,
    answer_seconds: float = ANSWER_SECONDS,
) -> Fetched:
    """Write the next records of the topic into `scratch`, up to the bounds of a batch or the end of each partition.

    Raises `FeedError` when there is no such topic, or when records that were not read yet are gone from it;
    `NoAnswerError` when the broker is silent.
    """
    with _opened(feed_id, kafka, config, answer_seconds) as topic:
        names = [f"{kafka.topic}[{number}]" for number in _numbers(topic)]
        partitions = [_partition(topic, span, scratch) for span in marks.spans(names)]
        _look_for_gaps(topic, partitions)
        try:
            _read(topic, partitions)
        finally:
            for partition in partitions:
                partition.file.close()
    sources = [one.file.source(scratch, f"offset {one.low}") for one in partitions]
    ranges = [one.file.range((one.at,)) for one in partitions]
    return Fetched(
        files=tuple(source for source in sources if source),
        format=FeedFormat.NDJSON,
        ranges=tuple(taken for taken in ranges if taken),
    )


@contextmanager
def _opened(feed_id: str, kafka: Kafka, config: Mapping[str, Any], answer_seconds: float) -> Iterator[_Topic]:
    try:
        from confluent_kafka import Consumer, KafkaException  # noqa: PLC0415  # an extra
    except ImportError:
        raise FeedError(
            f"{feed_id}: topics are read with confluent-kafka, which is not installed; "
            "run: pip install 'airflow-provider-orchestration[kafka]'",
            code=FeedCode.NOT_INSTALLED,
        ) from None
    faults: list[KafkaError] = []
    try:
        consumer = Consumer({"group.id": GROUP, **config, **READING, "error_cb": faults.append})
    except (KafkaException, TypeError, ValueError) as error:
        raise FeedError(
            f"{feed_id}: connection {kafka.conn_id} is no Kafka configuration: {error}", code=FeedCode.SOURCE
        ) from None
    topic = _Topic(
        feed_id=feed_id, kafka=kafka, consumer=consumer, faults=faults, answer_seconds=answer_seconds
    )
    try:
        yield topic
    except KafkaException as error:
        consumer.poll(0)  # brings the reports that explain a time-out
        raise topic.failure(error.args[0]) from error
    finally:
        consumer.close()


def _numbers(topic: _Topic) -> list[int]:
    """The partitions of the topic. Asking for all topics makes none: some brokers make what is asked for."""
    known = topic.consumer.list_topics(timeout=topic.answer_seconds).topics.get(topic.kafka.topic)
    if known is None or not known.partitions:
        raise FeedError(
            f"{topic.feed_id}: connection {topic.kafka.conn_id} sees no topic {topic.kafka.topic}; "
            "create it, or let the connection describe and read it.",
            code=FeedCode.MISSING,
        )
    return sorted(known.partitions)


def _partition(topic: _Topic, span: Span, scratch: Path) -> _Partition:
    from confluent_kafka import TopicPartition  # noqa: PLC0415

    number = int(span.partition.rpartition("[")[2].removesuffix("]"))
    place = TopicPartition(topic.kafka.topic, number)
    low, _ = topic.consumer.get_watermark_offsets(place, timeout=topic.answer_seconds)
    start = span.start[0] if span.start else low
    file = PartitionFile(
        partition=span.partition, path=scratch / f"partition-{number}.ndjson", start=(start,)
    )
    partition = _Partition(number=number, span=span, file=file, low=max(low, start), at=start)
    partition.move_to(partition.low)
    return partition


def _look_for_gaps(topic: _Topic, partitions: Sequence[_Partition]) -> None:
    """Raise `FeedError` when the topic has lost records that are to be read, unless they may be skipped."""
    gaps = [one for one in partitions if one.at > one.file.start[0]]
    if not gaps:
        return
    told = ", ".join(f"{one.at - one.file.start[0]} of {one.span.partition}" for one in gaps)
    if topic.kafka.gone is Gone.FAIL or any(one.span.exact for one in gaps):
        raise FeedError(
            f"{topic.feed_id}: records that were not read are gone from the topic: {told}. Let the topic keep them "
            "for longer; to go on without them write `gone: skip` below kafka.",
            code=FeedCode.MISSING,
        )
    log.warning("Feed %s goes on without records that are gone from the topic: %s", topic.feed_id, told)


def _read(topic: _Topic, partitions: Sequence[_Partition]) -> None:
    """Take records until the batch is full or every partition is done."""
    from confluent_kafka import TopicPartition  # noqa: PLC0415

    by_number = {one.number: one for one in partitions if not one.done}
    topic.consumer.assign(
        [TopicPartition(topic.kafka.topic, one.number, one.at) for one in by_number.values()]
    )
    bound, last_word = Bound(batch=topic.kafka.batch), time.monotonic()
    heard = False
    while not all(one.done for one in by_number.values()):
        messages = topic.consumer.consume(MESSAGES_AT_ONCE, POLL_SECONDS)
        if messages:
            heard, last_word = True, time.monotonic()
        elif time.monotonic() - last_word > topic.answer_seconds:
            raise _silence(topic)
        for message in messages:
            partition = by_number[message.partition() or 0]
            if not partition.done and not _taken(topic, partition, message, bound):
                return
        if heard and bound.time_is_over and not any(one.span.exact for one in by_number.values()):
            return


def _taken(topic: _Topic, partition: _Partition, message: Message, bound: Bound) -> bool:
    """Take a record, or note that the partition is done; False when the batch is full."""
    error, offset, value = message.error(), message.offset() or 0, message.value()
    if error is not None:
        _note(topic, partition, error, offset)
        return True
    if partition.before is not None and offset >= partition.before:
        partition.move_to(partition.before)
        return True
    line = line_of(value)
    if not partition.span.exact and not bound.allows(len(line)):
        return False
    bound.count(len(line))
    partition.file.add(line)
    partition.move_to(offset + 1)
    return True


def _note(topic: _Topic, partition: _Partition, error: KafkaError, offset: int) -> None:
    """Note the end of a partition. What else the broker says instead of a record is a failure."""
    if error.name() == "_PARTITION_EOF":
        partition.move_to(max(partition.at, offset))
        partition.done = True
        if partition.before is None or partition.at == partition.before:
            return
    if error.name() in {"_PARTITION_EOF", "_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"}:
        raise FeedError(
            f"{topic.feed_id}: {partition.span.partition} has no offset {partition.at}, up to which it was read: "
            "it was emptied or made anew. Give the new topic another name, or the feed another id.",
            code=FeedCode.MISSING,
        )
    raise topic.failure(error)


def _silence(topic: _Topic) -> Exception:
    from confluent_kafka import KafkaError  # noqa: PLC0415

    return topic.failure(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001  # librdkafka's own codes are written so
