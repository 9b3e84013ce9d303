"""Batches: what is told while one runs, and that it waits in a queue and works on its slices side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from tests.audit.conftest import making_blocks, subscribe
from tests.e2e.conftest import System, batch_id_of
from tests.starter.commands import Transfers
from tests.webhooks.receiver import Receiver

STEP_S = 30.0


async def until_progress(handle: WorkflowHandle[Any, Any], says: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Asks the query until its answer is the wanted one."""
    async with asyncio.timeout(STEP_S):
        while not says(progress := await handle.query("progress")):
            await asyncio.sleep(0.05)
    return dict(progress)


async def batch_status(handle: WorkflowHandle[Any, Any]) -> str | None:
    """The search attribute that the Web UI filters by; None before the workflow has set it."""
    found = {key.name: value for key, value in (await handle.describe()).typed_search_attributes}
    return found.get("BatchStatus")


async def test_progress_is_told_while_it_runs(system: System, command: Transfers) -> None:
    """With two of six slices on the chain, the query, the table and the command tell the same counts."""
    system.worker.environment |= {"WINDOW": "2"}
    await system.worker.start()
    tickets = await system.crew.world_tickets(60)
    handle = await system.start_batch([(ticket, "bob") for ticket in tickets])
    told = await until_progress(handle, lambda progress: progress["processing"] == 20)
    assert (told["status"], told["queued"], told["completed"]) == ("PROCESSING", 40, 0)
    shown = (await command("batch", "show", str(batch_id_of(handle)), "--json")).json
    assert {name: shown[name] for name in ("queued", "processing", "completed")} == {
        "queued": 40,
        "processing": 20,
        "completed": 0,
    }
    async with making_blocks(system.crew.chain):
        assert (await handle.result())["completed"] == 60
    ended = await handle.query("progress")
    assert (ended["completed"], ended["processing"], ended["queued"]) == (60, 0, 0)


async def test_each_status_is_told_where_people_look(system: System, receiver: Receiver) -> None:
    """Processing, paused, processing and completed stand in row and search attribute; start and end are events."""
    await subscribe(system, receiver.url, "batch.*")
    await system.worker.start()
    tickets = await system.crew.world_tickets(60)
    handle = await system.start_batch([(ticket, "bob") for ticket in tickets])
    row = "EXISTS (SELECT FROM batch_transfers WHERE status = '{}')"
    for signal, status in ((None, "PROCESSING"), ("pause-batch", "PAUSED"), ("resume-batch", "PROCESSING")):
        if signal:
            await handle.signal(signal)
        await system.until(row.format(status))
        async with asyncio.timeout(STEP_S):
            while await batch_status(handle) != status:
                await asyncio.sleep(0.05)
    async with making_blocks(system.crew.chain):
        assert (await handle.result())["status"] == "COMPLETED"
        await system.until(row.format("COMPLETED"))
        assert await batch_status(handle) == "COMPLETED"
        async with asyncio.timeout(STEP_S):
            await system.until("NOT EXISTS (SELECT FROM webhook_deliveries WHERE status = 'PENDING')")
    events = await system.crew.books.events()
    assert events["batch.completed"] == 1
    sent = await system.pool.fetchval("SELECT count(*) FROM events WHERE type::text LIKE 'batch.%'")
    assert len(receiver.ids) == sent


async def test_a_batch_waits_in_its_queue_for_a_worker(system: System, e2e_client: Client) -> None:
    """Started while no worker runs, it's open and untouched; the next worker takes it from the queue to its end."""
    tickets = await system.crew.world_tickets(20)
    handle = await system.start_batch([(ticket, "bob") for ticket in tickets])
    description = await handle.describe()
    assert (description.status, description.task_queue) == (WorkflowExecutionStatus.RUNNING, "transfers")
    assert description.history_length == 2  # started, and its first task is in the queue
    assert await system.pool.fetchval("SELECT count(*) FROM batch_transfers") == 0
    await system.worker.start()
    async with making_blocks(system.crew.chain):
        assert (await handle.result())["completed"] == 20
    history = await e2e_client.get_workflow_handle(handle.id).fetch_history()
    scheduled = [event.activity_task_scheduled_event_attributes for event in history.events]
    queues = {(one.activity_type.name, one.task_queue.name) for one in scheduled if one.activity_type.name}
    assert {("create_transfers", "transfers"), ("submit_transfers", "blockchain")} <= queues


async def test_slices_are_worked_on_side_by_side(system: System) -> None:
    """While no block is mined, four slices of ten are bound all the same; none waits for another's end."""
    await system.worker.start()
    tickets = await system.crew.world_tickets(60)
    handle = await system.start_batch([(ticket, "bob") for ticket in tickets])
    async with asyncio.timeout(STEP_S):
        await system.until("count(*) = 40 FROM chain_bindings")
    assert await system.pool.fetchval("SELECT count(*) FROM chain_outcomes") == 0
    assert await system.pool.fetchval("SELECT count(DISTINCT transaction_id) FROM chain_bindings") == 4
    async with making_blocks(system.crew.chain):
        assert (await handle.result())["completed"] == 60
