"""Figures of the whole service for metrics: by indexes and counters alone, whatever the number of transfers."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from ledger.pool import Pool
from ledger.queries import load

RECENT = timedelta(minutes=5)
"""Costs are those of transactions settled within this."""

_SQL = load("figures")


class BatchFigures(NamedTuple):
    """Open batches and their items."""

    batches: dict[str, int]
    """By status of the batch; a status without batches is left out."""
    items: dict[str, int]
    """By status of the item, all of them."""


class LaneFigures(NamedTuple):
    """One lane."""

    signer: bytes
    limit: int
    halted: bool
    in_flight: int
    head_age_s: float


class Cost(NamedTuple):
    """What a ticket costs by one kind of settlement."""

    settlement: str
    gas_per_ticket: float
    fee_per_ticket_gwei: float


class EndpointFigures(NamedTuple):
    """Webhook subscriptions by state."""

    active: int
    failing: int
    disabled: int
    oldest_due_age_s: float


class Figures:
    """Reads them; nothing here locks a row."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def batches(self) -> BatchFigures:
        """Open batches and their items."""
        rows = await self._pool.fetch(_SQL["open_batches"])
        states = ("queued", "processing", "completed", "failed", "cancelled")
        items = {state.upper(): sum(row[state] for row in rows) for state in states}
        return BatchFigures({row["status"]: row["batches"] for row in rows}, items)

    async def submitted(self) -> tuple[int, int]:
        """Transfers on their way to the chain, and those of them that batches work on."""
        [row] = await self._pool.fetch(_SQL["submitted"])
        return row["transfers"], row["of_batches"]

    async def pending_gifts(self) -> int:
        """Gifts that wait for their recipient."""
        return await self._count("pending_gifts")

    async def lanes(self, chain_id: int) -> list[LaneFigures]:
        """Every lane of the chain."""
        rows = await self._pool.fetch(_SQL["lanes"], chain_id)
        return [LaneFigures(*row) for row in rows]

    async def costs(self, chain_id: int) -> list[Cost]:
        """By settlement; one that had no transactions lately is left out."""
        return [Cost(*row) for row in await self._pool.fetch(_SQL["costs"], chain_id, RECENT)]

    async def endpoints(self) -> EndpointFigures:
        """Webhook subscriptions by state."""
        [row] = await self._pool.fetch(_SQL["endpoints"])
        return EndpointFigures(row["active"], row["failing"], row["disabled"], row["oldest_due_age_s"] or 0.0)

    async def open_dead_letters(self) -> dict[str, int]:
        """By kind; one without open letters is left out."""
        return await self._by_kind("open_dead_letters")

    async def buried_mark(self) -> UUID:
        """The end of what can be counted already: later letters may still be under way to their commit."""
        mark: UUID = await self._pool.fetchval(_SQL["buried_mark"])
        return mark

    async def buried_between(self, first: UUID, end: UUID) -> Counter[str]:
        """How many dead letters were buried between two marks, by kind."""
        return Counter(await self._by_kind("buried_between", first, end))

    async def open_alerts(self) -> dict[str, int]:
        """By kind; one without open alerts is left out."""
        return await self._by_kind("open_alerts")

    async def _count(self, statement: str) -> int:
        count: int = await self._pool.fetchval(_SQL[statement])
        return count

    async def _by_kind(self, statement: str, *arguments: object) -> dict[str, int]:
        rows = await self._pool.fetch(_SQL[statement], *arguments)
        return {row["kind"]: row["count"] for row in rows}
