"""The steps of a whole batch, which can't be narrowed down to an item: each is tried until it's done."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.defects import insist
from workflows.interface.batch import (
    BatchInput,
    BatchPlan,
    BatchResult,
    ControlInput,
    ReopenResult,
    StepResult,
    TransferActivities,
)
from workflows.interface.policies import SLICE_STEP, WHOLE_BATCH_STEP, batch_priority


async def open_batch(request: BatchInput) -> BatchPlan:
    """The first step; a request that can't be done ends the workflow with the request's own error."""
    try:
        method, priority = TransferActivities.open_batch, workflow.info().priority
        return await insist(method, request, WHOLE_BATCH_STEP, "open the batch", priority)
    except ActivityError as error:
        cause = error.cause
        if not isinstance(cause, ApplicationError):
            raise
        raise ApplicationError(cause.message, type=cause.type, non_retryable=True) from error


async def reopen_failed_items(plan: BatchPlan) -> ReopenResult:
    """What failed in the runs before comes back."""
    method, priority = TransferActivities.reopen_failed_items, batch_priority(plan.from_user_id)
    return await insist(method, plan, WHOLE_BATCH_STEP, "reopen what failed", priority)


async def set_paused(plan: BatchPlan, *, paused: bool) -> None:
    """Forbids or allows new bindings."""
    method = TransferActivities.pause_batch if paused else TransferActivities.resume_batch
    summary, priority = "pause" if paused else "resume", batch_priority(plan.from_user_id)
    await insist(method, _control(plan), SLICE_STEP, summary, priority)


async def cancel_unbound(plan: BatchPlan, reason: str | None) -> StepResult:
    """The cut, and the end of what isn't bound."""
    method, priority = TransferActivities.cancel_batch, batch_priority(plan.from_user_id)
    return await insist(method, _control(plan, reason), WHOLE_BATCH_STEP, "cancel what isn't bound", priority)


async def close_batch(plan: BatchPlan) -> BatchResult:
    """The run's end, once."""
    method, priority = TransferActivities.close_batch, batch_priority(plan.from_user_id)
    return await insist(method, _control(plan), SLICE_STEP, "close the batch", priority)


def _control(plan: BatchPlan, reason: str | None = None) -> ControlInput:
    return ControlInput(batch_id=plan.batch_id, run_no=plan.run_no, reason=reason)
