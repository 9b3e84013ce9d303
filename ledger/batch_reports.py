"""Batches and their items as Postgres has them, for people: the truth also after a batch's workflow has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ledger import queries
from ledger.counters import counts_of
from ledger.pool import Pool
from workflows.interface.batch import BatchCounts
from workflows.interface.codes import BatchStatus, ItemOrder, ItemStatus, Settlement, TransferKind

PAGE_SIZE = 1_000


class BatchReport(NamedTuple):
    """One batch with its counters, as of `seen_at`."""

    batch_id: UUID
    from_user_id: str
    settlement: Settlement
    kind: TransferKind
    expires_at: datetime | None
    order: ItemOrder
    status: BatchStatus
    run_no: int
    reason: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seen_at: datetime
    counts: BatchCounts
    paused: bool
    cancel_requested: bool


class ItemReport(NamedTuple):
    """One item, with the hash of the chain transaction that decided it."""

    item_no: int
    ticket_id: str
    recipient: str
    transfer_id: UUID
    status: ItemStatus
    tries: int
    next_try_at: datetime | None
    failure_code: str | None
    failure_reason: str | None
    ended_at: datetime | None
    final_tx_hash: bytes | None


class BatchReports:
    """Reads batches; changes nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = queries.load("batches")

    async def batch(self, batch_id: UUID) -> BatchReport | None:
        """The batch, or None where there is none of this id."""
        row = await self._pool.fetchrow(self._sql["batch_report"], batch_id)
        return None if row is None else _batch_of(row)

    async def newest(
        self, count: int, *, status: BatchStatus | None = None, from_user_id: str | None = None
    ) -> list[BatchReport]:
        """The newest batches, newest first."""
        rows = await self._pool.fetch(self._sql["batch_reports"], status, from_user_id, count)
        return [_batch_of(row) for row in rows]

    async def failures_by_code(self, batch_id: UUID) -> dict[str, int]:
        """How many items failed, by code, most frequent first."""
        rows = await self._pool.fetch(self._sql["failures_by_code"], batch_id)
        return {row["failure_code"]: row["items"] for row in rows}

    async def has_wallet(self, user_id: str) -> bool:
        """Whether there is a user of this name, who can send and receive."""
        found: bool = await self._pool.fetchval(self._sql["has_wallet"], user_id)
        return found

    async def items(
        self, batch_id: UUID, *, status: ItemStatus | None = None, after: int = 0, most: int | None = None
    ) -> AsyncIterator[Sequence[ItemReport]]:
        """The items after an item number, page by page, at most `most` of them."""
        left = most
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(PAGE_SIZE, left)
            rows = await self._pool.fetch(self._sql["items_page"], batch_id, after, status, size)
            if rows:
                yield [_item_of(row) for row in rows]
            if len(rows) < size:
                return
            after = rows[-1]["item_no"]
            left = None if left is None else left - len(rows)


def _batch_of(row: asyncpg.Record) -> BatchReport:
    own = {name: row[name] for name in BatchReport._fields if name != "counts"}
    report = BatchReport(**own, counts=counts_of(row))
    return report._replace(
        settlement=Settlement(report.settlement),
        kind=TransferKind(report.kind),
        order=ItemOrder(report.order),
        status=BatchStatus(report.status),
    )


def _item_of(row: asyncpg.Record) -> ItemReport:
    report = ItemReport(**dict(row))
    return report._replace(status=ItemStatus(report.status))
