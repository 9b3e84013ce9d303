"""The service's Temporal Schedules: put in place when a worker starts, and by `transfers schedules apply`."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple

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

from starter.job_settings import DAY_S, JobSettings
from workflows.interface.maintenance import ArchiveJob, CleanJob, ExpireJob, Job, RetryJob
from workflows.interface.names import PriorityKey, Queue, ScheduleId, WorkflowType
from workflows.interface.policies import TASK_TIMEOUT

SHORTEST_CATCH_UP = timedelta(seconds=10)
"""The server takes no shorter one."""
LONGEST_CATCH_UP = timedelta(hours=1)
LONGEST_JITTER = timedelta(minutes=10)
SHORTEST_LIMIT_S, LONGEST_LIMIT_S = 60.0, 3_600.0
# What is the workflows' own business.
_OWN_FIELDS = {"steps_per_run", "expired", "deliveries", "attempts", "after"}


class ScheduledJob(NamedTuple):
    """One schedule: what it starts, how often, with which input."""

    schedule_id: ScheduleId
    workflow: WorkflowType
    every: timedelta
    job: Job
    purpose: str

    @property
    def jitter(self) -> timedelta:
        """Runs are spread over this long, so that not all jobs begin in the same second."""
        return min(self.every / 12, LONGEST_JITTER)

    @property
    def catch_up(self) -> timedelta:
        """A run that was missed (Temporal was down) is made up for within this time; after it, the next will do."""
        return max(SHORTEST_CATCH_UP, min(self.every / 2, LONGEST_CATCH_UP))


class Applied(StrEnum):
    """What putting a schedule in place did."""

    CREATED = "created"
    UPDATED = "updated"


def scheduled_jobs(settings: JobSettings) -> list[ScheduledJob]:
    """All schedules of the service."""
    return [
        _job(
            ScheduleId.EXPIRE_TRANSFERS,
            WorkflowType.EXPIRE_TRANSFERS,
            settings.expire_transfers_every_s,
            ExpireJob(page_size=settings.expire_page_size),
            "Ends gifts that nobody accepted in time, and frees their tickets",
        ),
        _job(
            ScheduleId.RETRY_FAILED_BLOCKCHAIN_TRANSFERS,
            WorkflowType.RETRY_FAILED_BLOCKCHAIN_TRANSFERS,
            settings.retry_failed_every_s,
            RetryJob(
                page_size=settings.retry_failed_page_size,
                least_age_s=settings.retry_failed_after_s,
                budget_s=settings.retry_failed_budget_s,
            ),
            "Reopens transfers that the chain refused for a reason that may pass",
        ),
        _job(
            ScheduleId.ARCHIVE_WEBHOOK_DELIVERIES,
            WorkflowType.ARCHIVE_WEBHOOK_DELIVERIES,
            settings.archive_every_s,
            ArchiveJob(retention_s=settings.webhook_retention_days * DAY_S, page_size=settings.archive_page_size),
            "Moves finished webhook deliveries past their retention to the archive",
        ),
        _job(
            ScheduleId.CLEAN_STALE_BATCHES,
            WorkflowType.CLEAN_STALE_BATCHES,
            settings.clean_batches_every_s,
            CleanJob(
                start_after_s=settings.stale_batch_start_after_s,
                fail_after_s=settings.stale_batch_fail_after_s,
                compare_ended_within_s=settings.compare_counters_within_s,
            ),
            "Starts, resumes or fails batches that nobody works on, and mends their counters",
        ),
        _job(
            ScheduleId.SWEEP_WEBHOOK_DELIVERIES,
            WorkflowType.SWEEP_WEBHOOK_DELIVERIES,
            settings.sweep_webhooks_every_s,
            Job(),
            "Starts webhook deliveries whose wake-up was missed",
        ),
        _job(
            ScheduleId.CHECK_ALERTS,
            WorkflowType.CHECK_ALERTS,
            settings.check_alerts_every_s,
            Job(),
            "Looks for what a person must see, and tells it",
        ),
    ]


async def put_schedules(client: Client, settings: JobSettings) -> dict[ScheduleId, Applied]:
    """Creates the schedules or brings them up to date; a pause set by an operator stays, with its note.

    Raises:
        RPCError: Temporal can't be reached or refuses.
    """
    return {job.schedule_id: await _put(client, job) for job in scheduled_jobs(settings)}


async def restore_schedules(client: Client, settings: JobSettings) -> list[str]:
    """Creates the schedules that are gone; those that are there stay as they are, whatever an operator made of them.

    Raises:
        RPCError: Temporal can't be reached or refuses.
    """
    return [job.schedule_id.value for job in scheduled_jobs(settings) if await _create(client, job)]


def schedule_of(job: ScheduledJob) -> Schedule:
    """The schedule as Temporal takes it: one run at a time, one that is due meanwhile is skipped."""
    argument: dict[str, Any] = job.job.model_dump(mode="json", by_alias=True, exclude=_OWN_FIELDS)
    return Schedule(
        action=ScheduleActionStartWorkflow(
            job.workflow,
            argument,
            id=job.schedule_id,
            task_queue=Queue.MAINTENANCE,
            task_timeout=TASK_TIMEOUT,
            priority=Priority(priority_key=PriorityKey.MAINTENANCE),
            static_summary=job.purpose,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=job.every)], jitter=job.jitter),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=job.catch_up),
        state=ScheduleState(note=job.purpose),
    )


def _job(schedule_id: ScheduleId, workflow: WorkflowType, every_s: float, job: Job, purpose: str) -> ScheduledJob:
    # An outage ends a run by the time the next is due, so that it's seen as failed, and nothing waits behind it.
    limit_s = min(max(every_s, SHORTEST_LIMIT_S), LONGEST_LIMIT_S)
    limited = job.model_copy(update={"step_limit_s": limit_s})
    return ScheduledJob(schedule_id, workflow, timedelta(seconds=every_s), limited, purpose)


async def _put(client: Client, job: ScheduledJob) -> Applied:
    if await _create(client, job):
        return Applied.CREATED
    await client.get_schedule_handle(job.schedule_id).update(lambda found: _updated(found, schedule_of(job)))
    return Applied.UPDATED


async def _create(client: Client, job: ScheduledJob) -> bool:
    """False where it's there already."""
    try:
        await client.create_schedule(job.schedule_id, schedule_of(job))
    except ScheduleAlreadyRunningError:
        return False
    return True


def _updated(found: ScheduleUpdateInput, wanted: Schedule) -> ScheduleUpdate:
    state = found.description.schedule.state
    if state.paused:
        wanted.state = ScheduleState(note=state.note, paused=True)
    return ScheduleUpdate(schedule=wanted)
