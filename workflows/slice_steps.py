"""One slice of a batch, from creation to confirmation, and the narrowing down of a defect to its item."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.batch_controls import BatchControls
from workflows.defects import defect_signature
from workflows.interface.batch import (
    BatchPlan,
    BlockchainActivities,
    DueAgain,
    ItemFault,
    Slice,
    StepResult,
    TransferActivities,
)
from workflows.interface.codes import TransferKind
from workflows.interface.policies import CHAIN_STEP, SLICE_STEP, ActivityOptions, batch_priority

P = TypeVar("P")
R = TypeVar("R")

STOPPED_POLL = timedelta(seconds=1)


class BatchState(Protocol):
    """What a slice needs of its batch."""

    plan: BatchPlan
    controls: BatchControls

    def note(self, result: StepResult) -> None:
        """Takes counts and subscriptions from a step's result."""
        ...

    def ask_again(self, due: DueAgain) -> None:
        """Notes items that wait for another try; the slice leaves the window."""
        ...

    async def defect_seen(self, signature: str | None) -> bool:
        """Counts a whole slice's defect (None: a part's) and waits while paused. Whether narrowing may go on."""
        ...

    async def stuck(self, fault: ItemFault) -> None:
        """A defect keeps a bound item from being settled: alerts, and returns when it's to be tried again."""
        ...


async def call(
    plan: BatchPlan, method: Callable[[Any, P], Awaitable[R]], argument: P, options: ActivityOptions, summary: str
) -> R:
    """One step as an activity, with the batch's priority and a summary for the Web UI."""
    return await workflow.execute_activity_method(
        method, argument, **options, priority=batch_priority(plan.from_user_id), summary=summary
    )


async def run_slice(batch: BatchState, work: Slice) -> bool:
    """Brings the range as far as it gets now; what waits for another try is noted with the batch.

    Whether all went without a defect. One halves the range, down to its item.
    """
    return await _narrowing(batch, work, _steps, part=False)


async def confirm_bound(batch: BatchState, work: Slice) -> bool:
    """Settles what is bound in the range, and nothing else. Whether all went without a defect."""
    return await _narrowing(batch, work, _confirm, part=True)


async def _narrowing(
    batch: BatchState, work: Slice, steps: Callable[[BatchState, Slice], Awaitable[None]], *, part: bool
) -> bool:
    """`part`: of a slice that met a defect; it isn't counted again."""
    clean = True
    while True:
        try:
            await steps(batch, work)
        except ActivityError as error:
            signature = defect_signature(error)
            if signature is None:
                raise
        else:
            return clean
        clean = False
        if not await batch.defect_seen(None if part else signature):
            # Paused meanwhile: the cause may have been mended, so the whole range is tried again.
            continue
        if work.range.size > 1:
            for half in work.range.halves():
                await _narrowing(batch, work.model_copy(update={"range": half}), steps, part=True)
            return False
        if await _fail(batch, work, signature):
            return False


async def _fail(batch: BatchState, work: Slice, message: str) -> bool:
    """Fails the one item of the range; False where it's bound and had to wait for a person."""
    fault = ItemFault(batch_id=work.batch_id, run_no=batch.plan.run_no, item_no=work.range.first, message=message)
    method: Callable[[Any, ItemFault], Awaitable[StepResult]] = TransferActivities.fail_item
    result = await call(batch.plan, method, fault, SLICE_STEP, f"fail item {fault.item_no}: defect")
    batch.note(result)
    if result.left:
        await batch.stuck(fault)
    return not result.left


async def _steps(batch: BatchState, work: Slice) -> None:
    created = await _step(batch, TransferActivities.create_transfers, work, SLICE_STEP, "create")
    if batch.plan.kind is TransferKind.GIFT:
        # A gift that waits is all that its item was to bring about.
        if created.due_again is not None:
            batch.ask_again(created.due_again)
        return
    if created.stopped and batch.controls.cancel_wanted:
        return
    await _submit(batch, work)
    await _confirm(batch, work)


async def _confirm(batch: BatchState, work: Slice) -> None:
    confirmed = await _step(batch, BlockchainActivities.confirm_transfers, work, CHAIN_STEP, "confirm")
    if confirmed.due_again is not None:
        batch.ask_again(confirmed.due_again)


async def _submit(batch: BatchState, work: Slice) -> None:
    """Submits until nothing is left. What is bound is confirmed meanwhile, or a full lane would wait for itself."""
    confirming: asyncio.Task[StepResult] | None = None
    while True:
        result = await _step(batch, BlockchainActivities.submit_transfers, work, CHAIN_STEP, "submit")
        if result.stopped:
            await _step(batch, BlockchainActivities.confirm_transfers, work, CHAIN_STEP, "confirm")
            if batch.controls.cancel_wanted:
                break
            await _until_running(batch)
        elif not result.left:
            break
        elif confirming is None or confirming.done():
            confirming = asyncio.create_task(
                _step(batch, BlockchainActivities.confirm_transfers, work, CHAIN_STEP, "confirm")
            )
    if confirming is not None:
        await confirming


async def _until_running(batch: BatchState) -> None:
    """Waits while the batch is paused. Where only the database says so, the word is on its way: looks again soon."""
    if batch.controls.paused:
        await workflow.wait_condition(lambda: not batch.controls.paused or batch.controls.cancel_wanted)
    else:
        await workflow.sleep(STOPPED_POLL, summary="the batch was stopped a moment ago")


async def _step(
    batch: BatchState,
    method: Callable[[Any, Slice], Awaitable[StepResult]],
    work: Slice,
    options: ActivityOptions,
    verb: str,
) -> StepResult:
    again = " again" if work.retries_only else ""
    summary = f"{verb} items {work.range.first}–{work.range.last}{again}"
    result = await call(batch.plan, method, work, options, summary)
    batch.note(result)
    return result
