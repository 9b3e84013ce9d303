"""What Temporal tells about the service's task queues and schedules, for checks and for `transfers health`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleDescription,
    WorkflowExecutionStatus,
)
from temporalio.service import RPCError, RPCStatusCode

from workflows.interface.alerts import QueueState, ScheduleState
from workflows.interface.names import Queue, ScheduleId

ANSWER_TIMEOUT = timedelta(seconds=10)
MOST_LISTED = 10
"""Of a schedule's latest runs, so many are told with it."""
_TYPES = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)


async def read_queues(client: Client) -> Sequence[QueueState]:
    """Every task queue; the server's figures are some seconds old.

    Raises:
        RPCError: Temporal doesn't answer.
    """
    return await asyncio.gather(*(_queue(client, queue) for queue in Queue))


async def read_schedules(client: Client) -> Sequence[ScheduleState]:
    """Every schedule of the service, also one that isn't there.

    Raises:
        RPCError: Temporal doesn't answer.
    """
    return await asyncio.gather(*(_schedule(client, schedule_id) for schedule_id in ScheduleId))


async def _queue(client: Client, queue: Queue) -> QueueState:
    described = await asyncio.gather(*(_describe(client, queue, kind) for kind in _TYPES))
    now = datetime.now(UTC)
    # A queue is served when a worker asks for its workflow tasks and one asks for its activity tasks.
    polls = [max((_at(poller) for poller in one.pollers), default=None) for one in described]
    known = [poll for poll in polls if poll is not None]
    return QueueState(
        queue=queue.value,
        depth=sum(one.stats.approximate_backlog_count for one in described),
        oldest_age_s=max(one.stats.approximate_backlog_age.ToMilliseconds() / 1000 for one in described),
        last_poll_age_s=(now - min(known)).total_seconds() if len(known) == len(polls) else None,
    )


def _at(poller: object) -> datetime:
    at: datetime = poller.last_access_time.ToDatetime(UTC)  # type: ignore[attr-defined]  # generated without types
    return at


async def _describe(client: Client, queue: Queue, kind: TaskQueueType.ValueType) -> DescribeTaskQueueResponse:
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind, report_stats=True
    )
    return await client.workflow_service.describe_task_queue(request, timeout=ANSWER_TIMEOUT)


async def _schedule(client: Client, schedule_id: ScheduleId) -> ScheduleState:
    try:
        found = await client.get_schedule_handle(schedule_id).describe(rpc_timeout=ANSWER_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return ScheduleState(schedule_id.value, exists=False)
    succeeded_at = await _last_success(client, found)
    return _state_of(schedule_id, found, succeeded_at, datetime.now(UTC))


async def _last_success(client: Client, found: ScheduleDescription) -> datetime | None:
    """When the latest run that went through ended; None where none of those that Temporal lists did."""
    for action in sorted(found.info.recent_actions, key=lambda one: one.started_at, reverse=True):
        ended = await _good_end(client, action)
        if ended is not None:
            return ended
    return None


async def _good_end(client: Client, run: ScheduleActionResult) -> datetime | None:
    if not isinstance(run.action, ScheduleActionExecutionStartWorkflow):
        return None
    workflow_id, run_id = run.action.workflow_id, run.action.first_execution_run_id
    try:
        described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe(rpc_timeout=ANSWER_TIMEOUT)
        if described.status is WorkflowExecutionStatus.CONTINUED_AS_NEW:
            # By the id alone: the last of its continuations.
            described = await client.get_workflow_handle(workflow_id).describe(rpc_timeout=ANSWER_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        # Its retention is over: nobody can say that it failed.
        return run.started_at
    return described.close_time if described.status is WorkflowExecutionStatus.COMPLETED else None


def _state_of(
    schedule_id: ScheduleId, found: ScheduleDescription, succeeded_at: datetime | None, now: datetime
) -> ScheduleState:
    begun = [action.started_at for action in found.info.recent_actions]
    # Temporal lists the latest runs alone: where it lists fewer than it may, the first is among them.
    since = succeeded_at or (min(begun) if len(begun) >= MOST_LISTED else found.info.created_at)
    following = found.info.next_action_times
    return ScheduleState(
        schedule_id=schedule_id.value,
        paused=found.schedule.state.paused,
        running=bool(found.info.running_actions),
        interval_s=(following[1] - following[0]).total_seconds() if len(following) > 1 else None,
        begun=bool(begun),
        succeeded=succeeded_at is not None,
        last_success_age_s=(now - since).total_seconds(),
    )
