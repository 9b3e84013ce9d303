"""CPU seconds and peak memory of the processes under measurement, children included."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import psutil

from bench.figures import Usage

SAMPLE_EVERY_S = 0.25
_MEGABYTE = 1_000_000


class Meter:
    """Watches processes from `start` to `stop`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._cpu_before: dict[str, float] = {}
        self._peak_bytes = dict.fromkeys(pids, 0)
        self._stopped = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="meter", daemon=True)

    def start(self) -> None:
        """Begins; CPU time before this doesn't count."""
        self._cpu_before = {name: cpu_seconds(process) for name, process in self._processes.items()}
        self._sampler.start()

    def stop(self) -> dict[str, Usage]:
        """Ends; what each process took since the start."""
        spent = {name: cpu_seconds(p) - self._cpu_before[name] for name, p in self._processes.items()}
        self._stopped.set()
        self._sampler.join()
        return {
            name: Usage(cpu_s=max(0.0, seconds), peak_rss_mb=self._peak_bytes[name] / _MEGABYTE)
            for name, seconds in spent.items()
        }

    def _sample(self) -> None:
        while True:
            for name, process in self._processes.items():
                self._peak_bytes[name] = max(self._peak_bytes[name], resident_bytes(process))
            if self._stopped.wait(SAMPLE_EVERY_S):
                return


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process, its living children and those that ended."""
    total = 0.0
    for one in _family(process):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
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
