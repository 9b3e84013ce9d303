"""Asks observers for their figures again and again, at a bounded price, and puts them on the board."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import asyncpg
from temporalio.service import RPCError

from telemetry.board import Board, Figure
from workflows.interface.errors import InfrastructureError

READ_TIMEOUT_S = 10.0
SHARE = 0.01
"""Of its time an observer reads at most this share: what becomes slow is asked less often."""

_log = logging.getLogger(__name__)
_OUTAGES = (
    RPCError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    InfrastructureError,
    TimeoutError,
    OSError,
)


class Observer(Protocol):
    """Reads figures about something outside this process."""

    name: str
    interval_s: float

    async def read(self) -> Sequence[Figure]:
        """The figures as they are now."""
        ...


@asynccontextmanager
async def observed(board: Board, observers: Iterable[Observer]) -> AsyncIterator[None]:
    """The observers look while the block runs."""
    tasks = [asyncio.create_task(_look(board, observer), name=f"observer {observer.name}") for observer in observers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _look(board: Board, observer: Observer) -> None:
    board.begin(observer.name)
    works = True
    while True:
        begun_s = time.monotonic()
        told = await _read(board, observer, works)
        works = told
        await asyncio.sleep(max(observer.interval_s, (time.monotonic() - begun_s) / SHARE if told else 0.0))


async def _read(board: Board, observer: Observer, worked: bool) -> bool:
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            board.put(observer.name, await observer.read())
    except _OUTAGES as error:
        # Once per outage; how old the figures are is a metric.
        _log.log(logging.WARNING if worked else logging.DEBUG, "observer %s: %s", observer.name, _told(error))
        return False
    except Exception:  # noqa: BLE001
        # A defect here must not end the worker's real work; it's told each time, and the figures go stale.
        _log.exception("observer %s has a defect", observer.name)
        return False
    if not worked:
        _log.info("observer %s sees again", observer.name)
    return True


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
