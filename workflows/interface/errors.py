"""The error that crosses rooms: a request that can't be done as it is."""

from __future__ import annotations

from workflows.interface.codes import ErrorCode


class RequestError(Exception):
    """The request can't be done as it is; trying again unchanged doesn't help."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
