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
    left_alone: bool
    """A person ended its workflow, and nobody has started it since."""


class StaleTransfers:
    """What the clean-up reads and notes about transfers."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def page(self, after: UUID, page_size: int) -> list[OpenTransfer]:
        """The next ones by id; most of them have their workflow."""
        return [OpenTransfer(*row) for row in await self._pool.fetch(_SQL["stale_transfers_page"], after, page_size)]

    async def leave(self, transfer_id: UUID) -> None:
        """Remembers that a person ended its workflow: Temporal forgets it after its retention."""
        await self._pool.execute(_SQL["leave_transfer"], transfer_id)
