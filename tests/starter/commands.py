"""Runs `transfers` as a process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

UNSET = ("DATABASE_URL", "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_PROFILE")


class Ended(NamedTuple):
    """How a command ended."""

    code: int | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as one JSON document."""
        return json.loads(self.out)


class Transfers:
    """The command in a folder of its own, with these settings and no others."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self._settings = settings

    def file(self, name: str, content: bytes) -> str:
        """A file in the command's folder."""
        (self.folder / name).write_bytes(content)
        return name

    async def begin(self, *arguments: str, **settings: str) -> asyncio.subprocess.Process:
        """Starts the command and leaves it running."""
        inherited = {name: value for name, value in os.environ.items() if name not in UNSET}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "starter", *arguments),
            cwd=self.folder,
            env={**inherited, "COLUMNS": "200", **self._settings, **settings},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments: str, stdin: bytes = b"", **settings: str) -> Ended:
        """Runs the command to its end."""
        process = await self.begin(*arguments, **settings)
        out, err = await process.communicate(stdin)
        return Ended(process.returncode, out.decode(), err.decode())
