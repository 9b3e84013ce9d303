"""The scheduled jobs in the whole system: their schedules, the worker as a process, the chain."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from chain.abi import encode_set_operator
from ledger.fingerprint import StagedItem
from ledger.staging import BatchHeader, BatchWriter
from starter.transfers import SingleTransferClient
from tests.e2e.conftest import System, batch_id_of
from tests.e2e.test_system import check_nothing_lost_or_doubled
from workflows.interface.names import ScheduleId
from workflows.interface.options import DEFAULT_OPTIONS

pytestmark = pytest.mark.usefixtures("blocks")


async def trigger(system: System, schedule_id: ScheduleId) -> None:
    """Begins a run of the job now."""
    await system.client.get_schedule_handle(schedule_id).trigger()


async def let_lanes_use_the_router(system: System, *, allowed: bool) -> None:
    """What the contract's admin says of all lanes."""
    chain = system.crew.chain
    for row in await system.pool.fetch("SELECT signer FROM chain_lanes"):
        await chain.transact(chain.router, encode_set_operator(row["signer"], allowed=allowed))


async def test_a_transfer_that_the_chain_refused_is_mended_by_the_schedule(system: System) -> None:
    """The router took nothing for a while: the retries settle transfers, items and batch, and tell of it."""
    await system.worker.start()
    tickets = await system.crew.world_tickets(2)
    await let_lanes_use_the_router(system, allowed=False)
    handle = await system.start_batch([(ticket, "bob") for ticket in tickets])
    assert (await handle.result())["status"] == "COMPLETED_WITH_FAILURES"
    assert (await system.crew.books.items(batch_id_of(handle)))[1][1] == "REVERTED"
    await let_lanes_use_the_router(system, allowed=True)
    await trigger(system, ScheduleId.RETRY_FAILED_BLOCKCHAIN_TRANSFERS)
    await system.until("EXISTS (SELECT FROM batch_transfers WHERE status = 'COMPLETED')")
    counts = await system.crew.books.counts(batch_id_of(handle))
    assert (counts.completed, counts.failed) == (2, 0)
    assert await system.pool.fetchval("SELECT array_agg(retry_count) FROM failed_blockchain_transfers") == [1, 1]
    events = await system.crew.books.events()
    assert (events["transfer.failed"], events["transfer.completed"]) == (2, 2)
    await check_nothing_lost_or_doubled(system, 2)


async def test_a_gift_expires_and_a_forgotten_batch_is_started(system: System) -> None:
    """By their schedules: the gift's ticket is free for the batch, which was staged and never started."""
    await system.worker.start()
    [ticket] = await system.crew.world_tickets(1)
    await SingleTransferClient(system.client).create_gift_transfer("alice", str(ticket), "bob")
    await system.until("EXISTS (SELECT FROM ticket_transfers WHERE status = 'PENDING')")
    await system.pool.execute("UPDATE ticket_transfers SET expires_at = now()")
    await trigger(system, ScheduleId.EXPIRE_TRANSFERS)
    await system.until("EXISTS (SELECT FROM ticket_transfers WHERE status = 'EXPIRED')")
    batch_id = UUID(int=4)
    header = BatchHeader(batch_id, "alice", DEFAULT_OPTIONS)
    await BatchWriter(system.pool).write(header, [StagedItem(str(ticket), "bob")])
    await system.pool.execute("UPDATE batch_transfers SET created_at = now() - interval '2 hours'")
    await trigger(system, ScheduleId.CLEAN_STALE_BATCHES)
    await system.until("EXISTS (SELECT FROM batch_transfers WHERE status = 'COMPLETED')")
    await check_nothing_lost_or_doubled(system, 1)


async def test_a_deleted_schedule_comes_back_with_the_next_worker(system: System) -> None:
    """A worker's start puts it in place again."""
    await system.worker.start()
    handle = system.client.get_schedule_handle(ScheduleId.EXPIRE_TRANSFERS)
    await handle.delete()
    assert await system.worker.stop() == 0
    await system.worker.start()
    assert (await handle.describe()).schedule.spec.intervals


async def test_postgres_down_during_a_run_is_waited_out(system: System) -> None:
    """A run that meets connections which break goes on with new ones."""
    await system.worker.start()
    for _ in range(3):
        await trigger(system, ScheduleId.CLEAN_STALE_BATCHES)
        await system.pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    handle = system.client.get_schedule_handle(ScheduleId.CLEAN_STALE_BATCHES)
    async with asyncio.timeout(60):
        info = (await handle.describe()).info
        while info.running_actions or not info.recent_actions:
            await asyncio.sleep(0.05)
            info = (await handle.describe()).info
    run = info.recent_actions[-1].action
    result = await system.client.get_workflow_handle(run.workflow_id).result()  # type: ignore[attr-defined]
    assert result["started"] == 0
