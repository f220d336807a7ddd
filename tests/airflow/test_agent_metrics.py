"""Metrics of agents reach whatever collects Airflow's own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from airflow_orchestration.workflow.agent_metrics import METRICS

REPOSITORY = Path(__file__).parents[2]
OURS = "airflow.orchestration.agent."
"""Airflow tells of itself as well."""
LARGEST_DATAGRAM = 65_536
WHO = {"agent_type": "data_validation_specialist", "tenant": "north"}
WORK = {**WHO, "kind": "data_validation"}


def tell(settings: Mapping[str, str]) -> None:
    """Let an agent tell of its life in a process of its own, with these settings of Airflow's section `metrics`."""
    told = {f"AIRFLOW__METRICS__{name.upper()}": value for name, value in settings.items()}
    subprocess.run(
        [sys.executable, "-m", "tests.airflow.agent_tells"],
        cwd=REPOSITORY,
        env={**os.environ, **told},
        check=True,
        timeout=60,
    )


def test_metrics_reach_a_statsd_server() -> None:
    """Each metric is a datagram with its type, its value and, in the form of InfluxDB, its tags."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0)
        port = str(server.getsockname()[1])
        tell(
            {
                "statsd_on": "true",
                "statsd_host": "127.0.0.1",
                "statsd_port": port,
                "statsd_influxdb_enabled": "true",
            }
        )
        received = datagrams(server)
    who, work = tagged(WHO), tagged(WORK)
    assert {
        f"started,{who}:1|c",
        f"waiting_seconds,{who}:3000.000000|ms",
        f"seconds,{work}:20000.000000|ms",
        f"records,{work}:1000|c",
        f"quality,{work}:0.5|g",
        f"finished,{who},outcome=success:1|c",
        f"target_missed,{who},target=response_time:1|c",
        f"target_missed,{who},target=throughput:1|c",
        f"target_missed,{who},target=quality:1|c",
    } == {line.removeprefix(OURS) for line in received if line.startswith(OURS)}


def test_metrics_reach_an_opentelemetry_collector() -> None:
    """Each metric arrives with its tags as attributes; times are milliseconds."""
    with collector() as (port, received):
        tell(
            {
                "otel_on": "true",
                "otel_host": "127.0.0.1",
                "otel_port": str(port),
                "otel_ssl_active": "false",
                "otel_interval_milliseconds": "60000",
            }
        )
    assert {f"airflow.{metric.name}": set(metric.tags) for metric in METRICS} == {
        name: set().union(*tags) for name, tags in received.items() if name.startswith(OURS)
    }


def test_a_server_that_is_away_stops_no_work() -> None:
    """The agent's process ends well, though nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = str(closed.getsockname()[1])
    tell({"statsd_on": "true", "statsd_host": "127.0.0.1", "statsd_port": port})


def tagged(tags: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in tags.items())


def datagrams(server: socket.socket) -> list[str]:
    """Everything that has been sent: the sender has ended, so all of it is here."""
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(server.recv(LARGEST_DATAGRAM).decode())
    return found


@contextmanager
def collector() -> Iterator[tuple[int, dict[str, list[set[str]]]]]:
    """Take what is sent by OTLP over HTTP: by metric, the names of the tags of each point."""
    received: defaultdict[str, list[set[str]]] = defaultdict(list)

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for metric in _metrics(body):
                points = getattr(metric, metric.WhichOneof("data")).data_points
                received[metric.name] += [{tag.key for tag in point.attributes} for point in points]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = HTTPServer(("127.0.0.1", 0), Taking)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _metrics(body: bytes) -> Iterator[Any]:
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics
