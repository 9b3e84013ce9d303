"""`BatchTransfer`: keeps a window of slices in flight, obeys pause and cancel, and ends with the stored result."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

from workflows.batch_board import BatchBoard
from workflows.batch_controls import BatchControls
from workflows.batch_steps import cancel_unbound, close_batch, open_batch, reopen_failed_items, set_paused
from workflows.decoding import NO_INPUT, cancel_reason, decoded_batch
from workflows.defects import SAME_DEFECTS, DefectsInARow, raise_alert, wait_after_defect
from workflows.deliveries import DeliveryStarter
from workflows.interface.batch import (
    BatchCursor,
    BatchInput,
    BatchPlan,
    BatchProgress,
    BatchResult,
    DueAgain,
    ItemFault,
    Slice,
    StepResult,
)
from workflows.interface.codes import AlertKind
from workflows.interface.names import Query, Signal, WorkflowType
from workflows.interface.policies import TASK_TIMEOUT, batch_priority
from workflows.interface.slices import ItemRange
from workflows.slice_steps import confirm_bound, run_slice
from workflows.work_list import WorkList

LOOK_AGAIN = timedelta(seconds=5)


@workflow.defn(name=WorkflowType.BATCH_TRANSFER)
class BatchTransfer:
    """One batch of transfers. Rows travel through Postgres; here is only which range is where."""

    plan: BatchPlan
    """Known once the batch is open; no slice runs before."""
    _work: WorkList

    def __init__(self) -> None:
        self.controls = BatchControls()
        self._board = BatchBoard()
        self._active: set[asyncio.Task[None]] = set()
        self._slices_opened = 0
        self._defects = DefectsInARow()
        self._failure: ActivityError | None = None
        self._stuck = 0
        self._deliveries = DeliveryStarter()

    @workflow.run
    async def run(self, request: RawValue = NO_INPUT) -> BatchResult:
        """Input: `BatchInput` as JSON. Result: how the batch stands as this run ends.

        Raises (as the workflow's failure): INVALID_INPUT, BATCH_CONTENT_DIFFERS.
        """
        wanted = decoded_batch(request)
        driver = asyncio.create_task(self._drive(wanted))
        while not driver.done():
            try:
                await asyncio.shield(driver)
            except asyncio.CancelledError:
                # Cancelling the workflow (the Web UI's button) means cancel-batch: what is bound is still settled.
                self.controls.cancel()
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
        self.controls.cancel(cancel_reason(arguments))

    @workflow.signal(name=Signal.PAUSE_BATCH)
    def pause_batch(self) -> None:
        """Stops new bindings until resumed; what is bound is confirmed."""
        self.controls.pause()

    @workflow.signal(name=Signal.RESUME_BATCH)
    def resume_batch(self) -> None:
        """Goes on after a pause, of a person's or of repeated defects."""
        self.controls.resume()
        self._defects.forget()

    @workflow.query(name=Query.PROGRESS)
    def progress(self) -> BatchProgress:
        """Where the items stand."""
        return self._board.progress()

    # What a slice asks of its batch ---------------------------------------------------------------------------------

    def note(self, result: StepResult) -> None:
        """Takes counts and subscriptions from a step's result."""
        self._board.note(result.counts)
        self._show()
        self._deliveries.want(result.subscription_ids)

    def ask_again(self, due: DueAgain) -> None:
        """Notes items that wait for another try; their slice leaves the window."""
        self._work.ask_again([due])

    async def defect_seen(self, signature: str | None) -> bool:
        """Counts a whole slice's defect (None: a part's) and waits while paused. Whether narrowing may go on."""
        if signature is not None and self._defects.are_too_many(signature):
            await self._pause_with_alert(f"{SAME_DEFECTS} slices in a row met the same defect: {signature}")
        if self.controls.go_on():
            return True
        await workflow.wait_condition(self.controls.go_on)
        return self.controls.cancel_wanted

    async def stuck(self, fault: ItemFault) -> None:
        """A defect keeps a bound item from being settled: pauses the batch with an alert until it's resumed.

        A cancelled batch can't be paused and has nothing else to do: the item is tried again in a while.
        """
        message = f"item {fault.item_no} is bound but can't be settled: {fault.message}"
        if not self.controls.cancel_wanted:
            await self._pause_with_alert(message)
            await workflow.wait_condition(lambda: self.controls.cancel_wanted or not self.controls.pause_wanted)
        else:
            await self._alert(f"batch can't end its cancel, and tries again: {message}")
        if self.controls.cancel_wanted:
            await workflow.sleep(wait_after_defect(self._stuck), summary="a bound item can't be settled")
            self._stuck += 1

    # The course of a run --------------------------------------------------------------------------------------------

    async def _drive(self, request: BatchInput) -> BatchResult | None:
        """None where a new run has to go on with the rest."""
        await self._begin(request)
        if self.plan.status.ended:
            return await self._close()
        obeying = asyncio.create_task(self._guarded(self.controls.obey(self._cancel_unbound, self._carry_pause)))
        finished = await self._work_off()
        self.controls.leaving = True
        await obeying
        self._raise_failure()
        return await self._close() if finished else None

    async def _work_off(self) -> bool:
        """Whether every item has ended; False where a new run has to go on with the rest."""
        while True:
            await self._run_slices()
            if self._work.more and not self.controls.cancel_wanted:
                return False
            if self.controls.cancel_wanted:
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
            self.plan = cursor.plan
            self._work = WorkList(self.plan, cursor.next_item)
            self._work.ask_again(cursor.due_again)
            self.controls.take_up(paused=cursor.paused, pause_wanted=cursor.pause_wanted)
            if cursor.cancel_wanted:
                self.controls.cancel(cursor.cancel_reason)
            self._board.take_up(cursor.plan, cursor.counts, self.controls.status)
            return
        self.plan = await open_batch(request)
        self._work = WorkList(self.plan)
        await self._introduce()
        if self.plan.reopening and not self.plan.status.ended:
            reopened = await reopen_failed_items(self.plan)
            self._board.counts = reopened.counts
            self._work.skip_new()
            self._work.ask_again(reopened.due_again)

    async def _introduce(self) -> None:
        """Makes an opened batch known: to its queries, to the Web UI, and to the drains of its webhooks."""
        plan = self.plan
        self.controls.take_up(paused=plan.paused, pause_wanted=plan.paused)
        if plan.cancelled:
            self.controls.cancel()
        self._board.introduce(plan)
        if not plan.status.ended:
            self._deliveries.want(plan.subscription_ids)
            await self._deliveries.started()

    async def _run_slices(self) -> None:
        """Keeps the window filled until nothing is left, the history is long, or the batch is cancelled."""
        while not self.controls.cancel_wanted and self._failure is None and not self._history_is_long():
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
                self._defects.forget()
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

    async def _finish_cancel(self) -> None:
        """What is bound is settled by the chain; what came back unbound meanwhile is cancelled."""
        await workflow.wait_condition(lambda: self.controls.cut_made or self._failure is not None)
        self._raise_failure()
        whole = ItemRange(first=1, last=self.plan.item_count)
        await confirm_bound(self, Slice(batch_id=self.plan.batch_id, range=whole))
        await self._cancel_unbound()

    async def _cancel_unbound(self) -> None:
        self.note(await cancel_unbound(self.plan, self.controls.cancel_reason))

    async def _carry_pause(self, paused: bool) -> None:
        await set_paused(self.plan, paused=paused)
        self.controls.paused = paused
        self._board.set_status(self.controls.status)
        self._show()

    async def _close(self) -> BatchResult:
        result = await close_batch(self.plan)
        self._board.close(result)
        return result

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """A background task's failure becomes the run's."""
        try:
            await work
        except ActivityError as error:
            self._failure = self._failure or error

    async def _pause_with_alert(self, message: str) -> None:
        self.controls.pause()
        await self._alert(f"batch paused: {message}")

    async def _alert(self, message: str) -> None:
        await raise_alert(AlertKind.REPEATED_DEFECT, message, batch_priority(self.plan.from_user_id))

    # Small questions ------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        self._board.show(in_flight=len(self._active), waiting=self._work.waiting)

    def _has_room(self) -> bool:
        return len(self._active) < self.plan.window and not self.controls.pause_wanted

    def _history_is_long(self) -> bool:
        return self._slices_opened >= self.plan.slices_per_run or workflow.info().is_continue_as_new_suggested()

    def _pulse(self) -> tuple[int, int, bool, bool, bool]:
        slices, ranges, controls = len(self._active), self._work.waiting, self.controls
        return slices, ranges, controls.pause_wanted, controls.cancel_wanted, self._failure is None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _cursor(self) -> BatchCursor:
        return BatchCursor(
            plan=self.plan,
            next_item=self._work.next_item,
            counts=self._board.counts,
            due_again=self._work.left_waiting(workflow.now()),
            paused=self.controls.paused,
            pause_wanted=self.controls.pause_wanted,
            cancel_wanted=self.controls.cancel_wanted,
            cancel_reason=self.controls.cancel_reason,
        )
