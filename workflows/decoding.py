"""Inputs decoded inside the workflow: one that can't be read ends it, where the SDK would retry its task for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from workflows.interface.batch import BatchInput
from workflows.interface.codes import ErrorCode
from workflows.interface.faults import told
from workflows.interface.message import Message
from workflows.interface.names import batch_workflow_id, transfer_workflow_id
from workflows.interface.transfer import TransferInput

NO_INPUT = RawValue(Payload())
"""Default of a run method's one parameter, for a start without input."""

MessageT = TypeVar("MessageT", bound=Message)

_LONGEST_REASON = 500


def decoded(raw: RawValue, kind: type[MessageT]) -> MessageT:
    """The input as a message.

    Raises:
        ApplicationError: INVALID_INPUT, naming the fields.
    """
    try:
        value = workflow.payload_converter().from_payload(raw.payload, kind)
    except ValidationError as error:
        raise invalid_input(told(error)) from None
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise invalid_input(f"the input isn't JSON: {error}") from None
    if not isinstance(value, kind):
        raise invalid_input(f"{kind.__name__} is needed as JSON")
    return value


def decoded_batch(raw: RawValue) -> BatchInput:
    """The input of a batch, if it runs under the workflow id that belongs to it.

    Raises:
        ApplicationError: INVALID_INPUT.
    """
    request, workflow_id = decoded(raw, BatchInput), workflow.info().workflow_id
    if workflow_id != batch_workflow_id(request.batch_id):
        raise invalid_input(
            f"batchId {request.batch_id} belongs to workflow id batch/{request.batch_id}, not {workflow_id}"
        )
    return request


def decoded_transfer(raw: RawValue) -> TransferInput:
    """The input of a transfer, if it runs under the workflow id that belongs to it.

    Raises:
        ApplicationError: INVALID_INPUT.
    """
    request, workflow_id = decoded(raw, TransferInput), workflow.info().workflow_id
    if workflow_id != transfer_workflow_id(request.transfer_id):
        raise invalid_input(
            f"transferId {request.transfer_id} belongs to workflow id transfer/{request.transfer_id}, not {workflow_id}"
        )
    return request


def cancel_reason(arguments: Sequence[object]) -> str | None:
    """The reason among a cancel's arguments, as the database can hold it; None where there is none."""
    first = arguments[0] if arguments else None
    reason = first.get("reason") if isinstance(first, dict) else None
    if not isinstance(reason, str):
        return None
    return reason.encode(errors="ignore").decode().replace("\x00", "")[:_LONGEST_REASON] or None


def invalid_input(message: str) -> ApplicationError:
    """The error that ends a workflow whose input can't be worked on."""
    return ApplicationError(message, type=ErrorCode.INVALID_INPUT, non_retryable=True)
