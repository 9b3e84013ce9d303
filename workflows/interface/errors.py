"""Errors that cross rooms.

RequestError            the request can't be done as it is: a code, and a sentence for the caller
InfrastructureError     the outside world doesn't answer: base of what rooms raise for it, retried for ever
"""

from __future__ import annotations

from workflows.interface.codes import ErrorCode


class RequestError(Exception):
    """The request can't be done as it is; trying again unchanged doesn't help."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class InfrastructureError(Exception):
    """A server can't be reached or doesn't answer in its protocol; the request itself may be fine."""
