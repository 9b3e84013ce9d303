"""Steps of the queue `transfers`: the life of a batch, for which Postgres alone is needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from temporalio import activity

from activities.faults import Step, step
from activities.turns import Turns, sender_of
from activities.waking import Waker
from ledger.creation import TransferCreation
from ledger.dead_letters import DeadLetters
from ledger.fingerprint import StagedItem
from ledger.retries import Retries
from ledger.runs import BatchRow, BatchRuns
from ledger.staging import BatchHeader, BatchWriter
from workflows.interface.batch import (
    Alert,
    BatchInput,
    BatchPlan,
    BatchResult,
    ControlInput,
    ItemFault,
    ReopenResult,
    Slice,
    StepResult,
    TransferActivities,
)
from workflows.interface.codes import AlertKind, FailureCode, ItemOrder, TransferKind
from workflows.interface.names import batch_workflow_id

PAGE_SIZE = 1_000
MOST_RANGES = 5_000
"""Of items to be tried again, in one message: half a megabyte of the two that Temporal takes."""


class Pace(NamedTuple):
    """How a batch is cut and how much of it is in flight."""

    slice_size: int
    window: int
    slices_per_run: int


class TransferLedgers(NamedTuple):
    """The parts of the ledger these steps use."""

    runs: BatchRuns
    writer: BatchWriter
    creation: TransferCreation
    retries: Retries
    letters: DeadLetters


class Transfers(Step, TransferActivities):
    """Implements `TransferActivities` on the ledger."""

    def __init__(self, ledgers: TransferLedgers, waker: Waker, pace: Pace, turns: Turns) -> None:
        super().__init__(ledgers.runs.raise_alert)
        self._runs, self._writer, self._creation, self._retries, self._letters = ledgers
        self._waker = waker
        self._pace = pace
        self._turns = turns

    @activity.defn(name="open_batch")
    @step
    async def open_batch(self, request: BatchInput) -> BatchPlan:
        """Writes an inline batch or finds a staged one, and marks it running."""
        if request.items is not None and request.from_user_id is not None:
            header = BatchHeader(request.batch_id, request.from_user_id, request.options)
            stored = await self._writer.write(header, (StagedItem(i.ticket_id, i.to) for i in request.items))
            await self._waker.wake(stored.wake)
        await self._runs.find(request.batch_id)
        opened_by = activity.info().workflow_run_id or ""
        batch = await self._runs.open(request.batch_id, opened_by, retry_failed=request.retry_failed)
        reopening = batch.run_no > 1 and (batch.opened_by == opened_by or request.retry_failed)
        return await self._plan(batch, reopening=reopening)

    @activity.defn(name="reopen_failed_items")
    @step
    async def reopen_failed_items(self, plan: BatchPlan) -> ReopenResult:
        """Reopens, page by page, the items that failed before this run."""
        after: int | None = 0
        woken: set[UUID] = set()
        while after is not None:
            page = await self._retries.reopen_page(plan.batch_id, plan.run_no, after, PAGE_SIZE)
            woken |= page.subscription_ids
            after = page.next_after
        await self._wake(plan.batch_id, woken)
        counts = await self._runs.counts(plan.batch_id)
        # Else slices of one item, and so one range each, wouldn't fit into the result.
        most_items = max(plan.slice_size, -(-counts.processing // MOST_RANGES))
        return ReopenResult(counts=counts, due_again=await self._retries.due_ranges(plan.batch_id, most_items))

    @activity.defn(name="create_transfers")
    @step
    async def create_transfers(self, work: Slice) -> StepResult:
        """Validates the range's queued items, locks their tickets and creates their transfers."""
        async with self._turns.turn(sender_of(work)):
            created = await self._creation.create(work)
        await self._wake(work.batch_id, created.subscription_ids)
        # Gifts go no further, so it's here that those are told whose ticket is locked.
        of_gifts = (await self._runs.find(work.batch_id)).options.kind is TransferKind.GIFT
        return StepResult(
            counts=await self._runs.counts(work.batch_id),
            due_again=await self._retries.due_again(work) if of_gifts else None,
            subscription_ids=tuple(created.subscription_ids),
            stopped=created.stopped,
        )

    @activity.defn(name="fail_item")
    @step
    async def fail_item(self, fault: ItemFault) -> StepResult:
        """Fails one unbound item with INTERNAL and raises an alert; `left` is 1 where it's bound."""
        subject = f"{batch_workflow_id(fault.batch_id)} item {fault.item_no}"
        if (await self._runs.find(fault.batch_id)).run_no == fault.run_no:
            await self._runs.raise_alert(AlertKind.DEFECT, subject, fault.message)
        reason = f"{FailureCode.INTERNAL.meaning} ({fault.message})"
        woken = await self._runs.fail_item(fault.batch_id, fault.run_no, fault.item_no, FailureCode.INTERNAL, reason)
        await self._wake(fault.batch_id, woken or ())
        return StepResult(
            counts=await self._runs.counts(fault.batch_id),
            left=int(woken is None),
            subscription_ids=tuple(woken or ()),
        )

    @activity.defn(name="pause_batch")
    @step
    async def pause_batch(self, control: ControlInput) -> None:
        """Forbids new bindings; when it returns, none is under way any more."""
        await self._runs.set_paused(control.batch_id, control.run_no, paused=True)

    @activity.defn(name="resume_batch")
    @step
    async def resume_batch(self, control: ControlInput) -> None:
        """Allows bindings again."""
        await self._runs.set_paused(control.batch_id, control.run_no, paused=False)

    @activity.defn(name="cancel_batch")
    @step
    async def cancel_batch(self, control: ControlInput) -> StepResult:
        """Commits the cut, then cancels what isn't bound, page by page, and frees the tickets."""
        await self._runs.set_cancelled(control.batch_id, control.run_no, control.reason)
        after: int | None = 0
        woken: set[UUID] = set()
        while after is not None:
            page = await self._runs.cancel_page(control.batch_id, control.run_no, after, PAGE_SIZE)
            woken |= page.subscription_ids
            after = page.next_after
        await self._bury_failed(control.batch_id)
        await self._wake(control.batch_id, woken)
        return StepResult(counts=await self._runs.counts(control.batch_id), subscription_ids=tuple(woken))

    @activity.defn(name="close_batch")
    @step
    async def close_batch(self, control: ControlInput) -> BatchResult:
        """Writes the final status with its event, once per run, and returns the stored result."""
        closed = await self._runs.close(control.batch_id, control.run_no)
        await self._wake(control.batch_id, closed.subscription_ids)
        return closed.result

    @activity.defn(name="raise_alert")
    @step
    async def raise_alert(self, alert: Alert) -> None:
        """Records a condition that a person must see."""
        await self._runs.raise_alert(alert.kind, alert.subject, alert.message)

    async def _bury_failed(self, batch_id: UUID) -> None:
        """What failed before the cancel would else wait for a retry that never comes."""
        after: int | None = 0
        while after is not None:
            after = await self._letters.bury_cancelled_page(batch_id, after, PAGE_SIZE)

    async def _wake(self, batch_id: UUID, subscription_ids: Iterable[UUID]) -> None:
        """Wakes the drains of what was just committed, and in a later go of what an earlier one may have left."""
        await self._waker.wake(subscription_ids)
        if activity.info().attempt > 1:
            await self._waker.wake(await self._runs.due_subscriptions(batch_id))

    async def _plan(self, batch: BatchRow, *, reopening: bool) -> BatchPlan:
        options = batch.options
        one_by_one = options.order is ItemOrder.SEQUENTIAL
        return BatchPlan(
            batch_id=batch.batch_id,
            from_user_id=batch.from_user_id,
            item_count=batch.item_count,
            settlement=options.settlement,
            kind=options.kind,
            order=options.order,
            run_no=batch.run_no,
            status=batch.status,
            counts=await self._runs.counts(batch.batch_id),
            request_sha256=batch.request_sha256.hex(),
            slice_size=1 if one_by_one else self._pace.slice_size,
            window=1 if one_by_one else self._pace.window,
            slices_per_run=self._pace.slices_per_run,
            subscription_ids=await self._runs.subscriptions(batch.from_user_id),
            cancelled=batch.cancelled,
            paused=batch.paused,
            reopening=reopening,
        )
