"""Turns what goes wrong inside a step into one of the three kinds of failure (docs/architecture.md).

Infrastructure is a closed list and is retried for ever; item failures never get here; anything else is a defect,
which ends the step so that the workflow can narrow it down.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeAlias, TypeVar

import asyncpg
import httpx
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError

from chain.rpc import RpcError
from chain.send_errors import classify_send_error
from workflows.interface.chain import SendClass
from workflows.interface.codes import AlertKind, ErrorCode
from workflows.interface.errors import InfrastructureError, RequestError

HEARTBEAT_INTERVAL_S = 1.0
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 15.0
_SQLSTATE_CLASSES = ("08", "40", "53", "57")
# A server that only reads, and a lock that nobody gives back: what waiting alone may never mend.
_ALERTING_SQLSTATES = ("25006", "55P03")

_INFRASTRUCTURE = (InfrastructureError, OSError, TimeoutError, httpx.TransportError, RPCError)

# Faults of files are OSErrors as well; a lost connection may be a plain one.
_OF_THIS_MACHINE = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)

P = ParamSpec("P")
R = TypeVar("R")
RaiseAlert: TypeAlias = Callable[[AlertKind, str, str], Awaitable[None]]


class _Condition(NamedTuple):
    since: datetime
    told: str


class DatabaseConditions:
    """Faults of the database that are retried like any other, and that a person must see all the same.

    A database that takes no writes takes no alert either: the log has it at once, the alert follows.
    """

    def __init__(self, raise_alert: RaiseAlert) -> None:
        self._raise_alert = raise_alert
        self._without_alert: dict[str, _Condition] = {}

    def met(self, error: Exception) -> None:
        """Keeps the fault for its alert, where it needs one."""
        state = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
        if state in _ALERTING_SQLSTATES and state not in self._without_alert:
            self._without_alert[state] = _Condition(datetime.now(UTC), _told(error))
            activity.logger.error("the database refuses work (SQLSTATE %s): %s", state, error)

    async def alert(self) -> None:
        """Raises the alerts of what was met before a step went through; where even that fails, a later step does."""
        conditions, self._without_alert = self._without_alert, {}
        try:
            for state, (since, told) in conditions.items():
                message = f"first met {since:%Y-%m-%d %H:%M:%S} UTC, now a step went through: {told}"
                await self._raise_alert(AlertKind.DATABASE_CONDITION, f"SQLSTATE {state}", message)
        except Exception as error:
            if not is_infrastructure(error):
                raise
            self._without_alert |= conditions


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
        return state[:2] in _SQLSTATE_CLASSES or state in _ALERTING_SQLSTATES
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
        # The caller's mistake, told to the caller: no failure of this service, and no traceback in its log.
        category = ApplicationErrorCategory.BENIGN
        return ApplicationError(str(error), type=error.code, non_retryable=True, category=category)
    if is_infrastructure(error):
        return ApplicationError(_told(error), type=ErrorCode.INFRASTRUCTURE, next_retry_delay=weather.next_delay())
    return ApplicationError(_told(error), type=ErrorCode.DEFECT, non_retryable=True)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


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
    """Base of the activity classes: knows the weather its steps share, and what an alert is still missing for."""

    def __init__(self, raise_alert: RaiseAlert) -> None:
        self.weather = Weather()
        self.database = DatabaseConditions(raise_alert)


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
                await self.database.alert()
        except ApplicationError:
            raise
        except Exception as error:
            # The one place that sees every fault; nothing is swallowed, it's raised again in the workflow's terms.
            self.database.met(error)
            raise translated(error, self.weather) from error
        self.weather.fair()
        return result

    return run  # type: ignore[return-value]  # functools' type has no name for self
