"""CPU seconds and peak memory of the processes under measurement, children included."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import psutil

from bench.figures import Usage

SAMPLE_EVERY_S = 0.2
_MEGABYTE = 1_000_000


class Meter:
    """Watches processes from `start` to `stop`. A process that ends meanwhile counts as far as it was seen."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._cpu_before = dict.fromkeys(pids, 0.0)
        self._cpu_now = dict.fromkeys(pids, 0.0)
        self._peak_bytes = dict.fromkeys(pids, 0)
        self._stopped = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="meter", daemon=True)

    def start(self) -> None:
        """Begins; CPU time before this doesn't count."""
        self._look()
        self._cpu_before = dict(self._cpu_now)
        self._sampler.start()

    def stop(self) -> dict[str, Usage]:
        """Ends; what each process took since the start."""
        self._stopped.set()
        self._sampler.join()
        return {
            name: Usage(
                cpu_s=self._cpu_now[name] - self._cpu_before[name], peak_rss_mb=self._peak_bytes[name] / _MEGABYTE
            )
            for name in self._processes
        }

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLE_EVERY_S):
            self._look()
        self._look()

    def _look(self) -> None:
        for name, process in self._processes.items():
            self._cpu_now[name] = max(self._cpu_now[name], cpu_seconds(process))
            self._peak_bytes[name] = max(self._peak_bytes[name], resident_bytes(process))


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process, its living children and those that ended."""
    total = 0.0
    for one in _family(process):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        # Only Linux tells of children that ended.
        ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        total += times.user + times.system + ended
    return total


def resident_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and its children; memory they share (Postgres' buffers) counts once."""
    private = shared = 0
    for one in _family(process):
        try:
            memory = one.memory_info()
        except psutil.NoSuchProcess:
            continue
        # Only Linux tells what is shared.
        common = getattr(memory, "shared", 0)
        private += memory.rss - common
        shared = max(shared, common)
    return private + shared


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
