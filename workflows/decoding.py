"""Inputs decoded inside the workflow: one that can't be read ends it, where the SDK would retry its task for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from workflows.interface.codes import ErrorCode
from workflows.interface.faults import told
from workflows.interface.message import Message

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
