"""The webhook archive: finished deliveries past their retention, with their attempts, in partitions by month."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from ledger.pool import Pool, transaction
from ledger.queries import load

_SQL = load("maintenance")

NOTHING = UUID(int=0)
"""Before every id."""


class ArchivedPage(NamedTuple):
    """One page of archiving: how many moved, and where the next begins."""

    deliveries: int
    attempts: int
    end: UUID


class WebhookArchive:
    """Moves whole deliveries, each page in one transaction: none is ever lost or doubled."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def subscriptions(self, after: UUID = NOTHING) -> list[UUID]:
        """All subscriptions after an id, disabled ones included."""
        return [row[0] for row in await self._pool.fetch(_SQL["archived_subscriptions"], after)]

    async def archive_page(
        self, subscription_id: UUID, after: UUID, retention: timedelta, page_size: int
    ) -> ArchivedPage | None:
        """Moves the subscription's next finished deliveries; None where there are none. Never one that is pending."""
        async with transaction(self._pool) as connection:
            rows = await connection.fetch(_SQL["page_to_archive"], subscription_id, after, retention, page_size)
            if not rows:
                return None
            for month in sorted({row["month"] for row in rows}):
                await connection.execute(_SQL["make_archive_month"], month)
            ids = [row["event_id"] for row in rows]
            [moved] = await connection.fetch(_SQL["archive_deliveries"], subscription_id, ids)
        return ArchivedPage(moved["deliveries"], moved["attempts"], ids[-1])
