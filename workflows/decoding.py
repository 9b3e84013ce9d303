"""Inputs decoded inside the workflow: one that can't be read ends it, where the SDK would retry its task for ever."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from workflows.interface.codes import ErrorCode
from workflows.interface.message import Message

NO_INPUT = RawValue(Payload())
"""Default of a run method's one parameter, for a start without input."""

MessageT = TypeVar("MessageT", bound=Message)

_MOST_FAULTS = 5


def decoded(raw: RawValue, kind: type[MessageT]) -> MessageT:
    """The input as a message.

    Raises:
        ApplicationError: INVALID_INPUT, naming the fields.
    """
    try:
        value = workflow.payload_converter().from_payload(raw.payload, kind)
    except ValidationError as error:
        raise invalid_input(_faults(error)) from None
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise invalid_input(f"the input isn't JSON: {error}") from None
    if not isinstance(value, kind):
        raise invalid_input(f"{kind.__name__} is needed as JSON")
    return value


def invalid_input(message: str) -> ApplicationError:
    """The error that ends a workflow whose input can't be worked on."""
    return ApplicationError(message, type=ErrorCode.INVALID_INPUT, non_retryable=True)


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{'.'.join(map(str, f['loc'])) or 'input'}: {f['msg']}" for f in faults[:_MOST_FAULTS]]
    more = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
    return "; ".join(told + more)
