"""How well a rate limit is held: one batch, two workers, the limit set before and counted from outside."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from bench.figures import Figures
from bench.stage import SENDER
from bench.system import Progress, connect, fresh_items
from devstack.environment import worker_environment
from devstack.processes import kill, spawn, wait_until
from devstack.seed import mint, open_pool, open_rpc
from devstack.stack import Stack
from devstack.tools import ROOT
from ledger.pool import Pool
from ledger.rate_limits import RateLimits
from ledger.staging import BatchHeader, BatchWriter
from workflows.interface.batch import BatchInput
from workflows.interface.codes import Settlement
from workflows.interface.names import Queue, WorkflowType, batch_workflow_id
from workflows.interface.options import BatchOptions
from workflows.interface.rates import RateName

_POLL_S = 0.02
_START_TIMEOUT_S = 60.0


RATE_PER_S, SECONDS = 500.0, 60.0


class HeldRate(Figures):
    """The rate that was set, and what was counted."""

    set_per_s: float
    seconds: float
    items: int

    @property
    def held_per_s(self) -> float:
        """Items bound per second."""
        return self.items / self.seconds

    @property
    def difference(self) -> float:
        """How far it is from what was set, as a share of it."""
        return self.held_per_s / self.set_per_s - 1

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"two workers, {self.set_per_s:,.0f} items/s set: {self.held_per_s:,.1f} held over {self.seconds:.0f} s",
            f"difference {self.difference:+.1%} (to stay within 5%)",
        ]


@contextmanager
def second_worker(stack: Stack) -> Iterator[None]:
    """Another worker beside the stack's own, while the block runs."""
    log = stack.layout.folder / "second-worker.log"
    environment = worker_environment(stack.layout, stack.state)
    record = spawn([sys.executable, ROOT / "worker.py"], log, environment, cwd=ROOT)
    try:
        wait_until("the second worker", record, log, lambda: "working on" in log.read_text(), _START_TIMEOUT_S)
        yield
    finally:
        kill(record)


async def measure_rate_limit(stack: Stack, progress: Progress) -> HeldRate:
    """A batch under the limit, with a second worker beside the stack's own."""
    with second_worker(stack):
        return await _measure(stack, RATE_PER_S, SECONDS, progress)


async def _measure(stack: Stack, rate_per_s: float, seconds: float, progress: Progress) -> HeldRate:
    """Counts the items that are bound in so many seconds, from one second after the first on."""
    items, state = int(rate_per_s * (seconds + 10)), stack.state
    async with open_pool(state) as pool, open_rpc(state) as rpc:
        await mint(pool, rpc, stack.deployment, user_id=SENDER, first_id=1, count=items)
        limits = RateLimits(pool)
        await limits.set_limit(RateName.TRANSFERS, rate_per_s, "bench")
        batch_id = uuid4()
        header = BatchHeader(batch_id, SENDER, BatchOptions(Settlement.BATCHED))
        await BatchWriter(pool).write(header, fresh_items(items))
        handle = await (await connect(state.temporal_address)).start_workflow(
            WorkflowType.BATCH_TRANSFER,
            BatchInput(batch_id=batch_id),
            id=batch_workflow_id(batch_id),
            task_queue=Queue.TRANSFERS,
        )
        while not await _bound(pool):
            await asyncio.sleep(_POLL_S)
        await asyncio.sleep(1.0)
        held = await _counted(pool, rate_per_s, seconds, progress)
        await limits.clear_limit(RateName.TRANSFERS)
        await handle.result()
        return held


async def _counted(pool: Pool, rate_per_s: float, seconds: float, progress: Progress) -> HeldRate:
    before, begins = await _bound(pool), time.monotonic()
    while time.monotonic() < begins + seconds:
        await asyncio.sleep(min(1.0, seconds))
        progress(await _bound(pool) - before)
    items = await _bound(pool) - before
    return HeldRate(set_per_s=rate_per_s, seconds=time.monotonic() - begins, items=items)


async def _bound(pool: Pool) -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM chain_bindings")
    return count
