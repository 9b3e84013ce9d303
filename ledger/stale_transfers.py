"""Transfers on their way without anybody to bring them there: found, for the hourly clean-up."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from ledger.pool import Pool
from ledger.queries import load

_SQL = load("maintenance")


class OpenTransfer(NamedTuple):
    """A transfer that a workflow of its own must be bringing to its end."""

    transfer_id: UUID
    from_user_id: str
    works_for: UUID | None
    """The ended batch whose item is retried."""


class StaleTransfers:
    """What the clean-up reads about transfers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(self, after: UUID, page_size: int) -> list[OpenTransfer]:
        """The next ones by id; most of them have their workflow."""
        return [OpenTransfer(*row) for row in await self._pool.fetch(_SQL["stale_transfers_page"], after, page_size)]
