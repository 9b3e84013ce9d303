"""Concurrency: slots per queue, one run of each job whoever starts it, and who is served first."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from uuid import uuid4

from temporalio.client import WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError

from devstack.ports import free_ports
from starter.transfers import SingleTransferClient
from tests.audit.conftest import making_blocks
from tests.books import wallet_of
from tests.e2e.conftest import System
from tests.e2e.test_system import check_nothing_lost_or_doubled
from tests.e2e.test_telemetry import scrape
from tests.e2e.worker_process import WorkerProcess
from workflows.interface.codes import TransferStatus
from workflows.interface.policies import batch_priority

STEP_S = 60.0
SLOTS = {"transfers": 7, "blockchain": 6, "webhooks": 5, "maintenance": 3}


async def test_each_queue_has_its_slots(system: System) -> None:
    """A worker takes as many activities of a queue at once as its setting says, told by its metrics."""
    address = f"127.0.0.1:{free_ports().metrics}"
    system.worker.environment |= {f"{queue.upper()}_SLOTS": str(slots) for queue, slots in SLOTS.items()}
    system.worker.environment["METRICS_ADDRESS"] = address
    await system.worker.start()
    name, found = "temporal_worker_task_slots_available", await scrape(address)
    async with asyncio.timeout(STEP_S):
        while name not in found.names:
            await asyncio.sleep(0.1)
            found = await scrape(address)
    for queue, slots in SLOTS.items():
        labels = {"worker_type": "ActivityWorker", "task_queue": queue}
        used = found.total("temporal_worker_task_slots_used", **labels)
        assert found.total(name, **labels) + used == slots


async def test_racing_starts_with_two_workers_run_once(system: System, second_worker: WorkerProcess) -> None:
    """Ten starts at once of one batch and of one transfer, two workers: one run of each, and each ticket moves once."""
    tickets = await system.crew.world_tickets(21)
    await asyncio.gather(system.worker.start(), second_worker.start())
    batch_id, transfer_id = uuid4(), uuid4()
    client = SingleTransferClient(system.client)

    async def start_batch() -> bool:
        items = [{"ticketId": str(ticket), "to": "bob"} for ticket in tickets[:20]]
        request = {"batchId": str(batch_id), "fromUserId": "alice", "items": items}
        try:
            await system.client.start_workflow("BatchTransfer", request, id=f"batch/{batch_id}", task_queue="transfers")
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def start_transfer() -> bool:
        started = await client.start_transfer("alice", str(tickets[20]), "bob", transfer_id=transfer_id)
        return not started.repeated

    batches = await asyncio.gather(*(start_batch() for _ in range(10)))
    transfers = await asyncio.gather(*(start_transfer() for _ in range(10)))
    assert (sum(batches), sum(transfers)) == (1, 1)
    async with making_blocks(system.crew.chain):
        assert (await system.client.get_workflow_handle(f"batch/{batch_id}").result())["completed"] == 20
        assert (await client.wait(transfer_id)).status is TransferStatus.COMPLETED
    await check_nothing_lost_or_doubled(system, 21)
    assert await system.pool.fetchval("SELECT array_agg(run_no) FROM batch_transfers") == [1]


async def begun_at(handle: WorkflowHandle[Any, Any]) -> datetime:
    """When a worker took the workflow's first task."""
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.HasField("workflow_task_started_event_attributes"):
            return event.event_time.ToDatetime()
    raise AssertionError(f"{handle.id} ended without a task")


async def queue_batch(system: System, user_id: str, ticket: int) -> WorkflowHandle[Any, Any]:
    """Starts a batch of one, as the client does, while no worker runs."""
    batch_id = uuid4()
    return await system.client.start_workflow(
        "BatchTransfer",
        {"batchId": str(batch_id), "fromUserId": user_id, "items": [{"ticketId": str(ticket), "to": "carol"}]},
        id=f"batch/{batch_id}",
        task_queue="transfers",
        priority=batch_priority(user_id),
    )


async def queue_single(system: System, ticket: int) -> WorkflowHandle[Any, Any]:
    """Starts a single transfer while no worker runs."""
    started = await SingleTransferClient(system.client).start_transfer("alice", str(ticket), "carol")
    return system.client.get_workflow_handle(f"transfer/{started.transfer_id}")


async def test_what_is_queued_is_served_by_priority_and_in_turn_by_user(system: System) -> None:
    """Behind forty batches of alice's, all singles and half of bob's batches are begun within the first half."""
    tickets = await system.crew.world_tickets(48)
    of_bob_numbers = await system.crew.chain.mint(wallet_of("bob"), 12)
    await system.crew.books.tickets(of_bob_numbers, "bob")
    of_alice = [await queue_batch(system, "alice", ticket) for ticket in tickets[:40]]
    of_bob = [await queue_batch(system, "bob", ticket) for ticket in of_bob_numbers]
    singles = [await queue_single(system, ticket) for ticket in tickets[40:]]
    await system.worker.start()
    async with making_blocks(system.crew.chain):
        handles = [*singles, *of_bob, *of_alice]
        times = await asyncio.gather(*(begun_at(handle) for handle in handles))
        order = [handle for _, handle in sorted(zip(times, handles, strict=True), key=lambda pair: pair[0])]
        await asyncio.gather(*(handle.result() for handle in handles))
    half = len(handles) // 2
    assert all(order.index(handle) < half for handle in singles)
    # A queue has partitions, each in its own order, and workers don't ask them evenly: hence half of them.
    assert sum(order.index(handle) < half for handle in of_bob) >= len(of_bob) / 2
    await check_nothing_lost_or_doubled(system, 60)
