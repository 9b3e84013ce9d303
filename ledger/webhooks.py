"""Webhook subscriptions, deliveries and attempts in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from ledger.pool import Pool
from ledger.queries import load
from workflows.interface.deliveries import Attempt, DueDelivery, Endpoint, PageMark, RetryPolicy


class NewSubscription(NamedTuple):
    """What an owner decides about a subscription. The secret stays out of its repr."""

    url: str
    secret: bytes
    """The HMAC key itself: 24 to 64 bytes."""
    user_id: str | None
    """Only events of this sender; None: of everybody."""
    event_types: tuple[str, ...]
    """Names, a family such as `transfer.*`, or `*`."""
    retry: RetryPolicy

    def __repr__(self) -> str:
        return f"NewSubscription({self.url!r}, {self.user_id!r}, {self.event_types!r}, {self.retry!r})"


class Subscription(NamedTuple):
    """A subscription as it's listed: everything but its secret."""

    subscription_id: UUID
    url: str
    user_id: str | None
    event_types: tuple[str, ...]
    retry: RetryPolicy
    failing_since: datetime | None
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    pending: int


class WebhookLedger:
    """The tables `webhook_subscriptions`, `webhook_deliveries` and `webhook_attempts`; implements `DeliveryStore`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = load("webhooks")

    async def create_subscription(self, new: NewSubscription) -> Subscription:
        """Writes it; it gets the events from now on.

        Raises:
            asyncpg.CheckViolationError: a value is out of the schema's bounds.
        """
        row = await self._pool.fetchrow(
            self._sql["create_subscription"], new.url, new.secret, new.user_id, list(new.event_types), *new.retry
        )
        return _subscription(row, 0)

    async def list_subscriptions(self, *, with_disabled: bool) -> list[Subscription]:
        """Oldest first."""
        rows = await self._pool.fetch(self._sql["list_subscriptions"], with_disabled)
        return [_subscription(row, row["pending"]) for row in rows]

    async def endpoint(self, subscription_id: UUID) -> Endpoint | None:
        """What a drain needs to know; None if there is no such subscription."""
        row = await self._pool.fetchrow(self._sql["subscription"], subscription_id)
        if row is None:
            return None
        return Endpoint(
            subscription_id=subscription_id,
            url=row["url"],
            secret=row["secret"],
            retry=_retry(row),
            failing=row["failing_since"] is not None,
            disabled=row["disabled_at"] is not None,
        )

    async def disable_subscription(self, subscription_id: UUID, reason: str) -> bool:
        """Disables it; False if it was already, or doesn't exist."""
        return await self._pool.fetchval(self._sql["disable_subscription"], subscription_id, reason) is not None

    async def due_page(self, subscription_id: UUID, after: PageMark | None, limit: int) -> list[DueDelivery]:
        """Due deliveries in order of their due time, from behind the mark."""
        if after is None:
            rows = await self._pool.fetch(self._sql["first_due_page"], subscription_id, limit)
        else:
            rows = await self._pool.fetch(self._sql["next_due_page"], subscription_id, limit, *after)
        return [DueDelivery(*row) for row in rows]

    async def record_attempts(self, subscription_id: UUID, attempts: Sequence[Attempt]) -> None:
        """Logs attempts, given in the order they ended, and moves deliveries on; the same again changes nothing."""
        if not attempts:
            return
        failing = attempts[-1].error is not None
        # By event id, so that two copies of a drain lock rows in the same order.
        columns = zip(*sorted(attempts, key=lambda attempt: attempt.event_id), strict=True)
        await self._pool.execute(self._sql["record_attempts"], subscription_id, *columns, failing)

    async def next_due_in_s(self, subscription_id: UUID) -> float | None:
        """Seconds until the next delivery is due (0: now); None if nothing is pending."""
        due_in_s: float | None = await self._pool.fetchval(self._sql["next_due_in_s"], subscription_id)
        return due_in_s

    async def due_subscriptions(self) -> list[UUID]:
        """Subscriptions that have due deliveries and aren't disabled."""
        return [row[0] for row in await self._pool.fetch(self._sql["due_subscriptions"])]


def _retry(row: Any) -> RetryPolicy:
    return RetryPolicy(row["max_attempts"], row["first_delay_s"], row["delay_coefficient"], row["max_delay_s"])


def _subscription(row: Any, pending: int) -> Subscription:
    return Subscription(
        subscription_id=row["subscription_id"],
        url=row["url"],
        user_id=row["user_id"],
        event_types=tuple(row["event_types"]),
        retry=_retry(row),
        failing_since=row["failing_since"],
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
        disabled_reason=row["disabled_reason"],
        pending=pending,
    )
