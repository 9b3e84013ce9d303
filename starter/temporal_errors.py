"""Temporal's errors in the words of batches."""

from __future__ import annotations

from uuid import UUID

from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from starter.errors import UnavailableError
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError


def has_ended(batch_id: UUID) -> RequestError:
    """The batch can't be steered any more."""
    return RequestError(ErrorCode.NOT_ALLOWED, f"batch {batch_id} has ended already")


def failure_of(batch_id: UUID, error: WorkflowFailureError) -> RequestError:
    """Why the batch's workflow ended without a result, with the code it named."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in list(ErrorCode):
        return RequestError(ErrorCode(cause.type), cause.message)
    return RequestError(ErrorCode.DEFECT, f"the workflow of batch {batch_id} ended without a result: {cause}")


def translated(error: RPCError, batch_id: UUID) -> Exception:
    """A call's error as callers see it."""
    if error.status is RPCStatusCode.NOT_FOUND:
        return RequestError(
            ErrorCode.NOT_FOUND, f"Temporal knows no batch {batch_id}: it was never started, or long ago"
        )
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        return RequestError(ErrorCode.INVALID_INPUT, error.message)
    return UnavailableError(f"Temporal doesn't answer as it should: {error.message} ({error.status.name})")
