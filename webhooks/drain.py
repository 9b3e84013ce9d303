"""One go at a subscription's due deliveries: feeds requests for two seconds and ends with the last open one."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from webhooks.recorder import Recorder
from webhooks.sender import Answer, Sender
from workflows.interface.codes import DeliveryStatus
from workflows.interface.deliveries import (
    Attempt,
    AttemptError,
    DeliveryStore,
    DeliveryWatch,
    DueDelivery,
    Endpoint,
    PageMark,
    RetryPolicy,
)

HTTP_GONE = 410


class DrainLimits(NamedTuple):
    """How much one drain may do."""

    feed_s: float = 2.0
    """No new request later than this."""
    page_size: int = 500
    most_open: int = 32
    """Open requests to a healthy endpoint; one that fails gets one at a time."""
    most_failures_in_row: int = 50
    """A drain that only fails ends: a dead endpoint with a long backlog must not keep the processor busy."""
    most_requests: int | None = None
    """Requests that a rate limit allows."""
    look_again_s: float = 0.2
    """How soon it looks for newly due deliveries while slow requests are still open."""


@dataclass(slots=True)
class Tally:
    """What a drain did."""

    delivered: int = 0
    failed_attempts: int = 0
    dead: int = 0
    gave_up: bool = False
    """Ended early because the endpoint only failed."""
    disabled: bool = False
    requests: int = field(default=0, compare=False)
    """Requests begun, answered or not."""


@dataclass(slots=True)
class Window:
    """How many requests may be open: one while the last attempt failed, one more with each success."""

    most: int
    size: int = 1
    failures_in_row: int = 0

    def succeeded(self) -> None:
        self.size = min(self.size + 1, self.most)
        self.failures_in_row = 0

    def failed(self) -> None:
        self.size = 1
        self.failures_in_row += 1


def judged(delivery: DueDelivery, answer: Answer, retry: RetryPolicy) -> Attempt:
    """What becomes of the delivery.

    2xx delivers. 410 Gone and an event without a body end it at once; every other answer or fault is tried again
    until the policy's attempts are used up.
    """
    attempt_no = delivery.attempts + 1
    hopeless = answer.http_status == HTTP_GONE or answer.error is AttemptError.NO_BODY
    if answer.error is None:
        status = DeliveryStatus.DELIVERED
    elif hopeless or attempt_no >= retry.max_attempts:
        status = DeliveryStatus.FAILED
    else:
        status = DeliveryStatus.PENDING
    delay_s = retry.delay_s(attempt_no) if status is DeliveryStatus.PENDING else 0.0
    return Attempt(delivery.event_id, attempt_no, status, delay_s, *answer)


class Drain:
    """One run over one subscription; use it once."""

    def __init__(
        self,
        store: DeliveryStore,
        sender: Sender,
        endpoint: Endpoint,
        *,
        limits: DrainLimits,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        watch: DeliveryWatch | None = None,
    ) -> None:
        self._watch = watch
        self._store = store
        self._sender = sender
        self._endpoint = endpoint
        self._limits = limits
        self._stopping = stopping
        self._clock = clock
        self._window = Window(limits.most_open)
        self._tally = Tally()
        self._open: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._page: deque[DueDelivery] = deque()
        self._next_page: asyncio.Task[list[DueDelivery]] | None = None
        self._mark: PageMark | None = None
        self._defect: BaseException | None = None
        self._recorder = Recorder(store, endpoint.subscription_id)

    async def run(self) -> Tally:
        """Sends what is due.

        Raises:
            whatever the store raises: attempts not recorded by then are made again, with the same `webhook-id`.
        """
        try:
            await self._feed()
            while self._open:
                await self._one_ended()
        finally:
            # Also when cancelled or when the store failed: what was answered is recorded, what is open is given up.
            await self._close()
        if self._defect:
            raise self._defect
        if self._tally.disabled:
            await self._store.disable_subscription(self._endpoint.subscription_id, "the endpoint answered 410 Gone")
        return self._tally

    async def _feed(self) -> None:
        deadline = self._clock() + self._limits.feed_s
        while True:
            while len(self._open) >= self._window.size:
                await self._one_ended()
            if self._clock() >= deadline or self._should_end():
                return
            delivery = await self._next()
            if delivery:
                self._start(delivery)
            elif self._open:
                await self._one_ended(self._limits.look_again_s)
            else:
                return

    def _should_end(self) -> bool:
        self._tally.gave_up = self._window.failures_in_row >= self._limits.most_failures_in_row
        tally = self._tally
        if self._limits.most_requests is not None and tally.requests >= self._limits.most_requests:
            return True
        return tally.gave_up or tally.disabled or self._recorder.broken or self._defect is not None or self._stopping()

    def _start(self, delivery: DueDelivery) -> None:
        self._tally.requests += 1
        task = asyncio.create_task(self._attempt(delivery))
        self._open.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._open.discard(task)
        self._ended.set()
        if not task.cancelled():
            self._defect = self._defect or task.exception()

    async def _one_ended(self, timeout_s: float | None = None) -> None:
        self._ended.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()

    async def _attempt(self, delivery: DueDelivery) -> None:
        if delivery.body is None:
            answer = self._sender.not_sent(AttemptError.NO_BODY)
        else:
            watched = self._watch.sending(self._endpoint, delivery) if self._watch and delivery.trace else nullcontext()
            with watched:
                body = delivery.body.encode()
                answer = await self._sender.send(self._endpoint.url, self._endpoint.secret, delivery.event_id, body)
        attempt = judged(delivery, answer, self._endpoint.retry)
        if self._watch:
            self._watch.ended(attempt)
        self._recorder.add(attempt)
        self._count(attempt)

    def _count(self, attempt: Attempt) -> None:
        if attempt.status is DeliveryStatus.DELIVERED:
            self._tally.delivered += 1
            self._window.succeeded()
            return
        self._tally.failed_attempts += 1
        self._tally.dead += attempt.status is DeliveryStatus.FAILED
        self._tally.disabled |= attempt.http_status == HTTP_GONE
        self._window.failed()

    async def _next(self) -> DueDelivery | None:
        if not self._page:
            self._page.extend(await (self._next_page or self._read_page()))
            self._next_page = None
            if len(self._page) == self._limits.page_size:
                # Read the next while this one is sent.
                self._next_page = asyncio.create_task(self._read_page())
        return self._page.popleft() if self._page else None

    async def _read_page(self) -> list[DueDelivery]:
        page = await self._store.due_page(self._endpoint.subscription_id, self._mark, self._limits.page_size)
        if page:
            self._mark = PageMark(page[-1].due_at, page[-1].event_id)
        return page

    async def _close(self) -> None:
        pending: set[asyncio.Task[Any]] = {*self._open}
        if self._next_page:
            pending.add(self._next_page)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        await self._recorder.close()
