"""Single transfers and a small batch of another user, on an idle system and while a big batch runs."""

from __future__ import annotations

import asyncio
import secrets
import time
from itertools import count
from typing import NamedTuple
from uuid import UUID, uuid4

from temporalio.client import Client

from bench.figures import Figures
from bench.scenarios.latencies import Latencies, latencies
from bench.system import Progress, connect, fresh_items
from devstack.chain_node import BLOCK_TIME_S
from devstack.errors import StackError
from devstack.seed import mint, open_pool, open_rpc
from devstack.stack import Stack
from ledger.fingerprint import StagedItem
from ledger.pool import Pool
from ledger.staging import BatchHeader, BatchWriter
from workflows.interface.batch import BatchInput
from workflows.interface.names import Queue, WorkflowType, batch_workflow_id, transfer_workflow_id
from workflows.interface.options import BatchOptions
from workflows.interface.policies import batch_priority, transfer_priority
from workflows.interface.transfer import TransferInput

BIG_ITEMS, SMALL_ITEMS = 100_000, 100
BIG_SENDER, SMALL_SENDER, SINGLE_SENDER = "bench-big", "bench-small", "bench-single"
SINGLES_EVERY_S = 0.25
SAMPLE_S = 20.0
SMALL_BATCHES = 3
_TIMEOUT_S = 120.0
_UNDER_WAY = 5_000
"""Items of the big batch that are done before the sample begins."""


class Sample(Figures):
    """Single transfers and small batches over the same time."""

    singles: Latencies
    batches: Latencies


class OvertakingRun(Figures):
    """The same sample on an idle system and beside a big batch."""

    idle: Sample
    busy: Sample
    big_items: int
    big_items_per_s: float
    """Of the big batch, while the sample was taken beside it."""

    def lines(self) -> list[str]:
        """For people."""
        most_single = self.idle.singles.p95_s + 2 * BLOCK_TIME_S + 1
        most_batch = 2 * self.idle.batches.p95_s + 2
        return [
            f"single transfers, idle: {self.idle.singles}",
            f"single transfers beside {self.big_items:,} items: {self.busy.singles}; p95 to reach: {most_single:.2f} s",
            f"batches of {SMALL_ITEMS} of another user, idle: {self.idle.batches}",
            f"batches of {SMALL_ITEMS} beside it: {self.busy.batches}; to reach: {most_batch:.2f} s",
            f"the big batch meanwhile: {self.big_items_per_s:,.0f} items/s",
        ]


class _Tickets(NamedTuple):
    singles: count[int]
    small: count[int]


async def measure_overtaking(stack: Stack, progress: Progress) -> OvertakingRun:
    """The idle sample first, then the big batch and the same again."""
    async with open_pool(stack.state) as pool, open_rpc(stack.state) as rpc:
        first = 1
        for sender, tickets in ((BIG_SENDER, BIG_ITEMS), (SMALL_SENDER, 2_000), (SINGLE_SENDER, 2_000)):
            await mint(pool, rpc, stack.deployment, user_id=sender, first_id=first, count=tickets)
            first += tickets
        client = await connect(stack.state.temporal_address)
        tickets_left = _Tickets(count(BIG_ITEMS + 2_001), count(BIG_ITEMS + 1))
        idle = await _sample(pool, client, tickets_left)
        big = uuid4()
        await BatchWriter(pool).write(BatchHeader(big, BIG_SENDER, BatchOptions()), fresh_items(BIG_ITEMS))
        await _start_batch(client, big, BIG_SENDER)
        before = await _until_under_way(pool, big)
        started = time.monotonic()
        busy = await _sample(pool, client, tickets_left)
        took_s, after = time.monotonic() - started, await _done(pool, big)
        progress(after)
        if after >= BIG_ITEMS:
            raise StackError("the big batch ended before the sample did: it needs to be bigger here")
        return OvertakingRun(idle=idle, busy=busy, big_items=BIG_ITEMS, big_items_per_s=(after - before) / took_s)


async def _sample(pool: Pool, client: Client, tickets: _Tickets) -> Sample:
    singles, batches = await asyncio.gather(
        _many_singles(pool, client, tickets.singles), _some_batches(pool, client, tickets.small)
    )
    return Sample(singles=latencies(singles), batches=latencies(batches))


async def _many_singles(pool: Pool, client: Client, tickets: count[int]) -> list[float]:
    """One each quarter of a second, whether or not those before have ended."""
    begun = []
    for number in range(int(SAMPLE_S / SINGLES_EVERY_S)):
        begun.append(asyncio.create_task(_single(pool, client, next(tickets))))
        if number:
            await asyncio.sleep(SINGLES_EVERY_S)
    return list(await asyncio.gather(*begun))


async def _single(pool: Pool, client: Client, ticket: int) -> float:
    transfer_id, started = uuid4(), time.time()
    request = TransferInput(
        transfer_id=transfer_id, from_user_id=SINGLE_SENDER, ticket_id=str(ticket), to="0x" + secrets.token_hex(20)
    )
    handle = await client.start_workflow(
        WorkflowType.TRANSFER,
        request,
        id=transfer_workflow_id(transfer_id),
        task_queue=Queue.TRANSFERS,
        priority=transfer_priority(SINGLE_SENDER),
    )
    async with asyncio.timeout(_TIMEOUT_S):
        await handle.result()
    return await _ended_after(
        pool, "SELECT ended_at, status FROM ticket_transfers WHERE transfer_id = $1", transfer_id, started
    )


async def _some_batches(pool: Pool, client: Client, tickets: count[int]) -> list[float]:
    """One after the other."""
    took = []
    for _ in range(SMALL_BATCHES):
        batch_id = uuid4()
        items = [StagedItem(str(next(tickets)), "0x" + secrets.token_hex(20)) for _ in range(SMALL_ITEMS)]
        await BatchWriter(pool).write(BatchHeader(batch_id, SMALL_SENDER, BatchOptions()), items)
        started = time.time()
        await _start_batch(client, batch_id, SMALL_SENDER)
        async with asyncio.timeout(_TIMEOUT_S):
            await client.get_workflow_handle(batch_workflow_id(batch_id)).result()
        statement = "SELECT ended_at, status FROM batch_transfers WHERE batch_id = $1"
        took.append(await _ended_after(pool, statement, batch_id, started))
    return took


async def _start_batch(client: Client, batch_id: UUID, sender: str) -> None:
    await client.start_workflow(
        WorkflowType.BATCH_TRANSFER,
        BatchInput(batch_id=batch_id),
        id=batch_workflow_id(batch_id),
        task_queue=Queue.TRANSFERS,
        priority=batch_priority(sender),
    )


async def _ended_after(pool: Pool, statement: str, subject: UUID, started: float) -> float:
    row = await pool.fetchrow(statement, subject)
    if row is None or row["status"] != "COMPLETED":
        raise StackError(f"{subject} ended {row and row['status']}")
    return float(row["ended_at"].timestamp() - started)


async def _until_under_way(pool: Pool, batch_id: UUID) -> int:
    async with asyncio.timeout(_TIMEOUT_S):
        while (done := await _done(pool, batch_id)) < _UNDER_WAY:
            await asyncio.sleep(0.05)
    return done


async def _done(pool: Pool, batch_id: UUID) -> int:
    done: int = await pool.fetchval("SELECT completed FROM batch_counters WHERE batch_id = $1", batch_id)
    return done
