"""The scheduled jobs' workflows: their steps, their limits, and what a defect or an outage does to a run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError, is_cancelled_exception

from tests.workflows.conftest import Fakes
from workflows.interface.codes import ErrorCode


async def run(fakes: Fakes, kind: str, *argument: Any) -> Any:
    """One run, as its schedule starts it."""
    return await fakes.client.execute_workflow(kind, args=argument, id=f"{kind}-{uuid4()}", task_queue="maintenance")


async def test_expiry_steps_until_none_is_left(fakes: Fakes) -> None:
    """Each step is told what was done before, and the result is the sum."""
    assert await run(fakes, "ExpireTransfers") == {"expired": 30, "more": False}


async def test_the_archive_goes_on_where_the_step_before_ended(fakes: Fakes) -> None:
    """Two steps, and their sum."""
    result = await run(fakes, "ArchiveWebhookDeliveries")
    assert (result["deliveries"], result["attempts"], result["more"]) == (10, 14, False)


@pytest.mark.parametrize(("kind", "told"), [("ExpireTransfers", "expired"), ("ArchiveWebhookDeliveries", "deliveries")])
async def test_a_long_run_continues_as_new(fakes: Fakes, kind: str, told: str) -> None:
    """The sum and the place go on from run to run."""
    whole = await run(fakes, kind)
    handle = await fakes.client.start_workflow(kind, {"stepsPerRun": 1}, id=f"long-{uuid4()}", task_queue="maintenance")
    result = await handle.result()
    assert result[told] == whole[told]
    assert (await handle.describe()).run_id != handle.first_execution_run_id


async def test_retries_are_one_step(fakes: Fakes) -> None:
    """What a run did is its result."""
    assert await run(fakes, "RetryFailedBlockchainTransfers") == {"reopened": 4, "atWork": 1, "more": False}


async def test_the_clean_up_sums_its_steps(fakes: Fakes) -> None:
    """Pages of batches, items of failed ones and pages of counters: all are done, and the result tells of all."""
    result = await run(fakes, "CleanStaleBatches")
    told = ("started", "failed", "resumed", "reported", "compared", "repaired")
    assert [result[name] for name in told] == [2, 2, 2, 2, 6, 0]
    assert len(result["examples"]) == 2


async def test_steps_get_the_schedules_limits(fakes: Fakes) -> None:
    """The input of the schedule reaches the step, and its limit is the step's schedule-to-close timeout."""
    fakes.maintenance.jobs.clear()
    workflow_id = f"limits-{uuid4()}"
    argument = {"stepLimitS": 42.0, "pageSize": 7, "ofANewerVersion": True}
    handle = await fakes.client.start_workflow(
        "RetryFailedBlockchainTransfers", argument, id=workflow_id, task_queue="maintenance"
    )
    await handle.result()
    [job] = fakes.maintenance.jobs
    assert job.model_dump(include={"step_limit_s", "page_size"}, by_alias=False) == {"step_limit_s": 42, "page_size": 7}
    limits = [
        event.activity_task_scheduled_event_attributes.schedule_to_close_timeout.ToTimedelta()
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    assert limits == [timedelta(seconds=42)]


async def test_a_defect_is_buried_and_ends_the_run(fakes: Fakes) -> None:
    """The run fails with the step's words, its failure is recorded, and the next run isn't touched by it."""
    fakes.maintenance.buried.clear()
    fakes.maintenance.faults["expire_transfers"] = ApplicationError(
        "KeyError: 17", type=ErrorCode.DEFECT, non_retryable=True
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await run(fakes, "ExpireTransfers")
    assert str(caught.value.cause.__cause__) == "DEFECT: KeyError: 17"
    [failure] = fakes.maintenance.buried
    assert (failure.job, failure.message) == ("expire-transfers", "KeyError: 17")
    assert failure.workflow_id.startswith("ExpireTransfers-")
    assert (await run(fakes, "ExpireTransfers"))["expired"] == 30


async def test_a_check_that_fails_sends_all_the_same(fakes: Fakes) -> None:
    """Messages of earlier checks go out although this one met a defect, which is recorded and ends the run."""
    fakes.maintenance.buried.clear()
    sent_before = fakes.maintenance.notices_sent
    fakes.maintenance.faults["check_alerts"] = ApplicationError("KeyError", type=ErrorCode.DEFECT, non_retryable=True)
    with pytest.raises(WorkflowFailureError):
        await run(fakes, "CheckAlerts")
    assert fakes.maintenance.notices_sent == sent_before + 1
    assert [failure.job for failure in fakes.maintenance.buried] == ["check-alerts"]
    assert (await run(fakes, "CheckAlerts"))["notMeasured"] == ["schedules"]


async def test_an_outage_ends_the_run_within_its_limit(fakes: Fakes) -> None:
    """Tried again as long as the limit allows, then the run fails with the server's words, and is buried with them."""
    fakes.maintenance.buried.clear()
    fakes.maintenance.faults["retry_failed_transfers"] = ApplicationError(
        "ConnectionRefusedError: no Postgres", type=ErrorCode.INFRASTRUCTURE, next_retry_delay=timedelta(seconds=5)
    )
    with pytest.raises(WorkflowFailureError) as caught:
        await run(fakes, "RetryFailedBlockchainTransfers", {"stepLimitS": 2.0})
    assert "no Postgres" in str(caught.value.cause.__cause__)
    [failure] = fakes.maintenance.buried
    assert (failure.job, failure.code) == ("retry-failed-blockchain-transfers", ErrorCode.INFRASTRUCTURE)
    assert failure.message == "ConnectionRefusedError: no Postgres"


async def test_a_step_that_never_answers_is_buried_with_its_limit(fakes: Fakes) -> None:
    """A run that no fault ended but a limit says which."""
    fakes.maintenance.buried.clear()
    fakes.maintenance.hanging.add("expire_transfers")
    with pytest.raises(WorkflowFailureError):
        await run(fakes, "ExpireTransfers", {"stepLimitS": 1.0})
    fakes.maintenance.hanging.clear()
    [failure] = fakes.maintenance.buried
    assert failure.code == ErrorCode.INFRASTRUCTURE
    assert failure.message == "step expire_transfers: all its goes together took longer than they may"


async def test_a_cancelled_run_is_no_failure(fakes: Fakes) -> None:
    """A person who cancels a run finds no dead letter of it."""
    fakes.maintenance.buried.clear()
    fakes.maintenance.hanging.add("expire_transfers")
    handle = await fakes.client.start_workflow("ExpireTransfers", id=f"cancel-{uuid4()}", task_queue="maintenance")
    async with asyncio.timeout(20):
        await fakes.maintenance.hung.wait()
    await handle.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    fakes.maintenance.hanging.clear()
    assert is_cancelled_exception(caught.value.cause)
    assert fakes.maintenance.buried == []


async def test_an_outage_within_the_limit_is_waited_out(fakes: Fakes) -> None:
    """The step is tried again, and the run goes through."""
    fakes.maintenance.faults["retry_failed_transfers"] = ApplicationError("away", type=ErrorCode.INFRASTRUCTURE)
    assert (await run(fakes, "RetryFailedBlockchainTransfers"))["reopened"] == 4


@pytest.mark.parametrize("argument", [{"pageSize": -1}, {"stepLimitS": "soon"}, [1]])
async def test_an_input_that_cant_be_read_ends_the_run(fakes: Fakes, argument: Any) -> None:
    """INVALID_INPUT, where the SDK would retry the task for ever."""
    with pytest.raises(WorkflowFailureError) as caught:
        await run(fakes, "ExpireTransfers", argument)
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == ErrorCode.INVALID_INPUT
