"""Jobs are counted by how they end, once each, also where workflows are replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import Priority
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.faults import not_yet
from telemetry import catalogue
from telemetry.jobs import JobMetrics
from tests.telemetry.conftest import Meters
from tests.telemetry.job_workflow import Job
from workflows.sandbox import sandboxed

STEP = {"job_kind": "activity", "job_type": "job_step"}
WORKFLOW = {"job_kind": "workflow", "job_type": "Job"}


@activity.defn(name="job_step")
async def job_step(endings: list[str]) -> None:
    """Ends as it's told to."""
    match endings[activity.info().attempt - 1]:
        case "not yet":
            raise not_yet("asked too early", 0.01)
        case "fault":
            raise ApplicationError("no connection", type="INFRASTRUCTURE")
        case "defect":
            raise ApplicationError("a bug", type="DEFECT", non_retryable=True)
        case "wait":
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.01)


async def started(client: Client, queue: str, *endings: str) -> WorkflowHandle[Job, None]:
    """A job under way."""
    return await client.start_workflow(
        Job.run, list(endings), id=f"job/{uuid4()}", task_queue=queue, priority=Priority(priority_key=1)
    )


def worker(client: Client, queue: str, meters: Meters) -> Worker:
    """One that replays each workflow at each task."""
    return Worker(
        client,
        task_queue=queue,
        workflows=[Job],
        activities=[job_step],
        workflow_runner=sandboxed(),
        interceptors=[JobMetrics(meters.meter)],
        max_cached_workflows=0,
        max_heartbeat_throttle_interval=timedelta(milliseconds=100),
    )


async def ran(client: Client, meters: Meters, *endings: str) -> None:
    """Runs one job to its end."""
    queue = f"jobs-{uuid4()}"
    async with worker(client, queue, meters):
        handle = await started(client, queue, *endings)
        await asyncio.wait([asyncio.create_task(handle.result())])


@pytest.mark.parametrize(
    ("endings", "counted", "goes"),
    [
        (["well"], {"succeeded": 1}, 1),
        (["not yet", "not yet", "well"], {"postponed": 2, "succeeded": 1}, 3),
        (["fault", "well"], {"failed": 1, "retried": 1, "succeeded": 1}, 2),
        (["fault", "fault"], {"failed": 2, "retried": 1}, 2),
        (["defect", "well"], {"failed": 1}, 1),
    ],
)
async def test_steps_are_counted_by_their_end(
    telemetry_client: Client, meters: Meters, endings: Sequence[str], counted: dict[str, int], goes: int
) -> None:
    """A poll that came too early is neither failure nor retry; a failure without a try left is no retry."""
    await ran(telemetry_client, meters, *endings)
    outcomes = ("succeeded", "failed", "retried", "postponed", "cancelled")
    metrics = {name: getattr(catalogue, f"JOB_{name.upper()}") for name in outcomes}
    found = {name: meters.value(metric, **STEP) for name, metric in metrics.items()}
    assert {name: count for name, count in found.items() if count} == counted
    assert meters.value(catalogue.JOB_STARTED, **STEP) == goes
    assert meters.value(catalogue.JOB_RUN_DURATION, **STEP) == goes
    # End to end is told once, whatever the number of goes.
    assert meters.value(catalogue.JOB_DURATION, **STEP) == 1


async def test_workflows_are_counted_once_however_often_they_are_replayed(
    telemetry_client: Client, meters: Meters
) -> None:
    """A worker without a cache replays at each task; start and end count once, with the code of the failure."""
    await ran(telemetry_client, meters, "well")
    assert meters.value(catalogue.JOB_STARTED, **WORKFLOW) == 1
    assert meters.value(catalogue.JOB_SUCCEEDED, **WORKFLOW) == 1
    await ran(telemetry_client, meters, "defect")
    assert meters.value(catalogue.JOB_STARTED, **WORKFLOW) == 2
    assert meters.value(catalogue.JOB_FAILED, **WORKFLOW) == 1
    assert meters.value(catalogue.JOB_FAILED, code="DEFECT", **STEP) == 1


async def test_the_wait_for_a_worker_is_the_queue_duration(telemetry_client: Client, meters: Meters) -> None:
    """What waits until a worker comes has that wait in its queue duration, under its priority."""
    queue = f"jobs-{uuid4()}"
    handle = await started(telemetry_client, queue, "well")
    await asyncio.sleep(0.5)  # the wait that is measured
    async with worker(telemetry_client, queue, meters):
        await handle.result()
    [workflow] = meters.points(catalogue.JOB_QUEUE_DURATION, priority="1", **WORKFLOW)
    [step] = meters.points(catalogue.JOB_QUEUE_DURATION, priority="1", **STEP)
    assert workflow.sum >= 0.5
    assert step.sum < 0.5
    [whole] = meters.points(catalogue.JOB_DURATION, **WORKFLOW)
    assert whole.sum >= 0.5


async def test_a_cancelled_job_is_no_failure(telemetry_client: Client, meters: Meters) -> None:
    """Step and workflow count as cancelled."""
    queue = f"jobs-{uuid4()}"
    async with worker(telemetry_client, queue, meters):
        handle = await started(telemetry_client, queue, "wait")
        while not meters.value(catalogue.JOB_STARTED, **STEP):
            await asyncio.sleep(0.01)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert meters.value(catalogue.JOB_CANCELLED, **WORKFLOW) == 1
    assert meters.value(catalogue.JOB_CANCELLED, **STEP) == 1
    assert meters.value(catalogue.JOB_FAILED) == 0
