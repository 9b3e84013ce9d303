"""Lanes: the signer accounts, their next nonces, and whether the chain and the ledger agree on them."""

from __future__ import annotations

from typing import NamedTuple

from ledger.pool import Pool
from ledger.queries import load
from workflows.interface.chain import Lane

_SQL = load("chain")


class LaneHead(NamedTuple):
    """Where a lane stands in the ledger."""

    lane: Lane
    next_nonce: int
    settled_below: int
    """One above the highest nonce that a final block decided: the chain's own nonce can't be lower."""
    open: int
    halted_reason: str | None


class Lanes:
    """The lanes of the ledger."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, lane: Lane, next_nonce: int, max_in_flight: int) -> None:
        """Registers a lane that isn't known, beginning at `next_nonce`."""
        await self._pool.execute(_SQL["add_lane"], *lane, next_nonce, max_in_flight)

    async def heads(self, chain_id: int) -> list[LaneHead]:
        """Every lane of the chain."""
        rows = await self._pool.fetch(_SQL["lane_heads"], chain_id)
        return [
            LaneHead(
                Lane(chain_id, row["signer"]),
                row["next_nonce"],
                row["settled_below"],
                row["open"],
                row["halted_reason"],
            )
            for row in rows
        ]

    async def chain_ids(self) -> list[int]:
        """The chains that have lanes; more than one, or another than the node's, is a wrong URL."""
        return [row[0] for row in await self._pool.fetch(_SQL["chains"])]
