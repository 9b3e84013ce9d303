"""`BatchTransfer`: keeps a window of slices in flight, obeys pause and cancel, and ends with the stored result."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority, RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.batch_board import BatchBoard
from workflows.decoding import NO_INPUT, cancel_reason, decoded, invalid_input
from workflows.deliveries import DeliveryStarter
from workflows.interface.batch import (
    Alert,
    BatchCursor,
    BatchInput,
    BatchPlan,
    BatchProgress,
    BatchResult,
    ControlInput,
    DueAgain,
    ItemFault,
    Slice,
    StepResult,
    TransferActivities,
)
from workflows.interface.codes import AlertKind, BatchStatus
from workflows.interface.names import Query, Signal, WorkflowType, batch_workflow_id
from workflows.interface.policies import SLICE_STEP, TASK_TIMEOUT, WHOLE_BATCH_STEP, batch_priority
from workflows.interface.slices import ItemRange
from workflows.slice_steps import AFTER_DEFECT, call, confirm_bound, insist, run_slice
from workflows.work_list import WorkList

SAME_DEFECTS = 3
"""So many slices in a row with the same defect are no poison values: the batch pauses."""
LOOK_AGAIN = timedelta(seconds=5)


@workflow.defn(name=WorkflowType.BATCH_TRANSFER)
class BatchTransfer:
    """One batch of transfers. Rows travel through Postgres; here is only which range is where."""

    plan: BatchPlan
    """Known once the batch is open; no slice runs before."""
    _work: WorkList

    def __init__(self) -> None:
        self.paused = False
        self.cancel_wanted = False
        self._pause_wanted = False
        self._pause_word: bool | None = None
        """The last signal's, which may come before this run has read what it was handed, and is newer than that."""
        self._cancel_reason: str | None = None
        self._cut_made = False
        self._board = BatchBoard()
        self._active: set[asyncio.Task[None]] = set()
        self._slices_opened = 0
        self._defect: str | None = None
        self._defects_in_a_row = 0
        self._failure: ActivityError | None = None
        self._leaving = False
        self._deliveries = DeliveryStarter()

    @workflow.run
    async def run(self, request: RawValue = NO_INPUT) -> BatchResult:
        """Input: `BatchInput` as JSON. Result: how the batch stands as this run ends.

        Raises (as the workflow's failure): INVALID_INPUT, BATCH_CONTENT_DIFFERS.
        """
        wanted = _checked(decoded(request, BatchInput))
        driver = asyncio.create_task(self._drive(wanted))
        while not driver.done():
            try:
                await asyncio.shield(driver)
            except asyncio.CancelledError:
                # Cancelling the workflow (the Web UI's button) means cancel-batch: what is bound is still settled.
                self.cancel_wanted = True
        result = driver.result()
        await self._deliveries.started()
        await workflow.wait_condition(workflow.all_handlers_finished)
        if result is None:
            # Made at the very last, so that no signal falls between it and the next run.
            following = BatchInput(batch_id=wanted.batch_id, resume=self._cursor())
            workflow.continue_as_new(following, task_timeout=TASK_TIMEOUT)
        return result

    @workflow.signal(name=Signal.CANCEL_BATCH)
    def cancel_batch(self, *arguments: Any) -> None:
        """Stops new bindings for good. Optional argument: `{"reason": "…"}`; with any other it counts as well."""
        self._cancel_reason = self._cancel_reason or cancel_reason(arguments)
        self.cancel_wanted = True

    @workflow.signal(name=Signal.PAUSE_BATCH)
    def pause_batch(self) -> None:
        """Stops new bindings until resumed; what is bound is confirmed."""
        self._pause_wanted = self._pause_word = True

    @workflow.signal(name=Signal.RESUME_BATCH)
    def resume_batch(self) -> None:
        """Goes on after a pause, of a person's or of repeated defects."""
        self._pause_wanted = self._pause_word = False
        self._defects_in_a_row = 0

    @workflow.query(name=Query.PROGRESS)
    def progress(self) -> BatchProgress:
        """Where the items stand."""
        return self._board.progress()

    # What a slice asks of its batch ---------------------------------------------------------------------------------

    def note(self, result: StepResult) -> None:
        """Takes counts and subscriptions from a step's result."""
        self._board.note(result.counts)
        self._board.show(in_flight=len(self._active), waiting=self._work.waiting)
        self._deliveries.want(result.subscription_ids)

    def ask_again(self, due: DueAgain) -> None:
        """Notes items that wait for another try; their slice leaves the window."""
        self._work.ask_again([due])

    async def defect_seen(self, signature: str | None) -> bool:
        """Counts a whole slice's defect (None: a part's) and waits while paused. Whether narrowing may go on."""
        if signature is not None:
            self._defects_in_a_row = self._defects_in_a_row + 1 if signature == self._defect else 1
            self._defect = signature
            if self._defects_in_a_row == SAME_DEFECTS:
                await self._pause_with_alert(f"{SAME_DEFECTS} slices in a row met the same defect: {signature}")
        if self._goes_on():
            return True
        await workflow.wait_condition(self._goes_on)
        return self.cancel_wanted

    async def stuck(self, fault: ItemFault) -> None:
        """A defect keeps a bound item from being settled: pauses the batch with an alert until it's resumed."""
        await self._pause_with_alert(f"item {fault.item_no} is bound but can't be settled: {fault.message}")
        await workflow.wait_condition(lambda: not self._pause_wanted or self.cancel_wanted)
        if self.cancel_wanted:
            await workflow.sleep(AFTER_DEFECT, summary="a bound item can't be settled")

    # The course of a run --------------------------------------------------------------------------------------------

    async def _drive(self, request: BatchInput) -> BatchResult | None:
        """None where a new run has to go on with the rest."""
        await self._begin(request)
        if self.plan.status.ended:
            return await self._close()
        controls = asyncio.create_task(self._guarded(self._obey()))
        finished = await self._work_off()
        self._leaving = True
        await controls
        self._raise_failure()
        return await self._close() if finished else None

    async def _work_off(self) -> bool:
        """Whether every item has ended; False where a new run has to go on with the rest."""
        while True:
            await self._run_slices()
            if self._work.more and not self.cancel_wanted:
                return False
            if self.cancel_wanted:
                await self._finish_cancel()
            if self._board.all_ended:
                return True
            # A run that was cut off before this one may have left items in the middle: all are looked at again.
            workflow.logger.warning("items are open although every slice has ended; looking at all of them again")
            await workflow.sleep(LOOK_AGAIN, summary="items are open although every slice has ended")
            self._work.from_the_start()

    async def _begin(self, request: BatchInput) -> None:
        """Takes up the cursor of the run before, or opens the batch."""
        cursor = request.resume
        if cursor is not None:
            self.plan, self._cancel_reason = cursor.plan, cursor.cancel_reason
            self._work = self._work_from(cursor.next_item)
            self._work.ask_again(cursor.due_again)
            self.paused = cursor.paused
            self._pause_wanted = cursor.pause_wanted if self._pause_word is None else self._pause_word
            self.cancel_wanted = self.cancel_wanted or cursor.cancel_wanted
            self._board.take_up(cursor.plan, cursor.counts, self._running_status())
            return
        self.plan = await self._opened(request)
        self._work = self._work_from(1)
        await self._introduce()
        if self.plan.reopening and not self.plan.status.ended:
            method, summary = TransferActivities.reopen_failed_items, "reopen what failed"
            reopened = await insist(method, self.plan, WHOLE_BATCH_STEP, summary, self._priority())
            self._board.counts = reopened.counts
            self._work.skip_new()
            self._work.ask_again(reopened.due_again)

    async def _opened(self, request: BatchInput) -> BatchPlan:
        """The first step; a request that can't be done ends the workflow with the request's own error."""
        try:
            method, priority = TransferActivities.open_batch, workflow.info().priority
            return await insist(method, request, WHOLE_BATCH_STEP, "open the batch", priority)
        except ActivityError as error:
            cause = error.cause
            if not isinstance(cause, ApplicationError):
                raise
            raise ApplicationError(cause.message, type=cause.type, non_retryable=True) from error

    async def _introduce(self) -> None:
        """Makes an opened batch known: to its queries, to the Web UI, and to the drains of its webhooks."""
        plan = self.plan
        self.paused = plan.paused
        self._pause_wanted = plan.paused if self._pause_word is None else self._pause_word
        self.cancel_wanted = self.cancel_wanted or plan.cancelled
        self._board.introduce(plan)
        if not plan.status.ended:
            self._deliveries.want(plan.subscription_ids)
            await self._deliveries.started()

    async def _run_slices(self) -> None:
        """Keeps the window filled until nothing is left, the history is long, or the batch is cancelled."""
        while not self.cancel_wanted and self._failure is None and not self._history_is_long():
            work = self._work.take(workflow.now()) if self._has_room() else None
            if work is not None:
                self._slices_opened += 1
                self._active.add(asyncio.create_task(self._guarded(self._run_one(work))))
            elif self._active or self._work.more:
                await self._wait_for_change()
            else:
                break
        await workflow.wait_condition(lambda: not self._active or self._failure is not None)
        self._raise_failure()

    async def _run_one(self, work: Slice) -> None:
        task = asyncio.current_task()
        try:
            if await run_slice(self, work):
                self._defects_in_a_row = 0
        finally:
            self._active = {other for other in self._active if other is not task}

    async def _wait_for_change(self) -> None:
        """Until a slice ends, a signal comes, or the next items are due."""
        seen = self._pulse()
        due_at = self._work.next_due_at if self._has_room() else None
        timeout = None if due_at is None else max(due_at - workflow.now(), timedelta(milliseconds=1))
        try:
            await workflow.wait_condition(
                lambda: self._pulse() != seen, timeout=timeout, timeout_summary="until the next tries are due"
            )
        except TimeoutError:
            return

    async def _obey(self) -> None:
        """Carries pause, resume and cancel to the database, where they take effect, in the order they are wanted."""
        while True:
            await workflow.wait_condition(lambda: self._leaving or self._cut_is_due() or self._pause_is_due())
            if self._cut_is_due():
                await self._cancel_unbound()
                self._cut_made = True
            elif self._pause_is_due():
                target = self._pause_wanted
                method = TransferActivities.pause_batch if target else TransferActivities.resume_batch
                summary = "pause" if target else "resume"
                await insist(method, self._control(), SLICE_STEP, summary, self._priority())
                self.paused = target
                self._board.set_status(self._running_status())
            else:
                return

    async def _finish_cancel(self) -> None:
        """What is bound is settled by the chain; what came back unbound meanwhile is cancelled."""
        await workflow.wait_condition(lambda: self._cut_made or self._failure is not None)
        self._raise_failure()
        whole = ItemRange(first=1, last=self.plan.item_count)
        await confirm_bound(self, Slice(batch_id=self.plan.batch_id, range=whole))
        await self._cancel_unbound()

    async def _cancel_unbound(self) -> None:
        method, summary = TransferActivities.cancel_batch, "cancel what isn't bound"
        self.note(await insist(method, self._control(), WHOLE_BATCH_STEP, summary, self._priority()))

    async def _close(self) -> BatchResult:
        method = TransferActivities.close_batch
        result = await insist(method, self._control(), SLICE_STEP, "close the batch", self._priority())
        self._board.close(result)
        return result

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """A background task's failure becomes the run's."""
        try:
            await work
        except ActivityError as error:
            self._failure = self._failure or error

    async def _pause_with_alert(self, message: str) -> None:
        self._pause_wanted = True
        subject = batch_workflow_id(self.plan.batch_id)
        alert = Alert(kind=AlertKind.REPEATED_DEFECT, subject=subject, message=f"batch paused: {message}")
        await call(self.plan, TransferActivities.raise_alert, alert, SLICE_STEP, "alert")

    # Small questions ------------------------------------------------------------------------------------------------

    def _goes_on(self) -> bool:
        return self.cancel_wanted or not (self.paused or self._pause_wanted)

    def _has_room(self) -> bool:
        return len(self._active) < self.plan.window and not self._pause_wanted

    def _history_is_long(self) -> bool:
        return self._slices_opened >= self.plan.slices_per_run or workflow.info().is_continue_as_new_suggested()

    def _cut_is_due(self) -> bool:
        return self.cancel_wanted and not self._cut_made

    def _pause_is_due(self) -> bool:
        return not self.cancel_wanted and self._pause_wanted != self.paused

    def _pulse(self) -> tuple[int, int, bool, bool, bool]:
        return len(self._active), self._work.waiting, self._pause_wanted, self.cancel_wanted, self._failure is None

    def _priority(self) -> Priority:
        return batch_priority(self.plan.from_user_id)

    def _work_from(self, next_item: int) -> WorkList:
        return WorkList(self.plan.batch_id, self.plan.item_count, self.plan.slice_size, next_item)

    def _running_status(self) -> BatchStatus:
        return BatchStatus.PAUSED if self.paused else BatchStatus.PROCESSING

    def _control(self) -> ControlInput:
        return ControlInput(batch_id=self.plan.batch_id, reason=self._cancel_reason)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _cursor(self) -> BatchCursor:
        return BatchCursor(
            plan=self.plan,
            next_item=self._work.next_item,
            counts=self._board.counts,
            due_again=self._work.left_waiting(workflow.now()),
            paused=self.paused,
            pause_wanted=self._pause_wanted,
            cancel_wanted=self.cancel_wanted,
            cancel_reason=self._cancel_reason,
        )


def _checked(request: BatchInput) -> BatchInput:
    """The input, if it runs under the workflow id that belongs to it."""
    workflow_id = workflow.info().workflow_id
    if workflow_id != batch_workflow_id(request.batch_id):
        raise invalid_input(
            f"batchId {request.batch_id} belongs to workflow id batch/{request.batch_id}, not {workflow_id}"
        )
    return request
