"""The local stack comes up, goes down, recovers, and harms nobody."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from demo.errors import ApiError, StackError
from demo.ports import free_port
from demo.processes import OwnedProcess, birth, wait_until
from demo.stack import DAEMONS, Stack

REPOSITORY = Path(__file__).resolve().parents[2]
EVERY_PART = {*DAEMONS, "postgres"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An empty home folder; what a test leaves running in it is stopped."""
    yield tmp_path
    stack_at(tmp_path).down()


def stack_at(home: Path, port: int | None = None) -> Stack:
    return Stack(home, port=port or free_port(), dags_folders=[REPOSITORY / "tests" / "dags"])


def living_in(home: Path) -> list[str]:
    """The command lines of the living processes that work in the folder or name it."""
    return [
        " ".join(process.cmdline())
        for process in psutil.process_iter()
        if birth(process.pid) is not None and _belongs(process, home)
    ]


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return process.pid != os.getpid() and home in (Path(process.cwd()), *Path(process.cwd()).parents)
    except psutil.Error:
        return False


def demo(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command line of the stack, as `make` calls it."""
    command = [sys.executable, "-m", "demo", *arguments, "--home", str(home)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.mark.integration
def test_every_part_is_healthy(stack: Stack) -> None:
    """After `up`, PostgreSQL and all parts of Airflow run and call themselves healthy."""
    assert stack.is_up()
    assert EVERY_PART == set(stack.running())
    assert {"healthy"} == {part["status"] for part in stack.api.health().values()}


@pytest.mark.integration
def test_second_up_returns_at_once(stack: Stack) -> None:
    """`up` on a running stack starts nothing and takes no time."""
    before, begun = stack.processes.recorded(), time.monotonic()
    again = Stack(stack.home, port=free_port(), dags_folders=[REPOSITORY / "dags"])
    again.up()
    assert 5 > time.monotonic() - begun
    assert before == stack.processes.recorded()
    assert stack.url == again.url


@pytest.mark.integration
def test_task_reaches_the_warehouse(stack: Stack) -> None:
    """A task runs, and its connection leads to the same database as `warehouse_dsn`."""
    stack.api.wait_for_dag("warehouse_check")
    run_id = stack.api.trigger("warehouse_check", {"asked_by": "test"})
    assert "success" == stack.api.wait_for_run("warehouse_check", run_id)
    assert ["success"] == [task["state"] for task in stack.api.task_instances("warehouse_check", run_id)]
    with psycopg.connect(stack.warehouse_dsn) as connection:
        assert ("warehouse",) == connection.execute("SELECT current_database()").fetchone()


@pytest.mark.integration
def test_airflow_command_works_with_the_environment(stack: Stack) -> None:
    """`make airflow` runs a command that finds the stack's metadata database."""
    command = [sys.executable, "-m", "demo", "airflow", "--home", str(stack.home), "db", "check"]
    assert 0 == subprocess.run(command, check=False).returncode


@pytest.mark.integration
def test_refusal_shows_what_the_server_says(stack: Stack) -> None:
    """An error of the API carries its status and its detail."""
    with pytest.raises(ApiError, match=r"404, .*'nowhere' not found") as refusal:
        stack.api.trigger("nowhere")
    assert 404 == refusal.value.status


@pytest.mark.integration
def test_secrets_are_private(stack: Stack) -> None:
    """Files with a password or a key can be read by their owner alone."""
    for name in ("secrets.json", "airflow/passwords.json"):
        assert 0o600 == stat.S_IMODE((stack.home / name).stat().st_mode)


@pytest.mark.integration
def test_down_leaves_nothing_and_the_next_up_is_quick(home: Path) -> None:
    """`up` recovers from a dead start, `down` ends every process, the data stay for the next `up`."""
    first = stack_at(home)
    first.postgres.start()  # as an earlier start that died half-way has left it:
    gone = OwnedProcess(name="api-server", pid=2**22 - 7, born=1.0)
    first.processes.begin(free_port())
    first.processes.note(gone)
    first.up()
    with psycopg.connect(first.warehouse_dsn) as connection:
        connection.execute("CREATE TABLE kept ()")
    for leader in first.processes.recorded().values():
        if leader.name == "scheduler":
            os.kill(leader.pid, signal.SIGKILL)  # its workers live on
    first.down()
    assert [] == living_in(home)

    messages: list[str] = []
    again = stack_at(home)
    again.up(messages.append)
    assert not any("tables" in message for message in messages)
    with psycopg.connect(again.warehouse_dsn) as connection:
        connection.execute("SELECT * FROM kept")
    again.down()
    assert [] == living_in(home)


def test_down_spares_a_foreign_process(home: Path) -> None:
    """A pid in the record that another program has by now is left alone."""
    stack = stack_at(home)
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as foreign:
        stack.processes.begin(free_port())
        stack.processes.note(OwnedProcess(name="scheduler", pid=foreign.pid, born=1.0))
        stack.down()
        assert foreign.poll() is None
        assert [] == stack.running()
        foreign.kill()


def test_taken_port_is_refused(home: Path) -> None:
    """A port that another program listens on is named, with a way out, before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StackError, match=rf"Port {port} is taken.*make up PORT="):
            stack_at(home, port).up()
    assert [] == living_in(home)


@pytest.mark.integration
def test_death_of_a_part_shows_its_last_words(home: Path) -> None:
    """When a part dies during the start, the error names its log and what it says; nothing is left."""
    broken = Stack(
        home,
        port=free_port(),
        dags_folders=[REPOSITORY / "tests" / "dags"],
        extra_env={"AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor"},
        prepare_commands=(),
    )
    with pytest.raises(StackError, match=r"(?s)logs/.*\.log closes with:.*NoSuchExecutor"):
        broken.up()
    assert [] == living_in(home)


@pytest.mark.integration
@pytest.mark.parametrize("after", ["Starting PostgreSQL", "Creating Airflow's tables", "Waiting until"])
def test_interrupt_undoes_the_start(home: Path, after: str) -> None:
    """Ctrl-C during `up` ends what it has started, says so in a line, and exits with 130."""
    with demo(home, "up", "--port", str(free_port())) as command:
        assert command.stdout
        for line in command.stdout:
            if after in line:
                command.send_signal(signal.SIGINT)
                break
        *_, last = command.stdout
        assert 130 == command.wait(60)
    assert last.startswith("Interrupted")
    assert wait_until(lambda: not living_in(home), 5), living_in(home)


def test_status_of_a_stopped_stack(home: Path) -> None:
    """`status` says by its exit code that nothing runs, and leaves no trace in the folder."""
    with demo(home, "status") as command:
        output, _ = command.communicate(timeout=60)
    assert (3, True) == (command.returncode, "make up" in output)
    assert [] == list(home.iterdir())


def test_record_is_plain_json(home: Path) -> None:
    """The record of what was started can be read by a person."""
    stack = stack_at(home)
    stack.processes.begin(4711)
    assert {"port": 4711, "processes": []} == json.loads((home / "stack.json").read_text())
