"""Wakes the drains of subscriptions after a commit: signal-with-start, at most once a second for each of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self
from uuid import UUID

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.service import RPCError

from workflows.interface.names import Queue, Signal, WorkflowType, webhook_workflow_id
from workflows.interface.policies import TASK_TIMEOUT, delivery_priority
from workflows.interface.webhook import DeliveryWork

WAKE_INTERVAL_S = 1.0
"""A batch commits many times a second; its subscription's drain needs to hear of it once."""
MOST_SIGNALS_AT_ONCE = 16
_LAST_SIGNALS_S = 5.0
"""How long a worker that stops waits for the last signals; the sweep makes up for those that were not sent."""

_log = logging.getLogger(__name__)


async def signal_delivery(client: Client, subscription_id: UUID) -> None:
    """Signals the subscription's drain and starts it if none runs.

    Raises:
        RPCError: Temporal can't be reached or refuses.
    """
    await client.start_workflow(
        WorkflowType.WEBHOOK_DELIVERY,
        DeliveryWork(subscription_id=subscription_id),
        id=webhook_workflow_id(subscription_id),
        task_queue=Queue.WEBHOOKS,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        start_signal=Signal.WAKE,
        task_timeout=TASK_TIMEOUT,
        priority=delivery_priority(subscription_id),
        static_summary=f"Webhook deliveries of subscription {subscription_id}",
    )


class Waker:
    """Throttled wake-ups: the first goes out at once, later ones a second after the one before; none is lost.

    An async context manager: leaving it sends what is still held back.
    """

    def __init__(self, client: Client, interval_s: float = WAKE_INTERVAL_S) -> None:
        self._client = client
        self._interval_s = interval_s
        self._wanted: set[UUID] = set()
        self._served: dict[UUID, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()
        self._room = asyncio.Semaphore(MOST_SIGNALS_AT_ONCE)

    async def wake(self, subscription_ids: Iterable[UUID]) -> None:
        """Call it after the commit, also when a retried step changed nothing.

        Returns once the signals that aren't held back are sent. A failed one is logged and sent again later.
        """
        sent = [done for done in map(self._want, subscription_ids) if done]
        if sent:
            await asyncio.wait(sent)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Sends what is held back, without waiting out the intervals."""
        self._closing.set()
        if self._served:
            _, late = await asyncio.wait(self._served.values(), timeout=_LAST_SIGNALS_S)
            for task in late:
                task.cancel()

    def _want(self, subscription_id: UUID) -> asyncio.Future[None] | None:
        """Where nothing is held back, a future that is done with the signal."""
        self._wanted.add(subscription_id)
        if subscription_id in self._served:
            return None
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._served[subscription_id] = asyncio.create_task(self._serve(subscription_id, sent))
        return sent

    async def _serve(self, subscription_id: UUID, first_sent: asyncio.Future[None]) -> None:
        try:
            while subscription_id in self._wanted:
                self._wanted.discard(subscription_id)
                await self._signal(subscription_id)
                if not first_sent.done():
                    first_sent.set_result(None)
                await self._interval()
        finally:
            # No await since the last look at `_wanted`, so a wake can't fall in between.
            del self._served[subscription_id]
            first_sent.cancel()

    async def _signal(self, subscription_id: UUID) -> None:
        try:
            async with self._room:
                await signal_delivery(self._client, subscription_id)
        except RPCError as error:
            _log.warning("drain of subscription %s not woken, will be again: %s", subscription_id, error)
            if not self._closing.is_set():
                self._wanted.add(subscription_id)

    async def _interval(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s):
                await self._closing.wait()
