"""Dashboard: what the Web UI shows of batches, transfers and scheduled jobs is there, read through the same API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, ScheduleActionExecutionStartWorkflow, WorkflowHandle

from starter.job_settings import JobSettings
from starter.schedules import scheduled_jobs
from starter.transfers import SingleTransferClient
from tests.audit.conftest import NAMESPACE
from tests.e2e.conftest import System
from tests.starter.commands import Transfers
from workflows.interface.names import SearchAttribute

pytestmark = pytest.mark.usefixtures("blocks")
STEP_S = 30.0


async def details_of(handle: WorkflowHandle[Any, Any]) -> str:
    """The current details, as the Web UI asks for them."""
    told: WorkflowMetadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return told.current_details


async def summary_of(handle: WorkflowHandle[Any, Any]) -> str | None:
    """The summary that its start carried."""
    return await (await handle.describe()).static_summary()


async def test_a_batch_is_found_and_read(system: System, e2e_client: Client, command: Transfers) -> None:
    """The four search attributes are registered and find the batch; summary, details and steps say what it does."""
    reply = await e2e_client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=NAMESPACE))
    assert set(SearchAttribute) <= set(reply.custom_attributes)
    await system.worker.start()
    first, second = await system.crew.world_tickets(2)
    file = command.file("list.csv", f"ticket_id,to\n{first},bob\n{second},carol\n99999999,bob\n".encode())
    started = (await command("batch", "start", file, "--from", "alice", "--json")).json
    handle = e2e_client.get_workflow_handle(f"batch/{started['batchId']}")
    await handle.result()
    filters = "BatchStatus = 'COMPLETED_WITH_FAILURES' AND FromUserId = 'alice' AND ItemCount = 3 AND FailedCount = 1"
    async with asyncio.timeout(STEP_S):
        while [found.id async for found in e2e_client.list_workflows(filters)] != [handle.id]:
            await asyncio.sleep(0.1)
    assert await summary_of(handle) == "3 tickets of alice"
    details = await details_of(handle)
    assert "**COMPLETED_WITH_FAILURES** · 100 % of 3 tickets of `alice`" in details
    assert "| 0 | 0 | 2 | 1 | 0 |" in details
    history = await handle.fetch_history()
    steps = [event for event in history.events if event.HasField("activity_task_scheduled_event_attributes")]
    assert steps
    assert all(event.user_metadata.summary.data for event in steps)


async def test_a_single_transfer_can_be_read(system: System) -> None:
    """Its summary names the sender, its details status, ticket and recipient."""
    await system.worker.start()
    [ticket] = await system.crew.world_tickets(1)
    client = SingleTransferClient(system.client)
    started = await client.start_transfer("alice", str(ticket), "bob")
    await client.wait(started.transfer_id)
    handle = system.client.get_workflow_handle(f"transfer/{started.transfer_id}")
    assert "alice" in (await summary_of(handle) or "")
    assert await details_of(handle) == f"**COMPLETED** · ticket `{ticket}` of `alice` to `bob` (direct)"


async def test_each_scheduled_job_can_be_read(system: System) -> None:
    """A run of each job has the job's purpose as its summary, and its details say what it did."""
    await system.worker.start()
    for job in scheduled_jobs(JobSettings()):
        schedule = system.client.get_schedule_handle(job.schedule_id)
        await schedule.trigger()
        async with asyncio.timeout(STEP_S):
            while not (actions := (await schedule.describe()).info.recent_actions):
                await asyncio.sleep(0.1)
        run = actions[-1].action
        assert isinstance(run, ScheduleActionExecutionStartWorkflow)
        handle = system.client.get_workflow_handle(run.workflow_id, run_id=run.first_execution_run_id)
        await handle.result()
        assert await summary_of(handle) == job.purpose
        assert (await details_of(handle)).strip()
