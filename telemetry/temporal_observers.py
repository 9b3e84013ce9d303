"""Observers of Temporal: task queues with their workers, and schedules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue, TaskQueueStats
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse
from temporalio.client import Client, ScheduleActionExecutionStartWorkflow, ScheduleDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from telemetry import catalogue
from telemetry.board import Figure
from workflows.interface.names import PriorityKey, Queue, ScheduleId

QUEUES_INTERVAL_S = 10.0
SCHEDULES_INTERVAL_S = 30.0
POLLED_LATELY_S = 90.0
"""A worker asks again at least every 60 s; the server remembers those that left for minutes."""

_TASK_KINDS = {
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
}


class QueueObserver:
    """Depth, age and rates by queue and priority: the server's own figures, which it holds for up to 5 s."""

    name = "queues"
    interval_s = QUEUES_INTERVAL_S

    def __init__(self, client: Client, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock

    async def read(self) -> Sequence[Figure]:
        """All queues, for steps and for workflows."""
        kinds = [(queue, kind) for queue in Queue for kind in _TASK_KINDS]
        answers = await asyncio.gather(*(self._describe(queue, kind) for queue, kind in kinds))
        return [
            figure
            for (queue, kind), answer in zip(kinds, answers, strict=True)
            for figure in self._figures(answer, queue, kind)
        ]

    async def _describe(self, queue: Queue, kind: str) -> DescribeTaskQueueResponse:
        return await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=queue),
                task_queue_type=_TASK_KINDS[kind],
                report_stats=True,
            )
        )

    def _figures(self, answer: DescribeTaskQueueResponse, queue: Queue, kind: str) -> Iterator[Figure]:
        labels = {"queue": queue.value, "task_kind": kind}
        by_priority = dict(answer.stats_by_priority_key)
        for priority in sorted({*PriorityKey, *by_priority}):
            stats = by_priority.get(priority, TaskQueueStats())
            yield from _of_stats(stats, labels | {"priority": str(int(priority))})
        workers = {poller.identity for poller in answer.pollers if self._polls(poller)}
        yield Figure(catalogue.WORKERS, len(workers), labels)

    def _polls(self, poller: PollerInfo) -> bool:
        return self._clock() - poller.last_access_time.ToNanoseconds() / 1e9 <= POLLED_LATELY_S


def _of_stats(stats: TaskQueueStats, labels: dict[str, str]) -> Iterator[Figure]:
    age_s = stats.approximate_backlog_age.ToNanoseconds() / 1e9
    yield Figure(catalogue.QUEUE_DEPTH, stats.approximate_backlog_count, labels)
    # The server may tell an age where nothing waits any more.
    yield Figure(catalogue.QUEUE_OLDEST_AGE, age_s if stats.approximate_backlog_count else 0.0, labels)
    yield Figure(catalogue.QUEUE_ADD_RATE, stats.tasks_add_rate, labels)
    yield Figure(catalogue.QUEUE_DISPATCH_RATE, stats.tasks_dispatch_rate, labels)


class ScheduleObserver:
    """When each schedule last ran to a good end. One that is missing has no figures: that is what alerts look for."""

    name = "schedules"
    interval_s = SCHEDULES_INTERVAL_S

    def __init__(self, client: Client) -> None:
        self._client = client
        self._succeeded: dict[ScheduleId, datetime] = {}

    async def read(self) -> Sequence[Figure]:
        """All schedules of the service."""
        found = await asyncio.gather(*map(self._figures, ScheduleId))
        return [figure for figures in found for figure in figures]

    async def _figures(self, schedule: ScheduleId) -> list[Figure]:
        try:
            described = await self._client.get_schedule_handle(schedule).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return []
        last = await self._last_success(schedule, described)
        age_s = (datetime.now(UTC) - (last or described.info.created_at)).total_seconds()
        labels = {"schedule": schedule.value}
        return [
            Figure(catalogue.SCHEDULE_LAST_SUCCESS_AGE, max(age_s, 0.0), labels),
            Figure(catalogue.SCHEDULE_PAUSED, int(described.schedule.state.paused), labels),
        ]

    async def _last_success(self, schedule: ScheduleId, described: ScheduleDescription) -> datetime | None:
        """Looks at the latest runs, the newest first, down to the one known already."""
        known = self._succeeded.get(schedule)
        for action in reversed(described.info.recent_actions):
            if known and action.started_at <= known:
                break
            ended = await self._good_end(action.action)
            if ended:
                known = max(ended, known or ended)
                self._succeeded[schedule] = known
                break
        return known

    async def _good_end(self, action: object) -> datetime | None:
        if not isinstance(action, ScheduleActionExecutionStartWorkflow):
            return None
        handle = self._client.get_workflow_handle(action.workflow_id, run_id=action.first_execution_run_id)
        try:
            described = await handle.describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        return described.close_time if described.status is WorkflowExecutionStatus.COMPLETED else None
