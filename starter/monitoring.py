"""What Temporal tells about the service's task queues and schedules, for checks and for `transfers health`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import Client, ScheduleDescription
from temporalio.service import RPCError, RPCStatusCode

from workflows.interface.alerts import QueueState, ScheduleState
from workflows.interface.names import Queue, ScheduleId

ANSWER_TIMEOUT = timedelta(seconds=10)
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
    return _state_of(schedule_id, found, datetime.now(UTC))


def _state_of(schedule_id: ScheduleId, found: ScheduleDescription, now: datetime) -> ScheduleState:
    last = max((action.started_at for action in found.info.recent_actions), default=found.info.created_at)
    following = found.info.next_action_times
    return ScheduleState(
        schedule_id=schedule_id.value,
        paused=found.schedule.state.paused,
        running=bool(found.info.running_actions),
        interval_s=(following[1] - following[0]).total_seconds() if len(following) > 1 else None,
        last_run_age_s=(now - last).total_seconds(),
    )
