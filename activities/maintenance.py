"""The steps of the queue `maintenance`: what the scheduled jobs do, page by page, each page a transaction of its own.

A step goes on with pages for its budget of seconds and says whether there is more; one that dies in between has lost
nothing but its count.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeAlias
from uuid import UUID

from temporalio import activity
from temporalio.client import Client

from activities.faults import RaiseAlert, Step, step
from activities.stale_batches import BatchTender, Deed
from activities.stale_transfers import TransferTender
from activities.starting import start_transfer
from activities.waking import MOST_SIGNALS_AT_ONCE, Waker, signal_delivery
from ledger.archive import NOTHING, WebhookArchive
from ledger.dead_letters import DeadLetters
from ledger.maintenance import DueRetry, Expiry, JobFailures, RetryClaims, RetryRule, TimeMark, subject_of
from ledger.stale_batches import Difference, StaleBatches
from ledger.stale_transfers import StaleTransfers
from ledger.webhooks import WebhookLedger
from workflows.interface.codes import AlertKind, FailureCode
from workflows.interface.maintenance import (
    MOST_TOLD,
    ArchiveJob,
    ArchiveResult,
    CleanJob,
    CleanStep,
    ComparedBatches,
    ExpireJob,
    ExpireResult,
    JobFailure,
    MaintenanceActivities,
    RepairedCounters,
    RetryJob,
    RetryResult,
    SeenSince,
    StaleBatch,
    SweepResult,
    TendedBatches,
    TendedTransfers,
)
from workflows.interface.names import ScheduleId
from workflows.interface.policies import batch_priority
from workflows.interface.transfer import ReopenedBy, Reopening, TransferInput
from workflows.interface.tries import MAX_SCHEDULED_RETRIES

BATCHES_PAGE, TRANSFERS_PAGE = 100, 100
ITEMS_PAGE = 5_000
CLOCK_MARGIN = timedelta(seconds=10)
"""Temporal's clock, which says when a run began, and the database's, which says when an alert was seen, may differ."""
_RETRYABLE = tuple(code for code in FailureCode if code.retryable)

RestoreSchedules: TypeAlias = Callable[[], Awaitable[Sequence[str]]]
"""Puts schedules back that are gone, and leaves the others as they are; returns which."""


class MaintenanceLedgers(NamedTuple):
    """The parts of the ledger these steps use."""

    webhooks: WebhookLedger
    expiry: Expiry
    retries: RetryClaims
    archive: WebhookArchive
    batches: StaleBatches
    transfers: StaleTransfers
    letters: DeadLetters
    failures: JobFailures


class Budget:
    """The seconds that a step goes on with pages."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def is_used_up(self) -> bool:
        """Whether no further page may be begun."""
        return time.monotonic() >= self._end


class Maintenance(Step, MaintenanceActivities):
    """Implements `MaintenanceActivities` on the ledger."""

    def __init__(
        self,
        ledgers: MaintenanceLedgers,
        client: Client,
        waker: Waker,
        raise_alert: RaiseAlert,
        restore_schedules: RestoreSchedules,
    ) -> None:
        super().__init__(raise_alert)
        self._ledgers = ledgers
        self._restore_schedules = restore_schedules
        self._client = client
        self._waker = waker
        self._raise_alert = raise_alert
        self._tender = BatchTender(ledgers.batches, client, waker, raise_alert)
        self._transfer_tender = TransferTender(ledgers.transfers, client, raise_alert)

    @activity.defn(name="sweep_webhook_deliveries")
    @step
    async def sweep_webhook_deliveries(self) -> SweepResult:
        due = await self._ledgers.webhooks.due_subscriptions()
        for first in range(0, len(due), MOST_SIGNALS_AT_ONCE):
            await self._signal(due[first : first + MOST_SIGNALS_AT_ONCE])
        await self._restore()
        await self._went_through(ScheduleId.SWEEP_WEBHOOK_DELIVERIES)
        return SweepResult(due_subscriptions=len(due))

    @activity.defn(name="expire_transfers")
    @step
    async def expire_transfers(self, job: ExpireJob) -> ExpireResult:
        await self._wake_what_an_earlier_go_left()
        budget, mark, expired = Budget(job.step_budget_s), TimeMark(), 0
        while True:
            page = await self._ledgers.expiry.expire_page(mark, job.page_size)
            await self._waker.wake(page.subscription_ids)
            mark, expired = page.end, expired + len(page.transfer_ids)
            if len(page.transfer_ids) < job.page_size:
                break
            if budget.is_used_up:
                return ExpireResult(expired=expired, more=True)
        activity.logger.info("%d transfers expired", expired)
        await self._went_through(ScheduleId.EXPIRE_TRANSFERS)
        return ExpireResult(expired=expired)

    @activity.defn(name="retry_failed_transfers")
    @step
    async def retry_failed_transfers(self, job: RetryJob) -> RetryResult:
        rule = RetryRule(_RETRYABLE, MAX_SCHEDULED_RETRIES, timedelta(seconds=job.least_age_s))
        budget, mark, started, more = Budget(job.budget_s), TimeMark(), Counter[bool](), False
        while due := await self._ledgers.retries.claim_page(rule, mark, job.page_size):
            mark = TimeMark(due[-1].failed_at, due[-1].transfer_id)
            started.update(await self._start_retries(due))
            more = len(due) == job.page_size and budget.is_used_up
            if more or len(due) < job.page_size:
                break
        activity.logger.info("%d failed transfers are tried again, %d are at work", started[True], started[False])
        await self._restore()
        await self._went_through(ScheduleId.RETRY_FAILED_BLOCKCHAIN_TRANSFERS)
        return RetryResult(reopened=started[True], at_work=started[False], more=more)

    @activity.defn(name="archive_deliveries")
    @step
    async def archive_deliveries(self, job: ArchiveJob) -> ArchiveResult:
        archive, retention = self._ledgers.archive, timedelta(seconds=job.retention_s)
        budget, moved, done = Budget(job.step_budget_s), Counter[str](), job.after
        for subscription_id in await archive.subscriptions(job.after or NOTHING):
            mark = NOTHING
            while page := await archive.archive_page(subscription_id, mark, retention, job.page_size):
                mark = page.end
                moved.update(deliveries=page.deliveries, attempts=page.attempts)
                if budget.is_used_up:
                    return ArchiveResult(
                        deliveries=moved["deliveries"], attempts=moved["attempts"], after=done, more=True
                    )
            done = subscription_id
        activity.logger.info("%d deliveries with %d attempts archived", moved["deliveries"], moved["attempts"])
        await self._went_through(ScheduleId.ARCHIVE_WEBHOOK_DELIVERIES)
        return ArchiveResult(deliveries=moved["deliveries"], attempts=moved["attempts"], after=done)

    @activity.defn(name="tend_stale_batches")
    @step
    async def tend_stale_batches(self, work: CleanStep) -> TendedBatches:
        start_after, fail_after = timedelta(seconds=work.job.start_after_s), timedelta(seconds=work.job.fail_after_s)
        budget, after = Budget(work.job.step_budget_s), work.after
        deeds, examples = Counter[Deed](), list[StaleBatch]()
        while page := await self._ledgers.batches.open_page(after, start_after, fail_after, BATCHES_PAGE):
            after = page[-1].batch_id
            tended = await self._tender.tend(page)
            deeds.update(one.deed for one in tended)
            examples += [one.stale for one in tended if one.stale is not None]
            if budget.is_used_up:
                break
        return TendedBatches(
            started=deeds[Deed.STARTED],
            failed=deeds[Deed.FAILED],
            resumed=deeds[Deed.RESUMED],
            reported=deeds[Deed.REPORTED],
            examples=tuple(examples[:MOST_TOLD]),
            after=after if page else None,
        )

    @activity.defn(name="tend_stale_transfers")
    @step
    async def tend_stale_transfers(self, work: CleanStep) -> TendedTransfers:
        budget, after, total = Budget(work.job.step_budget_s), work.after, TendedTransfers()
        while page := await self._ledgers.transfers.page(after, TRANSFERS_PAGE):
            after = page[-1].transfer_id
            tended = await self._transfer_tender.tend(page)
            total = TendedTransfers(
                resumed=total.resumed + tended.resumed, reported=total.reported + tended.reported, after=after
            )
            if budget.is_used_up:
                return total
        return total.model_copy(update={"after": None})

    @activity.defn(name="cancel_failed_batches")
    @step
    async def cancel_failed_batches(self, job: CleanJob) -> bool:
        await self._wake_what_an_earlier_go_left()
        budget = Budget(job.step_budget_s)
        while batch_ids := await self._ledgers.batches.failed_with_queued(BATCHES_PAGE):
            for batch_id in batch_ids:
                after: int | None = 0
                while after is not None:
                    after, woken = await self._ledgers.batches.cancel_queued_page(batch_id, after, ITEMS_PAGE)
                    await self._waker.wake(woken)
                    if budget.is_used_up:
                        return True
            if len(batch_ids) < BATCHES_PAGE:
                break
        return False

    @activity.defn(name="compare_counters")
    @step
    async def compare_counters(self, work: CleanStep) -> ComparedBatches:
        ended_within = timedelta(seconds=work.job.compare_ended_within_s)
        budget, after, found, done = Budget(work.job.step_budget_s), work.after, list[Difference](), Counter[str]()
        while page := await self._ledgers.batches.page_to_compare(after, ended_within, BATCHES_PAGE):
            for batch_id in page:
                found += await self._repaired(batch_id)
                done.update(compared=1, mended=await self._mended(batch_id))
                after = batch_id
                if budget.is_used_up:
                    return _compared(done, found, after)
        await self._went_through(ScheduleId.CLEAN_STALE_BATCHES)
        return _compared(done, found, None)

    @activity.defn(name="settle_batch_alerts")
    @step
    async def settle_batch_alerts(self, seen: SeenSince) -> None:
        await self._ledgers.batches.close_alerts(seen.began_at - CLOCK_MARGIN)

    @activity.defn(name="bury_job")
    @step
    async def bury_job(self, failure: JobFailure) -> None:
        execution = f"workflow/{failure.workflow_id}/{failure.run_id}"
        await self._ledgers.letters.bury_job(failure.job, failure.code, failure.message, execution)
        await self._raise_alert(AlertKind.DEFECT, subject_of(failure.job), failure.message)

    async def _signal(self, subscription_ids: list[UUID]) -> None:
        # A failed signal fails the step, which does them all again: waking twice is harmless.
        await asyncio.gather(*(signal_delivery(self._client, one) for one in subscription_ids))

    async def _start_retries(self, due: list[DueRetry]) -> list[bool]:
        # Where Temporal doesn't answer, the claims lapse by themselves after the least age.
        return await asyncio.gather(*map(self._retry, due))

    async def _retry(self, due: DueRetry) -> bool:
        request = TransferInput(transfer_id=due.transfer_id, reopen=Reopening(by=ReopenedBy.SCHEDULE))
        summary = f"scheduled retry for {due.from_user_id}"
        return await start_transfer(self._client, request, batch_priority(due.from_user_id), summary)

    async def _repaired(self, batch_id: UUID) -> list[Difference]:
        difference = await self._ledgers.batches.repair_counters(batch_id)
        if difference is None:
            return []
        told = (batch_id, difference.counters.model_dump_json(), difference.items.model_dump_json())
        activity.logger.warning("counters of batch %s were %s and are now %s, as its items say", *told)
        return [difference]

    async def _mended(self, batch_id: UUID) -> int:
        woken = await self._ledgers.batches.mend(batch_id)
        if woken is None:
            return 0
        activity.logger.warning("batch %s is completed: a retry mended the last of it and didn't say so", batch_id)
        await self._waker.wake(woken)
        return 1

    async def _restore(self) -> None:
        """Of the jobs of each minute: whichever of their schedules is deleted, the other puts it back."""
        for schedule_id in await self._restore_schedules():
            activity.logger.warning("schedule %s was gone and is put back", schedule_id)

    async def _wake_what_an_earlier_go_left(self) -> None:
        """An earlier go may have died between a commit and its wake."""
        if activity.info().attempt > 1:
            await self._waker.wake(await self._ledgers.webhooks.due_subscriptions())

    async def _went_through(self, job: ScheduleId) -> None:
        await self._ledgers.failures.settle(job)


def _compared(done: Counter[str], found: list[Difference], after: UUID | None) -> ComparedBatches:
    repairs = tuple(RepairedCounters(batch_id=d.batch_id, was=d.counters, is_now=d.items) for d in found[:MOST_TOLD])
    return ComparedBatches(repaired=len(found), repairs=repairs, after=after, **done)
