"""Chain: blocks decide, at the depth that was asked for; the queue is the chain's own; single transfers have room."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle

from starter.transfers import SingleTransferClient
from tests.audit.conftest import making_blocks
from tests.e2e.conftest import System
from tests.e2e.test_system import check_nothing_lost_or_doubled
from tests.e2e.worker_process import WorkerProcess
from workflows.interface.codes import TransferStatus

STEP_S = 30.0
UNSETTLED = "SELECT count(*) FROM chain_transactions WHERE settled_at IS NULL"


async def confirming(handle: WorkflowHandle[Any, Any]) -> int:
    """How often the step that confirms has looked so far; 0 while it isn't at work."""
    pending = (await handle.describe()).raw_description.pending_activities
    return max((one.attempt for one in pending if one.activity_type.name == "confirm_transfers"), default=0)


async def test_confirmation_polls_until_the_block_is_deep_enough(system: System) -> None:
    """At a depth of three, two blocks settle nothing however often the step looks; the third one does."""
    system.worker.environment |= {"CHAIN_DEPTH": "3"}
    await system.worker.start()
    [ticket] = await system.crew.world_tickets(1)
    handle = await system.start_batch([(ticket, "bob")])
    async with asyncio.timeout(STEP_S):
        await system.until("EXISTS (SELECT FROM chain_attempts WHERE send_class IS NOT NULL)")
        await system.crew.chain.mine(2)
        looks = await confirming(handle)
        while await confirming(handle) < looks + 3:
            await asyncio.sleep(0.05)
        assert await system.pool.fetchval(UNSETTLED) == 1
        await system.crew.chain.mine()
        assert (await handle.result())["completed"] == 1
    assert await system.pool.fetchval(UNSETTLED) == 0


async def test_the_chain_has_a_queue_and_workers_of_its_own(system: System, tmp_path: Path) -> None:
    """A worker of the queue `transfers` alone sends nothing; what waits goes on once one of `blockchain` comes."""
    chain_worker = WorkerProcess(system.environment, tmp_path / "chain.log")
    tickets = await system.crew.world_tickets(10)
    try:
        await system.worker.start("--queues", "transfers,webhooks")
        handle = await system.start_batch([(ticket, "bob") for ticket in tickets])
        async with asyncio.timeout(STEP_S):
            await system.until("count(*) = 10 FROM ticket_transfers WHERE status = 'ACCEPTED'")
            while not any(
                one.activity_type.name == "submit_transfers"
                for one in (await handle.describe()).raw_description.pending_activities
            ):
                await asyncio.sleep(0.05)
        assert await system.pool.fetchval("SELECT count(*) FROM chain_bindings") == 0
        await chain_worker.start("--queues", "blockchain")
        async with making_blocks(system.crew.chain):
            assert (await handle.result())["completed"] == 10
        await check_nothing_lost_or_doubled(system, 10)
    finally:
        await chain_worker.kill()


async def test_a_single_transfer_is_sent_while_a_batch_fills_the_lanes(system: System) -> None:
    """No block is mined, the batch has every place it may take, and the single transfer is sent all the same."""
    system.worker.environment |= {"LANE_MAX_IN_FLIGHT": "16"}
    await system.worker.start()
    tickets = await system.crew.world_tickets(81)
    handle = await system.start_batch([(ticket, "bob") for ticket in tickets[:80]], settlement="single")
    async with asyncio.timeout(STEP_S):
        await system.until("count(*) = 30 FROM chain_bindings")  # 15 of 16 places on each of two lanes
        client = SingleTransferClient(system.client)
        started = await client.start_transfer("alice", str(tickets[80]), "bob")
        await system.until("EXISTS (SELECT FROM ticket_transfers WHERE batch_id IS NULL AND status = 'SUBMITTED')")
    assert await system.pool.fetchval("SELECT count(*) FROM chain_bindings") == 31
    async with making_blocks(system.crew.chain):
        assert (await client.wait(started.transfer_id)).status is TransferStatus.COMPLETED
        assert (await handle.result())["completed"] == 80
    await check_nothing_lost_or_doubled(system, 81)
