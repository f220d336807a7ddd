"""Reading a topic of a real broker: from given offsets on, within bounds, without a consumer group."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_orchestration.domain.source import Gone, Kafka, MicroBatch
from airflow_orchestration.domain.stream import StreamMark, StreamMarks, StreamRange
from airflow_orchestration.exceptions import FeedError
from airflow_orchestration.sources.fetched import Fetched
from airflow_orchestration.sources.kafka import read_kafka
from airflow_orchestration.sources.outside import NoAnswerError
from demo.ports import free_port
from tests.sources.brokers import Broker, apache_kafka, tansu


@pytest.fixture(scope="module")
def apache_and_topic() -> Iterator[tuple[Broker, str]]:
    """Apache Kafka, and a topic of it whose first records will be gone half a minute after its start."""
    with apache_kafka() as running:
        topic = running.topic(retention_bytes="2000", segment_bytes="1000")
        for start in range(0, 400, 20):
            running.produce(topic, records(*range(start, start + 20)))
        yield running, topic


@pytest.fixture(scope="module")
def apache(apache_and_topic: tuple[Broker, str]) -> Broker:
    """Apache Kafka: the one that forgets, and that speaks of offsets that it does not have."""
    return apache_and_topic[0]


@pytest.fixture(scope="module")
def modern() -> Iterator[Broker]:
    """The one that speaks today's protocol."""
    with tansu() as running:
        yield running


@pytest.fixture(params=["apache", "modern"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each of the brokers."""
    found: Broker = request.getfixturevalue(request.param)
    return found


def records(*numbers: int) -> list[bytes]:
    return [json.dumps({"n": number}).encode() for number in numbers]


def read(
    broker: Broker, topic: str, folder: Path, marks: StreamMarks | None = None, **changes: Any
) -> tuple[list[int], Fetched]:
    kafka = Kafka(topic=topic, **changes)
    fetched = read_kafka("events", kafka, marks or StreamMarks(), config=broker.config, scratch=folder)
    lines = [json.loads(line) for file in fetched.files for line in file.path.read_bytes().splitlines()]
    return [line["n"] for line in lines], fetched


def taken(topic: str, start: int, stop: int, partition: int = 0) -> StreamRange:
    return StreamRange(partition=f"{topic}[{partition}]", start=(start,), stop=(stop,))


def after(fetched: Fetched) -> StreamMarks:
    """The marks for the next reading when this one was registered."""
    return StreamMarks(marks={one.partition: StreamMark(start=one.stop) for one in fetched.ranges})


def from_offset(topic: str, start: int, before: int | None = None) -> StreamMarks:
    mark = StreamMark(start=(start,), before=None if before is None else (before,))
    return StreamMarks(marks={f"{topic}[0]": mark})


def test_an_empty_topic_is_an_empty_batch(broker: Broker, tmp_path: Path) -> None:
    """Nothing new: no file, no range, no error."""
    numbers, fetched = read(broker, broker.topic(), tmp_path)
    assert ([], (), ()) == (numbers, fetched.files, fetched.ranges)


def test_each_reading_goes_on_after_the_last(broker: Broker, tmp_path: Path) -> None:
    """A topic is read to its end, and the next reading begins there."""
    topic = broker.topic()
    broker.produce(topic, records(1, 2, 3))
    numbers, first = read(broker, topic, tmp_path)
    broker.produce(topic, records(4))
    later, second = read(broker, topic, tmp_path, after(first))
    none, _ = read(broker, topic, tmp_path, after(second))
    assert ([1, 2, 3], [4], []) == (numbers, later, none)
    assert (taken(topic, 0, 3),) == first.ranges
    assert [f"{topic}[0] from offset 0"] == [file.origin for file in first.files]
    assert [f"{topic}[0] from offset 3"] == [file.origin for file in second.files]


def test_each_partition_is_a_file_and_a_range(broker: Broker, tmp_path: Path) -> None:
    """Partitions are read side by side; one without news has neither file nor range."""
    topic = broker.topic(partitions=3)
    broker.produce(topic, records(1, 2), partition=0)
    broker.produce(topic, records(3), partition=2)
    numbers, fetched = read(broker, topic, tmp_path)
    assert [1, 2, 3] == numbers
    assert (taken(topic, 0, 2), taken(topic, 0, 1, 2)) == fetched.ranges
    assert 2 == len(fetched.files)


@pytest.mark.parametrize(("bounds", "expected"), [({"records": 3}, 3), ({"bytes": 20}, 2), ({"bytes": 1}, 1)])
def test_the_first_bound_ends_the_batch(
    broker: Broker, tmp_path: Path, bounds: dict[str, Any], expected: int
) -> None:
    """Records or bytes; one record is always taken, and the next batch goes on behind it."""
    topic = broker.topic()
    broker.produce(topic, records(0, 1, 2, 3, 4))
    numbers, fetched = read(broker, topic, tmp_path, batch=MicroBatch(**bounds))
    rest, _ = read(broker, topic, tmp_path, after(fetched))
    assert list(range(expected)) == numbers
    assert [0, 1, 2, 3, 4] == numbers + rest


def test_the_seconds_of_a_batch_end_it(broker: Broker, tmp_path: Path) -> None:
    """When the time is over the batch is what has been read, however much there is still."""
    topic = broker.topic()
    broker.produce(topic, records(*range(20_000)))
    numbers, fetched = read(broker, topic, tmp_path, batch=MicroBatch(seconds=0.000001))
    assert 0 < len(numbers) < 20_000
    assert (taken(topic, 0, len(numbers)),) == fetched.ranges


def test_a_run_reads_exactly_its_ranges_again(broker: Broker, tmp_path: Path) -> None:
    """What a run holds is read whole, and no more, whatever the bounds say now."""
    topic = broker.topic(partitions=2)
    broker.produce(topic, records(1, 2, 3))
    _, fetched = read(broker, topic, tmp_path)
    broker.produce(topic, records(4))
    broker.produce(topic, records(5), partition=1)
    again, same = read(
        broker, topic, tmp_path, StreamMarks(again=fetched.ranges), batch=MicroBatch(records=1)
    )
    assert ([1, 2, 3], fetched.ranges) == (again, same.ranges)


def test_a_gap_is_read_up_to_what_others_hold(broker: Broker, tmp_path: Path) -> None:
    """A range that was given back is read up to the next one that is held."""
    topic = broker.topic()
    broker.produce(topic, records(0, 1, 2, 3, 4))
    numbers, fetched = read(broker, topic, tmp_path, from_offset(topic, 1, before=3))
    assert ([1, 2], (taken(topic, 1, 3),)) == (numbers, fetched.ranges)


def test_every_record_is_one_line(broker: Broker, tmp_path: Path) -> None:
    """Pretty-printed JSON, texts over several lines, tombstones and empty values: a line each, so that all are counted."""
    topic = broker.topic()
    broker.produce(topic, [b'{\n "n": 1\r\n}', b"no\njson", None, b"", b'{"n": 2}'])
    kafka = Kafka(topic=topic)
    fetched = read_kafka("events", kafka, StreamMarks(), config=broker.config, scratch=tmp_path)
    lines = fetched.files[0].path.read_text().split("\n")
    assert ['{  "n": 1  }', '"no\\njson"', '""', '""', '{"n": 2}', ""] == lines
    assert (taken(topic, 0, 5),) == fetched.ranges


def test_a_topic_that_is_not_there_is_refused_and_not_made(broker: Broker, tmp_path: Path) -> None:
    """Asking for a topic makes none, and the message says what to do."""
    for _ in range(2):
        with pytest.raises(
            FeedError, match="events: connection kafka_default sees no topic absent; create it"
        ):
            read(broker, "absent", tmp_path)


def test_an_offset_behind_the_end_is_refused(apache: Broker, tmp_path: Path) -> None:
    """A topic that ends below what was read of it was made anew: nothing is read of it."""
    topic = apache.topic()
    apache.produce(topic, records(1))
    with pytest.raises(FeedError, match=r"has no offset 50, up to which it was read"):
        read(apache, topic, tmp_path, from_offset(topic, 50))


def test_a_range_that_has_shrunk_is_refused(broker: Broker, tmp_path: Path) -> None:
    """A topic that ends inside a range that was read can't give it again."""
    topic = broker.topic()
    broker.produce(topic, records(1, 2))
    with pytest.raises(FeedError, match="it was emptied or made anew"):
        read(broker, topic, tmp_path, StreamMarks(again=(taken(topic, 0, 5),)))


def test_a_whole_topic_is_read(broker: Broker, tmp_path: Path) -> None:
    """50,000 records on two partitions, batch by batch: each once."""
    topic = broker.topic(partitions=2)
    for partition in (0, 1):
        broker.produce(topic, records(*range(partition, 50_000, 2)), partition)
    seen: list[int] = []
    marks, positions = StreamMarks(), dict[str, StreamMark]()
    while True:
        numbers, fetched = read(broker, topic, tmp_path, marks, batch=MicroBatch(records=18_000))
        if not numbers:
            break
        seen += numbers
        positions |= after(fetched).marks
        marks = StreamMarks(marks=positions)
    assert list(range(50_000)) == sorted(seen)


def test_a_silent_broker_is_no_fault_of_the_feed(tmp_path: Path) -> None:
    """Nobody answers: the task is tried again, the feed is not blamed."""
    config = {"bootstrap.servers": f"127.0.0.1:{free_port()}", "log_level": 0}
    with pytest.raises(
        NoAnswerError, match=r"topic t behind connection kafka_default: .*see whether the brokers"
    ):
        read_kafka(
            "events", Kafka(topic="t"), StreamMarks(), config=config, scratch=tmp_path, answer_seconds=1
        )


def test_a_wrong_configuration_is_refused(tmp_path: Path) -> None:
    """A connection with a setting that librdkafka does not know names it."""
    with pytest.raises(
        FeedError, match=r'connection kafka_default is no Kafka configuration: .*"bootstrap.sewers"'
    ):
        read_kafka(
            "events", Kafka(topic="t"), StreamMarks(), config={"bootstrap.sewers": "x"}, scratch=tmp_path
        )


def test_without_the_library_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is an extra; who has not installed it is told how."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(FeedError, match=r"pip install 'airflow-provider-orchestration\[kafka\]'"):
        read_kafka("events", Kafka(topic="t"), StreamMarks(), config={}, scratch=tmp_path)


def test_a_connection_can_not_commit_offsets(broker: Broker, tmp_path: Path) -> None:
    """Whatever the connection says, the broker is told of no position: a group's offsets stay unknown."""
    from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415

    topic = broker.topic()
    broker.produce(topic, records(1))
    config = {
        **broker.config,
        "group.id": "committing",
        "enable.auto.commit": True,
        "auto.commit.interval.ms": 1,
    }
    read_kafka("events", Kafka(topic=topic), StreamMarks(), config=config, scratch=tmp_path)
    asking = Consumer({**broker.config, "group.id": "committing"})
    (found,) = asking.committed([TopicPartition(topic, 0)], timeout=20)
    asking.close()
    assert found.offset < 0


@pytest.fixture
def shortened(apache_and_topic: tuple[Broker, str]) -> str:
    """That topic, when its first records are gone."""
    broker, topic = apache_and_topic
    give_up = time.monotonic() + 60
    while broker.lowest(topic) == 0:
        assert time.monotonic() < give_up
    return topic


def test_records_that_are_gone_are_told(apache: Broker, shortened: str, tmp_path: Path) -> None:
    """A topic that forgot records before they were read fails its feed, with their number and the remedy."""
    with pytest.raises(
        FeedError, match=rf"{apache.lowest(shortened) - 3} of {shortened}\[0\]. .*`gone: skip`"
    ):
        read(apache, shortened, tmp_path, from_offset(shortened, 3))


def test_records_that_are_gone_may_be_skipped(apache: Broker, shortened: str, tmp_path: Path) -> None:
    """With `gone: skip` the range holds what is gone, and reading goes on with what is there."""
    low = apache.lowest(shortened)
    numbers, fetched = read(apache, shortened, tmp_path, from_offset(shortened, 3), gone=Gone.SKIP)
    assert list(range(low, 400)) == numbers
    assert (taken(shortened, 3, 400),) == fetched.ranges
    assert [f"{shortened}[0] from offset {low}"] == [file.origin for file in fetched.files]


def test_a_run_never_skips_what_it_has_read(apache: Broker, shortened: str, tmp_path: Path) -> None:
    """A rerun repeats its ranges or fails."""
    with pytest.raises(FeedError, match="are gone from the topic"):
        read(apache, shortened, tmp_path, StreamMarks(again=(taken(shortened, 3, 400),)), gone=Gone.SKIP)


def test_a_stream_read_for_the_first_time_begins_where_the_topic_does(
    apache: Broker, shortened: str, tmp_path: Path
) -> None:
    """Nobody misses what was gone before the first reading."""
    low = apache.lowest(shortened)
    numbers, fetched = read(apache, shortened, tmp_path)
    assert (list(range(low, 400)), (taken(shortened, low, 400),)) == (numbers, fetched.ranges)
