"""Starts batches and single retries for the scheduled jobs: by their id alone, as Postgres knows the rest."""

from __future__ import annotations

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import Priority, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from ledger.maintenance import DueRetry
from ledger.stale_batches import OpenBatch
from ledger.stale_transfers import OpenTransfer
from workflows.interface.batch import BatchInput
from workflows.interface.message import Message
from workflows.interface.names import (
    MemoKey,
    PriorityKey,
    Queue,
    WorkflowType,
    batch_workflow_id,
    transfer_workflow_id,
)
from workflows.interface.policies import TASK_TIMEOUT, batch_priority, fairness_key, transfer_priority
from workflows.interface.transfer import ReopenedBy, Reopening, TransferInput


async def run_status(client: Client, workflow_id: str) -> WorkflowExecutionStatus | None:
    """What became of the last run under the id; None where Temporal knows none.

    Raises:
        RPCError: Temporal can't be reached or refuses.
    """
    try:
        return (await client.get_workflow_handle(workflow_id).describe()).status
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def start_batch(client: Client, batch: OpenBatch) -> bool:
    """Starts the workflow of a batch that stands in Postgres; False where somebody else has, or it ended well.

    Raises:
        RPCError: Temporal can't be reached or refuses.
    """
    try:
        await client.start_workflow(
            WorkflowType.BATCH_TRANSFER,
            _as_json(BatchInput(batch_id=batch.batch_id)),
            id=batch_workflow_id(batch.batch_id),
            task_queue=Queue.TRANSFERS,
            task_timeout=TASK_TIMEOUT,
            # A run that failed may be begun again: Postgres knows what is left to do.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            memo={MemoKey.REQUEST_SHA256: batch.request_sha256.hex()},
            static_summary=f"{batch.item_count:,} tickets of {batch.from_user_id}",
            priority=batch_priority(batch.from_user_id),
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


async def start_retry(client: Client, due: DueRetry) -> bool:
    """Starts the `Transfer` workflow that reopens a failed transfer; False where one of it runs.

    Raises:
        RPCError: Temporal can't be reached or refuses.
    """
    reopening = TransferInput(transfer_id=due.transfer_id, reopen=Reopening(by=ReopenedBy.SCHEDULE))
    try:
        await client.start_workflow(
            WorkflowType.TRANSFER,
            _as_json(reopening),
            id=transfer_workflow_id(due.transfer_id),
            task_queue=Queue.TRANSFERS,
            task_timeout=TASK_TIMEOUT,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary=f"scheduled retry for {due.from_user_id}",
            # Not as a single: a thousand retries must not overtake people's new transfers.
            priority=Priority(priority_key=PriorityKey.BATCH, fairness_key=fairness_key(due.from_user_id)),
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


async def start_transfer(client: Client, transfer: OpenTransfer) -> bool:
    """Starts the `Transfer` workflow of a transfer that stands in Postgres; False where one of it runs.

    Raises:
        RPCError: Temporal can't be reached or refuses.
    """
    retried = Priority(priority_key=PriorityKey.BATCH, fairness_key=fairness_key(transfer.from_user_id))
    try:
        await client.start_workflow(
            WorkflowType.TRANSFER,
            _as_json(TransferInput(transfer_id=transfer.transfer_id)),
            id=transfer_workflow_id(transfer.transfer_id),
            task_queue=Queue.TRANSFERS,
            task_timeout=TASK_TIMEOUT,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary=f"ticket of {transfer.from_user_id}, resumed",
            priority=retried if transfer.works_for else transfer_priority(transfer.from_user_id),
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


def _as_json(message: Message) -> dict[str, object]:
    return message.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
