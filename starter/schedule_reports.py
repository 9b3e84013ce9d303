"""How the schedules stand, as Temporal tells it: the last run with its result, the next run, what runs now."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.service import RPCError, RPCStatusCode

from starter.schedules import ScheduledJob
from workflows.interface.message import Message

ANSWER_TIMEOUT = timedelta(seconds=10)
NOT_TOLD = "gone"
"""Temporal keeps ended runs for a while only."""


class RunView(Message):
    """A run of a scheduled job."""

    workflow_id: str
    started_at: datetime
    status: str
    """RUNNING, COMPLETED, FAILED …"""
    result: dict[str, Any] | None = None
    failure: str | None = None


class ScheduleView(Message):
    """A schedule as it's printed."""

    id: str
    every_s: float
    exists: bool
    paused: bool = False
    note: str | None = None
    running: bool = False
    last_run: RunView | None = None
    next_run_at: datetime | None = None


async def schedule_views(client: Client, jobs: list[ScheduledJob]) -> list[ScheduleView]:
    """All schedules of the service, also those that aren't there.

    Raises:
        RPCError: Temporal can't be reached or refuses.
    """
    return list(await asyncio.gather(*(_view(client, job) for job in jobs)))


async def _view(client: Client, job: ScheduledJob) -> ScheduleView:
    try:
        found = await client.get_schedule_handle(job.schedule_id).describe(rpc_timeout=ANSWER_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return ScheduleView(id=job.schedule_id, every_s=job.every.total_seconds(), exists=False)
    state, info = found.schedule.state, found.info
    return ScheduleView(
        id=job.schedule_id,
        every_s=_every_s(found, job),
        exists=True,
        paused=state.paused,
        note=state.note if state.paused else None,
        running=bool(info.running_actions),
        last_run=await _run(client, info.recent_actions[-1]) if info.recent_actions else None,
        next_run_at=info.next_action_times[0] if info.next_action_times and not state.paused else None,
    )


def _every_s(found: ScheduleDescription, job: ScheduledJob) -> float:
    """As it's set in Temporal, which may differ from this command's settings."""
    intervals = found.schedule.spec.intervals
    return intervals[0].every.total_seconds() if intervals else job.every.total_seconds()


async def _run(client: Client, action: ScheduleActionResult) -> RunView:
    execution = action.action
    if not isinstance(execution, ScheduleActionExecutionStartWorkflow):
        return RunView(workflow_id="", started_at=action.started_at, status=NOT_TOLD)
    handle = client.get_workflow_handle(execution.workflow_id)
    view = RunView(workflow_id=execution.workflow_id, started_at=action.started_at, status=NOT_TOLD)
    try:
        status = (await handle.describe(rpc_timeout=ANSWER_TIMEOUT)).status
        if status is None or status is WorkflowExecutionStatus.RUNNING:
            return view.model_copy(update={"status": status.name if status else NOT_TOLD})
        return view.model_copy(update={"status": status.name, "result": await handle.result()})
    except WorkflowFailureError as error:
        return view.model_copy(update={"status": "FAILED", "failure": _why(error)})
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return view


def _why(error: WorkflowFailureError) -> str:
    """The innermost cause: the words of the step that failed."""
    cause: BaseException = error.cause
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(cause)
