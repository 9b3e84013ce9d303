"""What the hourly clean-up does about a transfer on its way whose workflow is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus

from activities.faults import RaiseAlert
from activities.starting import run_status, start_transfer
from activities.waking import MOST_SIGNALS_AT_ONCE
from ledger.stale_transfers import OpenTransfer, StaleTransfers
from workflows.interface.codes import AlertKind
from workflows.interface.maintenance import TendedTransfers
from workflows.interface.names import Queue, WorkflowType, transfer_workflow_id
from workflows.interface.policies import batch_priority, transfer_priority
from workflows.interface.transfer import TransferInput

_BY_A_PERSON = {
    WorkflowExecutionStatus.TERMINATED: "its workflow was terminated",
    WorkflowExecutionStatus.CANCELED: "its workflow was cancelled",
}
_FORGOTTEN = "a person ended its workflow, which Temporal has forgotten since"


class TransferTender:
    """Decides and acts, transfer by transfer."""

    def __init__(self, transfers: StaleTransfers, client: Client, raise_alert: RaiseAlert) -> None:
        self._transfers = transfers
        self._client = client
        self._raise_alert = raise_alert

    async def tend(self, page: Sequence[OpenTransfer]) -> TendedTransfers:
        """Starts again what has no workflow; what a person stopped is reported."""
        room = asyncio.Semaphore(MOST_SIGNALS_AT_ONCE)

        async def one(transfer: OpenTransfer) -> TendedTransfers:
            async with room:
                return await self._tend_one(transfer)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(transfer)) for transfer in page]
        return TendedTransfers(
            resumed=sum(task.result().resumed for task in tasks), reported=sum(task.result().reported for task in tasks)
        )

    async def _tend_one(self, transfer: OpenTransfer) -> TendedTransfers:
        workflow_id = transfer_workflow_id(transfer.transfer_id)
        status = await run_status(self._client, workflow_id)
        if status is WorkflowExecutionStatus.RUNNING:
            return TendedTransfers()
        if status in _BY_A_PERSON:
            await self._transfers.leave(transfer.transfer_id)
            return await self._report(transfer, _BY_A_PERSON[status])
        if status is None and transfer.left_alone:
            return await self._report(transfer, _FORGOTTEN)
        # One that has ended since the page was read finds nothing to do.
        sender = transfer.from_user_id
        priority = batch_priority(sender) if transfer.works_for else transfer_priority(sender)
        request = TransferInput(transfer_id=transfer.transfer_id)
        if not await start_transfer(self._client, request, priority, f"ticket of {sender}, resumed"):
            return TendedTransfers()
        activity.logger.warning("transfer %s of %s is resumed", transfer.transfer_id, transfer.from_user_id)
        return TendedTransfers(resumed=1)

    async def _report(self, transfer: OpenTransfer, why: str) -> TendedTransfers:
        workflow_id = transfer_workflow_id(transfer.transfer_id)
        message = (
            f"the transfer is on its way and nobody works on it: {why}; start it again: temporal workflow start --type"
            f" {WorkflowType.TRANSFER} --task-queue {Queue.TRANSFERS} --workflow-id {workflow_id}"
            f""" --input '{{"transferId": "{transfer.transfer_id}"}}'"""
        )
        activity.logger.warning("transfer %s of %s: %s", transfer.transfer_id, transfer.from_user_id, message)
        await self._raise_alert(AlertKind.STALE_TRANSFER, workflow_id, message)
        return TendedTransfers(reported=1)
