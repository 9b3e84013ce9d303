"""The scheduled jobs: one small workflow each, begun by the schedule of its name, one run at a time.

A step that meets a defect ends the run; one that meets an outage is tried again within the job's limit. A run that
fails is a dead letter with an alert, and the schedule's next run begins anew and finds what was left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RawValue

from workflows.burial import buried_if_failed
from workflows.decoding import NO_INPUT, decoded
from workflows.interface.maintenance import (
    MOST_TOLD,
    ArchiveJob,
    ArchiveResult,
    CleanJob,
    CleanResult,
    CleanStep,
    ComparedBatches,
    ExpireJob,
    ExpireResult,
    Job,
    MaintenanceActivities,
    RetryJob,
    RetryResult,
    SeenSince,
    SweepResult,
    TendedBatches,
    TendedTransfers,
)
from workflows.interface.names import ScheduleId, WorkflowType
from workflows.interface.policies import MAINTENANCE_PRIORITY, MAINTENANCE_STEP, TASK_TIMEOUT, limited

JobT = TypeVar("JobT", bound=Job)
P = TypeVar("P")
R = TypeVar("R")


@workflow.defn(name=WorkflowType.SWEEP_WEBHOOK_DELIVERIES)
class SweepWebhookDeliveries:
    """One sweep over all subscriptions."""

    @workflow.run
    async def run(self, raw: RawValue = NO_INPUT) -> SweepResult:
        """Wakes the drain of every subscription that has due deliveries."""
        job = _job(raw, Job)
        step = workflow.execute_activity_method(
            MaintenanceActivities.sweep_webhook_deliveries,
            **limited(MAINTENANCE_STEP, job.step_limit_s),
            priority=MAINTENANCE_PRIORITY,
            summary="every subscription with due deliveries",
        )
        swept = await buried_if_failed(ScheduleId.SWEEP_WEBHOOK_DELIVERIES, step)
        workflow.set_current_details(f"{swept.due_subscriptions} subscriptions had due deliveries and were woken.")
        return swept


@workflow.defn(name=WorkflowType.EXPIRE_TRANSFERS)
class ExpireTransfers:
    """Gifts whose time is over end EXPIRED, however many."""

    @workflow.run
    async def run(self, raw: RawValue = NO_INPUT) -> ExpireResult:
        """Steps until none is left; as many as there are."""
        job = _job(raw, ExpireJob)
        step_no = 0
        while True:
            step_no += 1
            step = await _step(
                ScheduleId.EXPIRE_TRANSFERS,
                MaintenanceActivities.expire_transfers,
                job,
                f"{job.expired:,} expired so far",
                job,
            )
            job = job.model_copy(update={"expired": job.expired + step.expired})
            workflow.set_current_details(f"{job.expired:,} gifts expired.")
            if not step.more:
                return ExpireResult(expired=job.expired)
            if step_no >= job.steps_per_run:
                workflow.continue_as_new(job, task_timeout=TASK_TIMEOUT)


@workflow.defn(name=WorkflowType.RETRY_FAILED_BLOCKCHAIN_TRANSFERS)
class RetryFailedBlockchainTransfers:
    """Failed transfers of the chain are reopened while their retries last."""

    @workflow.run
    async def run(self, raw: RawValue = NO_INPUT) -> RetryResult:
        """One step, of less than the time between two runs; what is left is the next run's."""
        job = _job(raw, RetryJob)
        job_id, method = ScheduleId.RETRY_FAILED_BLOCKCHAIN_TRANSFERS, MaintenanceActivities.retry_failed_transfers
        result = await _step(job_id, method, job, "failed transfers that are due", job)
        more = "; the rest is the next run's" if result.more else ""
        workflow.set_current_details(f"{result.reopened:,} failed transfers are tried again{more}.")
        return result


@workflow.defn(name=WorkflowType.ARCHIVE_WEBHOOK_DELIVERIES)
class ArchiveWebhookDeliveries:
    """Finished deliveries past their retention move to the archive."""

    @workflow.run
    async def run(self, raw: RawValue = NO_INPUT) -> ArchiveResult:
        """Steps until none is left."""
        job = _job(raw, ArchiveJob)
        job_id, method = ScheduleId.ARCHIVE_WEBHOOK_DELIVERIES, MaintenanceActivities.archive_deliveries
        step_no = 0
        while True:
            step_no += 1
            step = await _step(job_id, method, job, f"{job.deliveries:,} deliveries so far", job)
            told = {
                "deliveries": job.deliveries + step.deliveries,
                "attempts": job.attempts + step.attempts,
                "after": step.after,
            }
            job = job.model_copy(update=told)
            workflow.set_current_details(f"{job.deliveries:,} deliveries, {job.attempts:,} attempts archived.")
            if not step.more:
                return ArchiveResult(deliveries=job.deliveries, attempts=job.attempts)
            if step_no >= job.steps_per_run:
                workflow.continue_as_new(job, task_timeout=TASK_TIMEOUT)


@workflow.defn(name=WorkflowType.CLEAN_STALE_BATCHES)
class CleanStaleBatches:
    """Batches that nobody works on, and counters that drifted."""

    @workflow.run
    async def run(self, raw: RawValue = NO_INPUT) -> CleanResult:
        """Tends the batches, ends those that are too old, tells of the others, compares counters."""
        job = _job(raw, CleanJob)
        tended = await self._tend(job)
        transfers = await self._tend_transfers(job)
        while await self._step(MaintenanceActivities.cancel_failed_batches, job, "items of failed batches", job):
            pass
        seen = SeenSince(began_at=workflow.info().start_time)
        await self._step(MaintenanceActivities.settle_batch_alerts, seen, "alerts that are settled", job)
        compared = await self._compare(job)
        result = CleanResult(
            started=tended.started,
            failed=tended.failed,
            resumed=tended.resumed,
            reported=tended.reported,
            examples=tended.examples,
            compared=compared.compared,
            repaired=compared.repaired,
            repairs=compared.repairs,
            transfers_resumed=transfers.resumed,
            transfers_reported=transfers.reported,
            mended=compared.mended,
        )
        workflow.set_current_details(_details(result))
        return result

    async def _tend(self, job: CleanJob) -> TendedBatches:
        total, work = TendedBatches(), CleanStep(job=job)
        while True:
            step = await self._step(MaintenanceActivities.tend_stale_batches, work, "batches nobody works on", job)
            total = TendedBatches(
                started=total.started + step.started,
                failed=total.failed + step.failed,
                resumed=total.resumed + step.resumed,
                reported=total.reported + step.reported,
                examples=(total.examples + step.examples)[:MOST_TOLD],
            )
            if step.after is None:
                return total
            work = CleanStep(job=job, after=step.after)

    async def _tend_transfers(self, job: CleanJob) -> TendedTransfers:
        total, work = TendedTransfers(), CleanStep(job=job)
        while True:
            step = await self._step(MaintenanceActivities.tend_stale_transfers, work, "transfers nobody works on", job)
            resumed, reported = total.resumed + step.resumed, total.reported + step.reported
            total = TendedTransfers(resumed=resumed, reported=reported)
            if step.after is None:
                return total
            work = CleanStep(job=job, after=step.after)

    async def _compare(self, job: CleanJob) -> ComparedBatches:
        total, work = ComparedBatches(), CleanStep(job=job)
        while True:
            step = await self._step(MaintenanceActivities.compare_counters, work, "counters against items", job)
            total = ComparedBatches(
                compared=total.compared + step.compared,
                repaired=total.repaired + step.repaired,
                repairs=(total.repairs + step.repairs)[:MOST_TOLD],
                mended=total.mended + step.mended,
            )
            if step.after is None:
                return total
            work = CleanStep(job=job, after=step.after)

    async def _step(self, method: Callable[[Any, P], Awaitable[R]], argument: P, summary: str, job: CleanJob) -> R:
        return await _step(ScheduleId.CLEAN_STALE_BATCHES, method, argument, summary, job)


def _job(raw: RawValue, kind: type[JobT]) -> JobT:
    """The job's input; a start without one gets the defaults."""
    return decoded(raw, kind) if raw.payload.data else kind()


async def _step(job_id: ScheduleId, method: Callable[[Any, P], Awaitable[R]], argument: P, summary: str, job: Job) -> R:
    step = workflow.execute_activity_method(
        method,
        argument,
        **limited(MAINTENANCE_STEP, job.step_limit_s),
        priority=MAINTENANCE_PRIORITY,
        summary=summary,
    )
    return await buried_if_failed(job_id, step)


def _details(result: CleanResult) -> str:
    told = "".join(f"\n- `{batch.batch_id}`: {batch.why}" for batch in result.examples)
    return (
        f"{result.started} batches started, {result.resumed} resumed, {result.failed} failed (too old), "
        f"{result.repaired} of {result.compared} counters repaired, {result.mended} mended by retries completed, "
        f"{result.reported} left to a person; "
        f"{result.transfers_resumed} single transfers resumed, {result.transfers_reported} left to a person.{told}"
    )
