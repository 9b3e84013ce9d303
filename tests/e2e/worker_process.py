"""`worker.py` as a process of its own: started, killed and stopped like an operator's."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
START_TIMEOUT_S = 40.0


class WorkerProcess:
    """One worker at a time, with its log."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        # Nothing of the tests' own environment but what a program needs to run.
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.environment = {**kept, **environment}
        self._log = log
        self._process: Process | None = None

    async def spawn(self, *arguments: str) -> Process:
        """Starts it; what it says goes to the log."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(ROOT / "worker.py"),
                *arguments,
                env=self.environment,
                cwd="/",
                stdout=log,
                stderr=log,
            )
        return self._process

    async def start(self, *arguments: str) -> None:
        """Starts it and waits until it works."""
        said = self.log.count("working on")
        process = await self.spawn(*arguments)
        async with asyncio.timeout(START_TIMEOUT_S):
            while self.log.count("working on") == said:
                assert process.returncode is None, self.log
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """SIGKILL, as by the kernel when memory is short."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; its exit code."""
        return await self._end(signal.SIGTERM)

    async def exit_code(self) -> int:
        """Waits for its own end."""
        assert self._process is not None
        return await self._process.wait()

    @property
    def log(self) -> str:
        """All it has said."""
        return self._log.read_text() if self._log.exists() else ""

    async def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(number)
        code = await self._process.wait()
        self._process = None
        return code
