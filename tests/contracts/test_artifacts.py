"""The compiled artifacts in the tree."""

from __future__ import annotations

import asyncio
from pathlib import Path

from devstack.tools import node_modules

_COMPILE = Path(__file__).parents[2] / "contracts" / "compile.mjs"


async def test_artifacts_are_what_the_sources_compile_to() -> None:
    """Compiling the sources with the pinned compiler gives the same bytes as the artifacts in the tree."""
    modules = await asyncio.to_thread(node_modules)
    process = await asyncio.create_subprocess_exec(
        "node",
        _COMPILE,
        "--check",
        "--modules",
        modules,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
