"""Starts batches and single retries for the scheduled jobs: by their id alone, as Postgres knows the rest."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import Priority, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from ledger.stale_batches import OpenBatch
from workflows.interface.batch import BatchInput
from workflows.interface.names import (
    MemoKey,
    Queue,
    WorkflowType,
    batch_workflow_id,
    transfer_workflow_id,
)
from workflows.interface.policies import TASK_TIMEOUT, batch_priority
from workflows.interface.transfer import TransferInput


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
            BatchInput(batch_id=batch.batch_id).as_json(),
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


async def start_transfer(
    client: Client, request: TransferInput, priority: Priority, summary: str, rpc_timeout: timedelta | None = None
) -> bool:
    """Starts the `Transfer` workflow of a transfer that stands in Postgres; False where one of it runs.

    Retries and replays take the batches' priority: a thousand of them must not overtake people's new transfers.

    Raises:
        RPCError: Temporal can't be reached or refuses.
    """
    try:
        await client.start_workflow(
            WorkflowType.TRANSFER,
            # What the caller said, and nothing else.
            request.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True),
            id=transfer_workflow_id(request.transfer_id),
            task_queue=Queue.TRANSFERS,
            task_timeout=TASK_TIMEOUT,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary=summary,
            priority=priority,
            rpc_timeout=rpc_timeout,
        )
    except WorkflowAlreadyStartedError:
        return False
    return True
