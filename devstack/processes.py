"""Starts the stack's servers as processes of their own, knows them again by pid and start time, and stops them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from pydantic import BaseModel, ConfigDict

from devstack.errors import StackError

_POLL_S = 0.05
_KILL_WAIT_S = 10.0
# psutil derives start times from the boot time, which moves a little when the clock is set.
_START_TIME_TOLERANCE_S = 2.0
_TAIL_LINES = 4


class ProcessRecord(BaseModel):
    """A process we started. The start time tells it from a stranger that got the same pid later."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started_at: float


class Account(NamedTuple):
    """The unprivileged account a server runs as."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    account: Account | None = None,
    cwd: Path | None = None,
) -> ProcessRecord:
    """Starts a server in a session of its own (the terminal's Ctrl-C doesn't reach it); its output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    switch = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    with log.open("ab") as output:
        process = subprocess.Popen(  # type: ignore[call-overload]  # the stubs want each switch by name
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else {**os.environ, **environment},
            cwd=cwd,
            start_new_session=True,
            **switch,
        )
    # Detached on purpose: the record, not the Popen object, knows the process from here on.
    process.returncode = 0
    return record_of(process.pid)


def record_of(pid: int) -> ProcessRecord:
    """The record of a process that has just been started."""
    try:
        return ProcessRecord(pid=pid, started_at=psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return ProcessRecord(pid=pid, started_at=0.0)


def is_running(record: ProcessRecord | None) -> bool:
    """Whether that very process still runs (a zombie doesn't)."""
    return record is not None and _process(record) is not None


def stop(record: ProcessRecord, first_signal: signal.Signals, timeout_s: float) -> None:
    """Asks the process to end, and kills it and its children when it doesn't in time."""
    process = _process(record)
    if process is None:
        return
    children = process.children(recursive=True)
    process.send_signal(first_signal)
    if not _gone(record, timeout_s):
        kill(record)
    psutil.wait_procs(children, timeout=_KILL_WAIT_S)


def kill(record: ProcessRecord) -> None:
    """SIGKILL, to this very process alone."""
    process = _process(record)
    if process is not None:
        process.kill()
        _gone(record, _KILL_WAIT_S)


def wait_until(name: str, record: ProcessRecord, log: Path, is_ready: Callable[[], bool], timeout_s: float) -> None:
    """Waits until `is_ready`.

    Raises:
        StackError: the process ended or wasn't ready in time; the message carries the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while not is_ready():
        if not is_running(record):
            raise StackError(f"{name} ended while it was starting: {log_tail(log)} (whole log: {log})")
        if time.monotonic() > deadline:
            raise StackError(f"{name} wasn't ready after {timeout_s:.0f} s: {log_tail(log)} (whole log: {log})")
        time.sleep(_POLL_S)  # a server's readiness or end can only be polled; bounded by the deadline


def log_tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log on one line."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return "(no log)"
    return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:]) or "(it said nothing)"


def _process(record: ProcessRecord) -> psutil.Process | None:
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.started_at) < _START_TIME_TOLERANCE_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _gone(record: ProcessRecord, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_running(record):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)  # a server's readiness or end can only be polled; bounded by the deadline
    return True
