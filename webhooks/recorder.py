"""Records attempts in batches while others are still being made: a statement per hundreds of deliveries."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

from workflows.interface.deliveries import Attempt, DeliveryStore

FULL = 250
"""Attempts that are recorded without waiting for more."""
MOST_AT_ONCE = 1000
SOON_S = 0.1
"""How long an attempt waits for others. What was answered and not recorded is sent again after a crash."""


class Recorder:
    """Takes attempts of one subscription; writes them in the order they came."""

    def __init__(self, store: DeliveryStore, subscription_id: UUID) -> None:
        self._store = store
        self._subscription_id = subscription_id
        self._waiting: list[Attempt] = []
        self._hurry = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None

    @property
    def broken(self) -> bool:
        """The store failed; `close` raises what it raised."""
        return self._writer is not None and self._writer.done()

    def add(self, attempt: Attempt) -> None:
        """Takes an attempt; returns at once."""
        self._waiting.append(attempt)
        if len(self._waiting) >= FULL:
            self._hurry.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Writes what is left.

        Raises:
            whatever the store raises.
        """
        self._closing = True
        self._hurry.set()
        if self._writer:
            await self._writer

    async def _write(self) -> None:
        while self._waiting:
            if not self._closing:
                await self._fill()
            rows, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            await self._store.record_attempts(self._subscription_id, rows)
        self._writer = None

    async def _fill(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(SOON_S):
                await self._hurry.wait()
        self._hurry.clear()
