"""Temporal's errors in the words of batches and transfers."""

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


def failure_of(work_id: UUID, error: WorkflowFailureError, what: str = "batch") -> RequestError:
    """Why the workflow of a batch (or of `what`) ended without a result, with the code it named."""
    return refusal_in(error.cause) or RequestError(
        ErrorCode.DEFECT, f"the workflow of {what} {work_id} ended without a result: {error.cause}"
    )


def refusal_in(cause: BaseException) -> RequestError | None:
    """The refusal that a workflow or its update failed with; None where it failed for another reason."""
    if isinstance(cause, ApplicationError) and cause.type in list(ErrorCode):
        return RequestError(ErrorCode(cause.type), cause.message)
    return None


def translated(error: RPCError, work_id: UUID, what: str = "batch") -> Exception:
    """A call's error as callers of a batch (or of `what`) see it."""
    if error.status is RPCStatusCode.NOT_FOUND and error.message.startswith("Namespace "):
        return UnavailableError(f"{error.message} Create it or correct TEMPORAL_NAMESPACE")
    if error.status is RPCStatusCode.NOT_FOUND:
        return RequestError(
            ErrorCode.NOT_FOUND, f"Temporal knows no {what} {work_id}: it was never started, or long ago"
        )
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        return RequestError(ErrorCode.INVALID_INPUT, error.message)
    return UnavailableError(f"Temporal doesn't answer as it should: {error.message} ({error.status.name})")
