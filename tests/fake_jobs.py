"""A fake of the scheduled jobs' steps."""

from __future__ import annotations

import asyncio
from uuid import UUID

from temporalio import activity
from temporalio.exceptions import ApplicationError

from workflows.interface.alerts import AlertActivities, CheckResult, NoticesSent
from workflows.interface.maintenance import (
    ArchiveJob,
    ArchiveResult,
    CleanJob,
    CleanStep,
    ComparedBatches,
    ExpireJob,
    ExpireResult,
    Job,
    JobFailure,
    MaintenanceActivities,
    RetryJob,
    RetryResult,
    SeenSince,
    StaleBatch,
    SweepResult,
    TendedBatches,
    TendedTransfers,
)


async def nothing_gone() -> list[str]:
    """Every schedule is there."""
    return []


class FakeMaintenance(MaintenanceActivities, AlertActivities):
    """The queue `maintenance`: jobs that find a little to do, in two steps, and meet what a test tells them."""

    def __init__(self) -> None:
        self.faults: dict[str, ApplicationError] = {}
        self.buried: list[JobFailure] = []
        self.jobs: list[Job] = []
        self.notices_sent = 0
        self.hanging: set[str] = set()
        self.hung = asyncio.Event()

    def _begin(self, step: str, job: Job) -> None:
        self.jobs.append(job)
        if step in self.faults:
            raise self.faults.pop(step)

    async def _hang(self, step: str) -> None:
        while step in self.hanging:
            self.hung.set()
            activity.heartbeat()
            await asyncio.sleep(0.5)

    @activity.defn(name="sweep_webhook_deliveries")
    async def sweep_webhook_deliveries(self) -> SweepResult:
        return SweepResult(due_subscriptions=3)

    @activity.defn(name="expire_transfers")
    async def expire_transfers(self, job: ExpireJob) -> ExpireResult:
        self._begin("expire_transfers", job)
        await self._hang("expire_transfers")
        return ExpireResult(expired=10, more=job.expired < 20)

    @activity.defn(name="retry_failed_transfers")
    async def retry_failed_transfers(self, job: RetryJob) -> RetryResult:
        self._begin("retry_failed_transfers", job)
        return RetryResult(reopened=4, at_work=1)

    @activity.defn(name="archive_deliveries")
    async def archive_deliveries(self, job: ArchiveJob) -> ArchiveResult:
        self._begin("archive_deliveries", job)
        return ArchiveResult(deliveries=5, attempts=7, after=UUID(int=1), more=job.after is None)

    @activity.defn(name="tend_stale_batches")
    async def tend_stale_batches(self, work: CleanStep) -> TendedBatches:
        self._begin("tend_stale_batches", work.job)
        stale = StaleBatch(batch_id=UUID(int=2), why="its workflow was terminated")
        more = UUID(int=9) if work.after == UUID(int=0) else None
        return TendedBatches(started=1, failed=1, resumed=1, reported=1, examples=(stale,), after=more)

    @activity.defn(name="tend_stale_transfers")
    async def tend_stale_transfers(self, work: CleanStep) -> TendedTransfers:
        self._begin("tend_stale_transfers", work.job)
        return TendedTransfers(resumed=2, reported=1, after=UUID(int=9) if work.after == UUID(int=0) else None)

    @activity.defn(name="cancel_failed_batches")
    async def cancel_failed_batches(self, job: CleanJob) -> bool:
        self._begin("cancel_failed_batches", job)
        return self.jobs[-2:] != [job, job]

    @activity.defn(name="compare_counters")
    async def compare_counters(self, work: CleanStep) -> ComparedBatches:
        self._begin("compare_counters", work.job)
        return ComparedBatches(compared=3, after=UUID(int=9) if work.after == UUID(int=0) else None)

    @activity.defn(name="settle_batch_alerts")
    async def settle_batch_alerts(self, seen: SeenSince) -> None:
        return

    @activity.defn(name="check_alerts")
    async def check_alerts(self) -> CheckResult:
        if "check_alerts" in self.faults:
            raise self.faults.pop("check_alerts")
        return CheckResult(conditions=1, opened=1, closed=0, open=2, not_measured=("schedules",))

    @activity.defn(name="send_alerts")
    async def send_alerts(self) -> NoticesSent:
        self.notices_sent += 1
        return NoticesSent(sent=1, failed=1, waiting=1)

    @activity.defn(name="bury_job")
    async def bury_job(self, failure: JobFailure) -> None:
        self.buried.append(failure)
