"""Turns what goes wrong inside a step into one of the three kinds of failure (docs/architecture.md).

Infrastructure is a closed list and is retried for ever; item failures never get here; anything else is a defect,
which ends the step so that the workflow can narrow it down.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg
import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError

from chain.rpc import RpcError
from chain.send_errors import classify_send_error
from workflows.interface.chain import SendClass
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import InfrastructureError, RequestError

HEARTBEAT_INTERVAL_S = 1.0
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 15.0
_SQLSTATE_CLASSES = ("08", "40", "53", "57")
_SQLSTATES = ("25006", "55P03")

_INFRASTRUCTURE = (InfrastructureError, OSError, TimeoutError, httpx.TransportError, RPCError)

# Faults of files are OSErrors as well; a lost connection may be a plain one.
_OF_THIS_MACHINE = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)

P = ParamSpec("P")
R = TypeVar("R")


class Weather:
    """How long the outside world has been bad, for the steps of one queue in this process.

    Not by the attempt number: polls raise that as well. Nor by the number of faults: a second's outage meets twenty
    steps at once, and all shall be back a second later.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bad_since: float | None = None

    def fair(self) -> None:
        """A step went through."""
        self._bad_since = None

    def next_delay(self) -> timedelta:
        """For the step that has just met a fault: as long again as it has been bad, within bounds (so it doubles)."""
        now = self._clock()
        self._bad_since = now if self._bad_since is None else self._bad_since
        return timedelta(seconds=min(max(now - self._bad_since, FIRST_DELAY_S), LONGEST_DELAY_S))


def is_infrastructure(error: BaseException) -> bool:
    """Whether the fault lies in the closed list of infrastructure faults."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in _SQLSTATE_CLASSES or state in _SQLSTATES
    if isinstance(error, asyncpg.InterfaceError):
        return "closed" in str(error) or "released" in str(error)
    if isinstance(error, RpcError):
        return classify_send_error(error.code, error.message) in (SendClass.UNKNOWN, SendClass.BUSY)
    return isinstance(error, _INFRASTRUCTURE) and not isinstance(error, _OF_THIS_MACHINE)


def not_yet(why: str, delay_s: float) -> ApplicationError:
    """What a step raises to be asked again: it frees its slot, and is no failure."""
    return ApplicationError(
        why,
        type=ErrorCode.NOT_YET,
        next_retry_delay=timedelta(seconds=delay_s),
        category=ApplicationErrorCategory.BENIGN,
    )


def translated(error: Exception, weather: Weather) -> ApplicationError:
    """The error as the workflow is to see it."""
    if isinstance(error, RequestError):
        return ApplicationError(str(error), type=error.code, non_retryable=True)
    told = f"{type(error).__name__}: {error}"
    if is_infrastructure(error):
        return ApplicationError(told, type=ErrorCode.INFRASTRUCTURE, next_retry_delay=weather.next_delay())
    return ApplicationError(told, type=ErrorCode.DEFECT, non_retryable=True)


@asynccontextmanager
async def heartbeats() -> AsyncIterator[None]:
    """Heartbeats while the block runs, so that a killed worker is noticed within seconds."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()


class Step:
    """Base of the activity classes: knows the weather its steps share."""

    weather: Weather


StepT = TypeVar("StepT", bound=Step)


def step(
    function: Callable[Concatenate[StepT, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[StepT, P], Coroutine[Any, Any, R]]:
    """Wraps an activity method: heartbeats while it runs, and sorts what it raises."""

    @functools.wraps(function)
    async def run(self: StepT, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            async with heartbeats():
                result = await function(self, *args, **kwargs)
        except ApplicationError:
            raise
        except Exception as error:
            # The one place that sees every fault; nothing is swallowed, it's raised again in the workflow's terms.
            raise translated(error, self.weather) from error
        self.weather.fair()
        return result

    return run  # type: ignore[return-value]  # functools' type has no name for self
