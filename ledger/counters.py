"""The batch's counters: the last lock of every transaction that changes items."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import asyncpg

from ledger.pool import Connection, Pool
from ledger.queries import load
from workflows.interface.batch import BatchCounts

_SQL = load("transfers")


class Change(NamedTuple):
    """By how much each counter moves; the five sum to zero."""

    queued: int = 0
    processing: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0


async def count(connection: Connection, batch_id: UUID, change: Change) -> None:
    """Moves the counters by rows that an UPDATE of this transaction returned."""
    if any(change):
        await connection.execute(_SQL["count_items"], batch_id, *change)


async def read_counts(pool: Pool | Connection, batch_id: UUID) -> BatchCounts:
    """The counters as they are now."""
    row = await pool.fetchrow(_SQL["read_counters"], batch_id)
    if row is None:
        raise LookupError(f"batch {batch_id} has no counters")
    return counts_of(row)


def counts_of(row: asyncpg.Record) -> BatchCounts:
    """The model of a `batch_counters` row."""
    return BatchCounts(
        item_count=row["item_count"],
        queued=row["queued"],
        processing=row["processing"],
        completed=row["completed"],
        failed=row["failed"],
        cancelled=row["cancelled"],
    )
