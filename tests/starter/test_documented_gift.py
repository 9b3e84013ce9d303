"""The commands and the example that the documentation gives for gifts do what it says."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from uuid import uuid4

from devstack.tools import temporal_program
from tests.books import Books
from tests.starter.conftest import SENDER, Service

ROOT = Path(__file__).resolve().parents[2]


async def test_the_temporal_cli_gives_a_gift_away(service: Service) -> None:
    """The block of `temporal` commands in docs/interface.md offers a gift, waits, accepts it and asks how it stands."""
    section = (ROOT / "docs" / "interface.md").read_text().partition("## `Transfer`\n")[2]
    block = re.search(r"```sh\n(temporal workflow start .*?)```", section, re.DOTALL)
    assert block is not None
    program = await asyncio.to_thread(temporal_program)
    path = f"{Path(program).parent}:{os.environ['PATH']}"
    await world(service)
    async with service.working():
        code, out = await ended(("bash", "-euc", block[1]), {**service.environment, "PATH": path, "ID": str(uuid4())})
    assert code == 0, out
    assert out.count("PENDING") == 1
    assert out.count("ACCEPTED") == 2
    assert await service.pool.fetchval("SELECT status::text FROM ticket_transfers") == "ACCEPTED"


async def test_the_example_gives_a_gift_away(service: Service) -> None:
    """examples/gift.py offers the ticket and tells of the recipient's no."""
    await world(service)
    async with service.working():
        script = (sys.executable, str(ROOT / "examples" / "gift.py"), SENDER, "bob", "17", "--decline")
        code, out = await ended(script, service.environment)
    assert code == 0, out
    offered, declined = out.splitlines()
    assert '"status":"PENDING"' in offered
    assert '"status":"DECLINED"' in declined


async def world(service: Service) -> None:
    """Alice has ticket 17, bob has a wallet."""
    await Books(service.pool).people("bob")
    await service.pool.execute(
        "INSERT INTO tickets VALUES ('17', decode(repeat('70', 20), 'hex'), decode(repeat('a1', 20), 'hex'), $1)",
        SENDER,
    )


async def ended(command: tuple[str, ...], environment: dict[str, str]) -> tuple[int | None, str]:
    """Exit code and everything printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()
