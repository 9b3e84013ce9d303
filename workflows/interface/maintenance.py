"""Scheduled jobs: the messages of their workflows and the steps they may ask for.

A job's input comes from its schedule, which takes it from the worker's settings; all of it may be left out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field
from temporalio import activity

from workflows.interface.batch import BatchCounts
from workflows.interface.codes import ErrorCode
from workflows.interface.message import Message
from workflows.interface.names import ScheduleId

MOST_TOLD = 20
"""Batches that a result names; the log has them all."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PageSize = Annotated[int, Field(ge=1, le=5_000)]
StepCount = Annotated[int, Field(ge=1, le=600)]
"""Steps before a run continues as new, at about six history events each."""


class Job(Message):
    """What every job is told. Unknown fields are ignored: while workers are replaced, an older one may get it."""

    step_limit_s: Seconds = 60.0
    """How long a step may be tried in all, so that an outage doesn't hold up the runs after this one."""


class SweepResult(Message):
    """What the sweep of all subscriptions did."""

    due_subscriptions: int
    """All of them were woken."""


class ExpireJob(Job):
    """Input of `ExpireTransfers`."""

    step_limit_s: Seconds = 300.0
    page_size: PageSize = 1_000
    step_budget_s: Seconds = 20.0
    """How long one step goes on with pages."""
    steps_per_run: StepCount = 500
    expired: int = 0
    """Set by the workflow itself when it continues as new."""


class ExpireResult(Message):
    """What one step or run of `ExpireTransfers` did."""

    expired: int
    more: bool = False


class RetryJob(Job):
    """Input of `RetryFailedBlockchainTransfers`."""

    page_size: Annotated[int, Field(ge=1, le=1_000)] = 10
    least_age_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300.0
    """Since a transfer's last retry."""
    budget_s: Annotated[float, Field(gt=0, le=55)] = 50.0
    """No new page is begun after it."""


class RetryResult(Message):
    """What a run of `RetryFailedBlockchainTransfers` did."""

    reopened: int
    """`Transfer` workflows started; each reopens its transfer, if it still may."""
    at_work: int = 0
    """Transfers whose workflow runs already."""
    more: bool = False
    """The time was up before all were looked at."""


class ArchiveJob(Job):
    """Input of `ArchiveWebhookDeliveries`."""

    step_limit_s: Seconds = 3_600.0
    retention_s: Annotated[float, Field(ge=3_600, allow_inf_nan=False)] = 30 * 86_400.0
    page_size: PageSize = 1_000
    step_budget_s: Seconds = 20.0
    steps_per_run: StepCount = 500
    deliveries: int = 0
    """This and the next two: set by the workflow itself from step to step."""
    attempts: int = 0
    after: UUID | None = None
    """Subscriptions up to this one are done."""


class ArchiveResult(Message):
    """What one step or run of `ArchiveWebhookDeliveries` did."""

    deliveries: int
    attempts: int
    after: UUID | None = None
    more: bool = False


class CleanJob(Job):
    """Input of `CleanStaleBatches`."""

    step_limit_s: Seconds = 3_600.0
    start_after_s: Seconds = 3_600.0
    """A batch that was staged and never started is started after it."""
    fail_after_s: Seconds = 7 * 86_400.0
    """One that is older isn't started any more."""
    compare_ended_within_s: Seconds = 86_400.0
    """Counters of batches that ended so long ago are compared with their items."""
    step_budget_s: Seconds = 20.0


class CleanStep(Message):
    """Input of a step of the clean-up: the job, and after which batch to go on."""

    job: CleanJob
    after: UUID = UUID(int=0)


class StaleBatch(Message):
    """A batch that only a person can decide about."""

    batch_id: UUID
    why: str


class TendedBatches(Message):
    """What one step did about batches without a running workflow."""

    started: int = 0
    """Staged and never started before."""
    failed: int = 0
    """Staged too long ago to be started still."""
    resumed: int = 0
    reported: int = 0
    """Left alone, with an alert each: only a person can decide."""
    examples: tuple[StaleBatch, ...] = ()
    after: UUID | None = None
    """Where the next step begins; None: all were looked at."""


class TendedTransfers(Message):
    """What one step did about transfers on their way without a running workflow."""

    resumed: int = 0
    reported: int = 0
    """A person stopped them; left alone, with an alert each."""
    after: UUID | None = None
    """As in `TendedBatches`."""


class RepairedCounters(Message):
    """A batch whose counters weren't what its items say."""

    batch_id: UUID
    was: BatchCounts
    is_now: BatchCounts


class ComparedBatches(Message):
    """What one step of comparing counters found."""

    compared: int = 0
    repaired: int = 0
    repairs: tuple[RepairedCounters, ...] = ()
    mended: int = 0
    """Completed: a retry had mended the last failed item, and its workflow was gone before it could say so."""
    after: UUID | None = None


class CleanResult(Message):
    """What a run of `CleanStaleBatches` did."""

    started: int
    failed: int
    resumed: int
    reported: int
    examples: tuple[StaleBatch, ...]
    """Some of the reported."""
    compared: int
    repaired: int
    repairs: tuple[RepairedCounters, ...]
    transfers_resumed: int = 0
    """Single transfers, gifts and retried items on their way whose workflow was gone."""
    transfers_reported: int = 0
    mended: int = 0
    """Batches completed, as `ComparedBatches` tells."""


class SeenSince(Message):
    """Input of the step that closes alerts: when the run began."""

    began_at: AwareDatetime


class JobFailure(Message):
    """A job's run that failed: a step met a defect, or an outage that lasted too long."""

    job: ScheduleId
    workflow_id: str
    run_id: str
    message: str
    code: ErrorCode = ErrorCode.DEFECT


class MaintenanceActivities(ABC):
    """Steps of the queue `maintenance`. Each is safe to run twice, also at the same time."""

    @activity.defn(name="sweep_webhook_deliveries")
    @abstractmethod
    async def sweep_webhook_deliveries(self) -> SweepResult:
        """Wakes the drain of every subscription that has due deliveries (starts it where none runs)."""

    @activity.defn(name="expire_transfers")
    @abstractmethod
    async def expire_transfers(self, job: ExpireJob) -> ExpireResult:
        """Ends gifts whose time is over, page by page."""

    @activity.defn(name="retry_failed_transfers")
    @abstractmethod
    async def retry_failed_transfers(self, job: RetryJob) -> RetryResult:
        """Claims failed transfers that are due and starts their `Transfer` workflows, page by page."""

    @activity.defn(name="archive_deliveries")
    @abstractmethod
    async def archive_deliveries(self, job: ArchiveJob) -> ArchiveResult:
        """Moves finished deliveries past their retention to the archive, page by page."""

    @activity.defn(name="tend_stale_batches")
    @abstractmethod
    async def tend_stale_batches(self, work: CleanStep) -> TendedBatches:
        """Starts, resumes or fails batches that nobody works on, page by page; says which it left alone."""

    @activity.defn(name="tend_stale_transfers")
    @abstractmethod
    async def tend_stale_transfers(self, work: CleanStep) -> TendedTransfers:
        """Resumes transfers on their way that nobody works on, page by page."""

    @activity.defn(name="cancel_failed_batches")
    @abstractmethod
    async def cancel_failed_batches(self, job: CleanJob) -> bool:
        """Cancels the items of batches that were failed, page by page, with the event; whether there are more."""

    @activity.defn(name="compare_counters")
    @abstractmethod
    async def compare_counters(self, work: CleanStep) -> ComparedBatches:
        """Compares counters with items and sets them right, page by page; completes batches that retries mended."""

    @activity.defn(name="settle_batch_alerts")
    @abstractmethod
    async def settle_batch_alerts(self, seen: SeenSince) -> None:
        """Closes the alerts of stale batches that this run didn't report any more."""

    @activity.defn(name="bury_job")
    @abstractmethod
    async def bury_job(self, failure: JobFailure) -> None:
        """Writes the job's dead letter and raises an alert."""
