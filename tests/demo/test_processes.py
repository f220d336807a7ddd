"""A process is ours only when its pid and its birth are the ones we noted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer

import pytest

from demo.processes import OwnedProcess, birth, end, family, shielded, wait_until

STEPS = ((signal.SIGTERM, 0.3), (signal.SIGKILL, 5.0))


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A shell in a session of its own that waits for a child."""
    child = subprocess.Popen(["sh", "-c", "sleep 600 & wait"], cwd=tmp_path, start_new_session=True)
    yield child
    child.kill()
    child.wait()


def noted(child: subprocess.Popen[bytes]) -> OwnedProcess:
    process = OwnedProcess.of("sleeper", child.pid)
    assert process
    return process


def test_a_process_is_known_by_its_pid_and_birth(sleeper: subprocess.Popen[bytes]) -> None:
    """The same pid with another birth is another process."""
    process = noted(sleeper)
    assert process.is_alive()
    assert not replace(process, born=process.born - 1).is_alive()


def test_the_dead_have_no_birth(sleeper: subprocess.Popen[bytes]) -> None:
    """A process that has ended counts as dead even before its parent has asked for it."""
    sleeper.kill()
    assert wait_until(lambda: birth(sleeper.pid) is None, 5)
    assert OwnedProcess.of("sleeper", sleeper.pid) is None


def test_end_spares_a_recycled_pid(sleeper: subprocess.Popen[bytes]) -> None:
    """A process that merely has the noted pid gets no signal."""
    end([replace(noted(sleeper), born=1.0)], STEPS)
    assert sleeper.poll() is None


def test_family_of_a_recycled_pid_is_empty(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """The children of a process that merely has the noted pid are not ours."""
    assert set() == family(replace(noted(sleeper), born=1.0), tmp_path)


def test_family_ends_with_its_leader(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """What a process has started ends with it."""
    leader = noted(sleeper)
    assert wait_until(lambda: len(family(leader, tmp_path)) == 2, 5)
    members = family(leader, tmp_path)
    end(members, STEPS)
    assert not any(member.is_alive() for member in members)


def test_family_finds_those_who_outlived_their_leader(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """A worker whose parent was killed is still found, by its session and folder."""
    leader = noted(sleeper)
    assert wait_until(lambda: len(family(leader, tmp_path)) == 2, 5)
    sleeper.kill()
    sleeper.wait()
    orphans = family(leader, tmp_path)
    assert 1 == len(orphans)
    assert set() == family(leader, tmp_path / "elsewhere")
    end(orphans, STEPS)


def test_end_insists() -> None:
    """A process that ignores the first signal is ended by the next."""
    ignorant = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", ignorant], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        end([noted(child)], STEPS)
        assert -signal.SIGKILL == child.wait(5)


def test_shielded_work_is_finished_before_the_interrupt_is_raised() -> None:
    """Ctrl-C waits until the work is done."""
    interrupted, done = Event(), Future[bool]()

    def work() -> None:
        interrupted.wait(5)
        time.sleep(0.1)
        done.set_result(True)

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        interrupted.set()

    Timer(0.1, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        shielded(work)
    assert done.result(timeout=0)
