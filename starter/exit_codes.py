"""What the command `transfers` answers to the shell."""

from __future__ import annotations

from enum import IntEnum

from workflows.interface.codes import ErrorCode


class ExitCode(IntEnum):
    """Exit codes; `transfers --help` lists them."""

    OK = 0
    FAILED = 1
    BAD_INPUT = 2
    NOT_FOUND = 3
    CONTENT_DIFFERS = 4
    BATCH_HAS_FAILURES = 5
    UNHEALTHY = 6
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """The line for people."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "a server can't be reached, or an unexpected error",
    ExitCode.BAD_INPUT: "bad usage or bad input; nothing was written",
    ExitCode.NOT_FOUND: "there is no such batch or transfer, or it isn't in a state for this",
    ExitCode.CONTENT_DIFFERS: "the id or idempotency key belongs to another request",
    ExitCode.BATCH_HAS_FAILURES: "what was waited for ended failed or cancelled, or with items that did",
    ExitCode.UNHEALTHY: "`transfers health` found something wrong",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C; what was started goes on",
}

_BY_ERROR = {
    ErrorCode.INVALID_INPUT: ExitCode.BAD_INPUT,
    ErrorCode.BATCH_CONTENT_DIFFERS: ExitCode.CONTENT_DIFFERS,
    ErrorCode.TRANSFER_CONTENT_DIFFERS: ExitCode.CONTENT_DIFFERS,
    ErrorCode.NOT_FOUND: ExitCode.NOT_FOUND,
    ErrorCode.NOT_ALLOWED: ExitCode.NOT_FOUND,
}


def exit_code_of(code: ErrorCode) -> ExitCode:
    """The exit code for a refused request."""
    return _BY_ERROR.get(code, ExitCode.FAILED)
