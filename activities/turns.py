"""Slices take turns at a worker while anybody else is there: few of them at once, so that nobody waits long.

One sender's thirty slices that all go on at the same moment are the quickest way to move them all; but they make a
single transfer beside them, or another sender's small batch, many times slower. So as long as there is company, only
some of them go on at once, and senders come in turn. A turn lasts for one step; nothing is waited for in it but servers
that answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from temporalio import activity

from workflows.interface.batch import Slice
from workflows.interface.codes import Settlement

AT_ONCE = 4
COMPANY_S = 3.0
"""So long after somebody was last seen he counts as company: a transfer is some steps, with a block's time between."""


class Turns:
    """One for all slice steps of a process. Single transfers and lanes don't queue here, they are company."""

    def __init__(self, at_once: int = AT_ONCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once
        self._clock = clock
        self._running = 0
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._sender = ""
        self._company_until = clock()

    def company(self) -> None:
        """Somebody is there whom a batch's slices mustn't hold up."""
        self._company_until = self._clock() + COMPANY_S

    @asynccontextmanager
    async def turn(self, sender: str) -> AsyncIterator[None]:
        """The block runs when it's the sender's turn."""
        if sender != self._sender:
            if self._running or self._waiting:
                self.company()
            self._sender = sender
        await self._begin(sender)
        try:
            yield
        finally:
            self._end()

    async def _begin(self, sender: str) -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(sender, deque()).append(called)
        self._call()
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                # Called and cancelled in the same moment: the turn is somebody else's.
                self._end()
            raise

    def _end(self) -> None:
        self._running -= 1
        self._call()

    def _call(self) -> None:
        while self._waiting and (self._running < self._at_once or self._clock() >= self._company_until):
            sender = next(iter(self._waiting))
            line = self._waiting.pop(sender)
            called = line.popleft()
            if line:
                # To the end: the other senders come first.
                self._waiting[sender] = line
            if not called.done():
                self._running += 1
                called.set_result(None)


def sender_of(work: Slice) -> str:
    """Whose step this is, by the fairness key it was scheduled with; without one its batch counts as a sender."""
    return activity.info().priority.fairness_key or str(work.batch_id)


def crowds(work: Slice) -> bool:
    """Whether the slices of one batch hold each other up: a chain transaction per item means long locks of lanes."""
    return work.settlement is Settlement.SINGLE
