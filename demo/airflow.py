"""The processes of one local Airflow: started, noted in a file, watched and ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

from demo.errors import StackError
from demo.processes import OwnedProcess, end, family, shielded
from demo.settings import write_private

API_SERVER = "api-server"
STOP_STEPS = ((SIGTERM, 4.0), (SIGKILL, 5.0))  # a busy task does not end at SIGTERM
LOG_LINES = 15


class AirflowProcesses:
    """The `airflow` commands at work in one home folder, whichever process of ours started them."""

    def __init__(self, home: Path) -> None:
        self._record = home / "stack.json"
        self._logs = home / "logs"
        self._folder = home / "airflow"
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def recorded(self) -> dict[str, OwnedProcess]:
        """What was started and not yet stopped, by its name; some of it may be dead."""
        return {entry["name"]: OwnedProcess(**entry) for entry in self._read().get("processes", [])}

    def recorded_port(self) -> int | None:
        """The port of the API server, if a stack was started here and not stopped."""
        return self._read().get("port")

    def alive(self) -> set[str]:
        return {name for name, process in self.recorded().items() if process.is_alive()}

    def begin(self, port: int) -> None:
        """Open a new record, before the first process starts."""
        self._write(port, ())

    def note(self, process: OwnedProcess) -> None:
        """Add a process to the record."""
        self._write(self._read()["port"], (*self.recorded().values(), process))

    def spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start `airflow <command>` in a session of its own, so that Ctrl-C does not reach it."""
        shielded(lambda: self._spawn(name, command, environment))

    def finish(self, name: str) -> None:
        """Wait for a command that ends by itself; raise with its last words when it fails."""
        if self._children[name].wait() != 0:
            raise self._failure(name)

    def require_alive(self, names: Iterable[str]) -> None:
        """Raise with the last words of a process that has died."""
        alive = self.alive()
        for name in names:
            if name not in alive:
                raise self._failure(name)

    def stop(self) -> None:
        """End every recorded process with all that it started, and forget them."""
        leaders = self.recorded()
        last = [leaders.pop(API_SERVER)] if API_SERVER in leaders else []  # tasks tell it how they end
        for group in (leaders.values(), last):
            end({member for leader in group for member in family(leader, self._folder)}, STOP_STEPS)
        for child in self._children.values():
            child.poll()
        self._record.unlink(missing_ok=True)

    def _spawn(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._logs.mkdir(exist_ok=True)
        with self._log(name).open("wb") as log:
            child = subprocess.Popen(
                (sys.executable, "-m", "airflow", *command),
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[name] = child
        if process := OwnedProcess.of(name, child.pid):
            self.note(process)

    def _failure(self, name: str) -> StackError:
        log = self._log(name)
        with log.open(errors="replace") as lines:
            tail = "".join(deque(lines, LOG_LINES)).rstrip()
        return StackError(f"{name} has failed; its log {log} closes with:\n{tail}")

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _read(self) -> dict[str, Any]:
        return json.loads(self._record.read_text()) if self._record.exists() else {}

    def _write(self, port: int, processes: Iterable[OwnedProcess]) -> None:
        record = {"port": port, "processes": [asdict(process) for process in processes]}
        write_private(self._record, json.dumps(record, indent=2))
