"""Which request a workflow was started with, so that another one under the same id can be told from it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError

from ledger.fingerprint import request_sha256
from starter.errors import UnavailableError
from starter.requests import staged_items
from starter.temporal_errors import translated
from workflows.interface.batch import BatchInput
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError
from workflows.interface.names import MemoKey, transfer_id_of
from workflows.interface.transfer import TransferInput

ENDED_BADLY = (
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT,
)
"""Its id may be taken again: Postgres knows what is left to do."""


async def first_sha256(
    temporal: Client, description: WorkflowExecutionDescription, batch_id: UUID, answer_timeout: timedelta
) -> str | None:
    """The fingerprint, in hex, of the request a workflow was started with: its memo, or else from its input.

    None where it was started by its id alone: then it's whatever is staged when a worker opens it.

    Raises:
        UnavailableError: Temporal doesn't answer, or the input is no batch request (a worker will refuse it).
    """
    told: str | None = await description.memo_value(MemoKey.REQUEST_SHA256, None)
    if told is not None:
        return told
    try:
        return await _sha256_of_input(temporal, description, answer_timeout)
    except RPCError as error:
        raise translated(error, batch_id) from error
    except (ValueError, TypeError, RuntimeError) as error:
        raise UnavailableError(
            f"batch {batch_id} was started with an input that can't be read: ask again once a worker has refused it"
        ) from error


async def _sha256_of_input(
    temporal: Client, description: WorkflowExecutionDescription, answer_timeout: timedelta
) -> str | None:
    """Callers who start with a plain Temporal client leave the memo to the worker that opens the batch."""
    request = BatchInput.model_validate(await _input_of(temporal, description, answer_timeout))
    if request.items is None:
        return None
    return request_sha256(request.from_user_id or "", staged_items(request), request.options).hex()


async def _input_of(temporal: Client, description: WorkflowExecutionDescription, answer_timeout: timedelta) -> object:
    handle = temporal.get_workflow_handle(description.id, run_id=description.run_id)
    first = await anext(handle.fetch_history_events(page_size=1, rpc_timeout=answer_timeout))
    payloads = first.workflow_execution_started_event_attributes.input.payloads
    [argument] = await temporal.data_converter.decode(payloads, [dict])
    return argument


async def transfer_request_of(
    temporal: Client, description: WorkflowExecutionDescription, answer_timeout: timedelta
) -> TransferInput | None:
    """The input of a `Transfer` workflow; None where it's none that this version can read.

    Raises:
        UnavailableError: Temporal doesn't answer.
    """
    try:
        return TransferInput.model_validate(await _input_of(temporal, description, answer_timeout))
    except RPCError as error:
        raise translated(error, transfer_id_of(description.id), "transfer") from error
    except (ValueError, TypeError, RuntimeError):
        return None


def require_same(batch_id: UUID, first: str | None, own: str | None) -> None:
    """Lets the same request pass.

    Raises:
        RequestError: BATCH_CONTENT_DIFFERS, the id belongs to another request.
    """
    if first != own:
        raise RequestError(
            ErrorCode.BATCH_CONTENT_DIFFERS,
            f"batch {batch_id} holds another request: use a new batch id or idempotency key for this one",
        )
