"""Rate limits of a whole system with two worker processes, changed by the command line while a batch runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.conftest import System
from tests.e2e.worker_process import WorkerProcess
from tests.starter.commands import Transfers

pytestmark = pytest.mark.usefixtures("blocks")
RATE, WINDOW_S, ITEMS = 40.0, 10.0, 900
# Far more work in flight than the limit allows: else its bucket fills, and is emptied within the window.
WIDE = {"WINDOW": "12"}


@pytest.fixture
async def other_worker(system: System, tmp_path: Path) -> AsyncIterator[WorkerProcess]:
    """A second worker beside the system's."""
    system.worker.environment.update(WIDE)
    worker = WorkerProcess(system.environment | WIDE, tmp_path / "other.log")
    yield worker
    await worker.kill()


async def bound_per_s(system: System, since: datetime) -> float:
    """From the first commit after a moment to the last: what a share binds at once would blur a window's ends."""
    rows = await system.pool.fetch(
        "SELECT extract(epoch FROM bound_at)::float8 AS at, count(*)::int AS items FROM chain_transactions"
        " JOIN chain_bindings USING (transaction_id) WHERE bound_at >= $1 GROUP BY bound_at ORDER BY bound_at",
        since,
    )
    items = sum(row["items"] for row in rows[1:])
    return float(items / (rows[-1]["at"] - rows[0]["at"]))


async def test_two_workers_hold_a_limit_together_until_it_is_lifted(
    system: System, other_worker: WorkerProcess, tmp_path: Path
) -> None:
    """Over ten seconds both bind the rate within 5%; lifted, the rest follows at once; no item is charged a try."""
    transfers = Transfers(tmp_path, system.environment)
    assert (await transfers("limits", "set", "transfers", str(RATE))).code == 0
    await asyncio.gather(system.worker.start(), other_worker.start())
    tickets = await system.crew.world_tickets(ITEMS)
    handle = await system.start_batch([(ticket, "bob") for ticket in tickets])
    await system.until(f"count(*) >= {3 * RATE:.0f} FROM chain_bindings")
    begins = await system.pool.fetchval("SELECT clock_timestamp()")
    await asyncio.sleep(WINDOW_S)
    held = await bound_per_s(system, begins)
    assert (await transfers("limits", "clear", "transfers")).code == 0
    result = await asyncio.wait_for(handle.result(), 20)
    assert held == pytest.approx(RATE, rel=0.05)
    assert (result["status"], result["completed"]) == ("COMPLETED", ITEMS)
    assert await system.pool.fetchval("SELECT sum(tries) FROM batch_transfer_items") == 0
    assert await system.crew.differences() == []
