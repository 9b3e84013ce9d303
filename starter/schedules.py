"""The Temporal Schedules of the service, put in place at set-up."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import Priority

from workflows.interface.names import PriorityKey, Queue, ScheduleId, WorkflowType

SWEEP_INTERVAL = timedelta(minutes=1)
SWEEP_JITTER = timedelta(seconds=5)
CATCH_UP = timedelta(seconds=10)
"""The shortest the server takes: a sweep that was missed needn't be made up for, the next one finds the same."""
TASK_TIMEOUT = timedelta(seconds=4)


async def put_schedules(client: Client) -> None:
    """Creates the schedules or brings them up to date; a pause set by an operator stays.

    Raises:
        RPCError: Temporal can't be reached or refuses.
    """
    wanted = sweep_schedule()
    try:
        await client.create_schedule(ScheduleId.SWEEP_WEBHOOK_DELIVERIES, wanted)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(ScheduleId.SWEEP_WEBHOOK_DELIVERIES).update(
            lambda found: _updated(found, wanted)
        )


def sweep_schedule() -> Schedule:
    """The one-minute sweep of webhook deliveries; one at a time."""
    return Schedule(
        action=ScheduleActionStartWorkflow(
            WorkflowType.SWEEP_WEBHOOK_DELIVERIES,
            id=ScheduleId.SWEEP_WEBHOOK_DELIVERIES,
            task_queue=Queue.MAINTENANCE,
            task_timeout=TASK_TIMEOUT,
            priority=Priority(priority_key=PriorityKey.MAINTENANCE),
            static_summary="Starts webhook deliveries that were missed",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=SWEEP_INTERVAL)], jitter=SWEEP_JITTER),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        state=ScheduleState(note="Finds subscriptions with due deliveries whose drain wasn't woken"),
    )


def _updated(found: ScheduleUpdateInput, wanted: Schedule) -> ScheduleUpdate:
    wanted.state.paused = found.description.schedule.state.paused
    return ScheduleUpdate(schedule=wanted)
