"""How the commands of the stack end: one line for what a person can mend, and nothing for Ctrl-C but a word."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import asyncpg
import httpx
from temporalio.service import RPCError

from chain.rpc import NodeUnavailableError
from devstack.errors import StackError

INTERRUPTED = 130
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A server that went away or refuses: told in one line, without a traceback.
_MENDABLE = (OSError, asyncpg.PostgresError, httpx.HTTPError, NodeUnavailableError, RPCError)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns an expected failure into one line and exit code 1; Ctrl-C, SIGTERM or a closed terminal into 130."""
    for number in _ENDING:
        # SIGINT too: a shell that starts a command in the background has it ignored.
        signal.signal(number, _interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except StackError as error:
        _say(f"error: {error}")
        raise SystemExit(1) from error
    except _MENDABLE as error:
        _say(f"error: {type(error).__name__}: {error}")
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        _say("interrupted; what this command had started is stopped")
        raise SystemExit(INTERRUPTED) from error


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Ctrl-C and its like wait until the end of the block, so that no process is started and not remembered.

    Only handlers are changed: an ignored or blocked signal would stay so in the processes started inside.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and its like do nothing inside: for stopping what was started. Start nothing in it."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
