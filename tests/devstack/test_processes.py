"""Processes: known again by pid and start time, stopped or killed, and what is said when one doesn't come up."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.errors import StackError
from devstack.processes import ProcessRecord, is_running, kill, spawn, stop, wait_until

WAITS_FOR_A_SIGNAL = "import signal; signal.pause()"
IGNORES_SIGTERM = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the process writes."""
    return tmp_path / "logs" / "server.log"


@pytest.fixture
def server(log: Path) -> Iterator[ProcessRecord]:
    """A process that waits."""
    record = spawn([sys.executable, "-c", WAITS_FOR_A_SIGNAL], log)
    yield record
    kill(record)


def test_a_started_process_is_known_again(server: ProcessRecord) -> None:
    """A process is running until it's stopped, also by a record that was read from a file."""
    copy = ProcessRecord.model_validate_json(server.model_dump_json())
    assert is_running(copy)
    stop(copy, signal.SIGTERM, 10)
    assert not is_running(server)


def test_a_stranger_with_the_same_pid_is_left_alone(server: ProcessRecord) -> None:
    """A pid that was given to another process meanwhile is neither taken for ours nor signalled."""
    stranger = server.model_copy(update={"started_at": server.started_at - 100})
    assert not is_running(stranger)
    stop(stranger, signal.SIGKILL, 1)
    kill(stranger)
    assert is_running(server)


def test_a_process_that_ignores_its_signal_is_killed(log: Path) -> None:
    """A server that doesn't end in time is killed."""
    record = spawn([sys.executable, "-c", IGNORES_SIGTERM], log)
    wait_until("it", record, log, lambda: "ready" in log.read_text(), 10)
    stop(record, signal.SIGTERM, 0.2)
    assert not is_running(record)


def test_a_process_that_ends_early_is_reported_with_its_log(log: Path) -> None:
    """The error of a server that doesn't come up is one line and carries its last words."""
    record = spawn([sys.executable, "-c", "import sys; sys.exit('no such\\nmachine')"], log)
    with pytest.raises(StackError, match=r"the server ended while it was starting: no such \| machine") as caught:
        wait_until("the server", record, log, lambda: False, 10)
    assert "\n" not in str(caught.value)


def test_a_process_that_is_never_ready_is_reported(server: ProcessRecord, log: Path) -> None:
    """A server that runs and never serves is an error after the time-out."""
    with pytest.raises(StackError, match=r"wasn't ready after 0 s: \(it said nothing\)"):
        wait_until("the server", server, log, lambda: False, 0.1)
