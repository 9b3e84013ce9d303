"""What the demo reads from Postgres: progress, items, and the webhooks that are due to its subscription."""

from __future__ import annotations

import asyncio
import base64
from typing import NamedTuple
from uuid import UUID

from devstack.errors import StackError
from ledger.batch_reports import BatchReport, BatchReports
from ledger.pool import Pool
from ledger.webhooks import NewSubscription, WebhookLedger
from workflows.interface.deliveries import RetryPolicy

_POLL_S = 0.1


class ItemRow(NamedTuple):
    """How an item stands."""

    item_no: int
    ticket_id: str
    recipient: str
    status: str
    failure_code: str | None
    failure_reason: str | None


class DueWebhook(NamedTuple):
    """An event that is due to the subscription, and when it was committed (Unix seconds)."""

    event_id: str
    occurred_at: float


class DemoLedger:
    """The demo's view of one batch at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._reports = BatchReports(pool)

    async def subscribe(self, url: str, secret: bytes, user_id: str) -> UUID:
        """Subscribes the URL to all events of the user."""
        new = NewSubscription(url, secret, user_id, ("*",), RetryPolicy())
        return (await WebhookLedger(self._pool).create_subscription(new)).subscription_id

    async def progress(self, batch_id: UUID) -> BatchReport | None:
        """The batch with its counters; None while it isn't written yet."""
        return await self._reports.batch(batch_id)

    async def items(self, batch_id: UUID) -> list[ItemRow]:
        """All items in order."""
        rows = await self._pool.fetch(
            "SELECT item_no, ticket_id, recipient, status::text, failure_code, failure_reason"
            " FROM batch_transfer_items WHERE batch_id = $1 ORDER BY item_no",
            batch_id,
        )
        return [ItemRow(*row) for row in rows]

    async def last_item_ended_at(self, batch_id: UUID) -> float:
        """When the last item was done with (Unix seconds)."""
        seconds: float = await self._pool.fetchval(
            "SELECT extract(epoch FROM max(ended_at))::float8 FROM batch_transfer_items WHERE batch_id = $1", batch_id
        )
        return seconds

    async def due_webhooks(self, subscription_id: UUID) -> list[DueWebhook]:
        """The events that the subscription must have got."""
        rows = await self._pool.fetch(
            "SELECT event_id::text, extract(epoch FROM occurred_at)::float8"
            " FROM webhook_deliveries JOIN events USING (event_id) WHERE subscription_id = $1",
            subscription_id,
        )
        return [DueWebhook(*row) for row in rows]

    async def await_deliveries(self, subscription_id: UUID, timeout_s: float) -> None:
        """Waits until nothing is left to deliver.

        Raises:
            StackError: something still is after the time-out.
        """
        left = -1
        try:
            async with asyncio.timeout(timeout_s):
                while left := await self._pending(subscription_id):
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise StackError(f"{left} webhooks were still undelivered after {timeout_s:.0f} s") from error

    async def _pending(self, subscription_id: UUID) -> int:
        count: int = await self._pool.fetchval(
            "SELECT count(*) FROM webhook_deliveries WHERE subscription_id = $1 AND status = 'PENDING'", subscription_id
        )
        return count


def secret_text(secret: bytes) -> str:
    """A signing key as owners of subscriptions get it."""
    return "whsec_" + base64.b64encode(secret).decode()
