"""What the hourly clean-up does about a batch that nobody works on: Temporal tells who works, Postgres what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus

from activities.faults import RaiseAlert
from activities.starting import run_status, start_batch
from activities.waking import MOST_SIGNALS_AT_ONCE, Waker
from ledger.stale_batches import OpenBatch, StaleBatches
from workflows.interface.codes import AlertKind
from workflows.interface.maintenance import StaleBatch
from workflows.interface.names import batch_workflow_id

TOO_OLD = "staged and never started in time: clean-stale-batches gave it up"

_BEGIN_AGAIN = (None, WorkflowExecutionStatus.FAILED, WorkflowExecutionStatus.TIMED_OUT)
_BY_A_PERSON = (WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.CANCELED)
_WHY_LEFT = {
    None: "a person ended its workflow, which Temporal has forgotten since",
    WorkflowExecutionStatus.TERMINATED: "its workflow was terminated",
    WorkflowExecutionStatus.CANCELED: "its workflow was cancelled",
    WorkflowExecutionStatus.COMPLETED: "its workflow has ended, though Postgres says that the batch is open",
}


class Deed(Enum):
    """What was done about a batch."""

    NOTHING = "nothing"
    STARTED = "started"
    FAILED = "failed"
    RESUMED = "resumed"
    REPORTED = "reported"


class Tended(NamedTuple):
    """A batch and what was done about it."""

    deed: Deed
    stale: StaleBatch | None = None


class BatchTender:
    """Decides and acts, batch by batch."""

    def __init__(self, batches: StaleBatches, client: Client, waker: Waker, raise_alert: RaiseAlert) -> None:
        self._batches = batches
        self._client = client
        self._waker = waker
        self._raise_alert = raise_alert

    async def tend(self, page: Sequence[OpenBatch]) -> list[Tended]:
        """Looks after a page of batches, some at a time."""
        room = asyncio.Semaphore(MOST_SIGNALS_AT_ONCE)

        async def one(batch: OpenBatch) -> Tended:
            async with room:
                return await self._tend_one(batch)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(batch)) for batch in page]
        return [task.result() for task in tasks]

    async def _tend_one(self, batch: OpenBatch) -> Tended:
        status = await run_status(self._client, batch_workflow_id(batch.batch_id))
        if status is WorkflowExecutionStatus.RUNNING:
            return Tended(Deed.NOTHING)
        if not batch.begun and batch.too_old:
            return await self._give_up(batch)
        if status in _BEGIN_AGAIN and not (status is None and batch.left_alone):
            return await self._begin(batch)
        if status in _BY_A_PERSON and not batch.left_alone:
            await self._batches.leave(batch.batch_id)
        return await self._report(batch, _WHY_LEFT.get(status, f"its workflow is {status}"))

    async def _give_up(self, batch: OpenBatch) -> Tended:
        woken = await self._batches.fail_staged(batch.batch_id, TOO_OLD)
        if woken is None:
            return Tended(Deed.NOTHING)
        activity.logger.warning("batch %s of %s is given up: %s", batch.batch_id, batch.from_user_id, TOO_OLD)
        await self._waker.wake(woken)
        return Tended(Deed.FAILED)

    async def _begin(self, batch: OpenBatch) -> Tended:
        # It may have ended since the page was read: then there's nothing to go on with.
        if not await self._batches.is_open(batch.batch_id) or not await start_batch(self._client, batch):
            return Tended(Deed.NOTHING)
        activity.logger.warning(
            "batch %s of %s is %s", batch.batch_id, batch.from_user_id, "resumed" if batch.begun else "started"
        )
        return Tended(Deed.RESUMED if batch.begun else Deed.STARTED)

    async def _report(self, batch: OpenBatch, why: str) -> Tended:
        if not await self._batches.is_open(batch.batch_id):
            return Tended(Deed.NOTHING)
        message = f"the batch is {batch.status} and nobody works on it: {why}; start it again, or leave it"
        activity.logger.warning("batch %s of %s: %s", batch.batch_id, batch.from_user_id, message)
        await self._raise_alert(AlertKind.STALE_BATCH, batch_workflow_id(batch.batch_id), message)
        return Tended(Deed.REPORTED, StaleBatch(batch_id=batch.batch_id, why=why))
