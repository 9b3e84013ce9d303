"""What is tried again: items of a range that are due again, and failed items that an operator reopens."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import asyncpg

from ledger.counters import Change, count
from ledger.creation import Judge, StoppedError, columns_of, head_of, hold_uncancelled, known_of
from ledger.dead_letters import resolve_transfers
from ledger.events import emit_transfer_events
from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from ledger.ranges import over_range
from ledger.runs import hold_run
from workflows.interface.batch import DueAgain, Slice
from workflows.interface.codes import EventType, TransferKind
from workflows.interface.options import GIFT_LIFETIME
from workflows.interface.slices import ItemRange
from workflows.interface.validation import Accepted, QueuedItem

_SQL = load("transfers")


class ReopenedPage(NamedTuple):
    """One page of reopening: where the next begins (None: done), how many were reopened, and whom to wake."""

    next_after: int | None
    reopened: int
    subscription_ids: frozenset[UUID] = frozenset()


class Retries:
    """Reopening is one operation, whoever asks for it (docs/architecture.md)."""

    def __init__(self, pool: Pool, judge: Judge, own_contracts: frozenset[bytes]) -> None:
        self._pool = pool
        self._judge = judge
        self._own_contracts = own_contracts

    async def due_again(self, work: Slice) -> DueAgain | None:
        """Items of the range that wait for another try; None where there is none."""
        row = await self._pool.fetchrow(*over_range(_SQL, "due_again", work))
        return _due_again(row) if row is not None and row["count"] else None

    async def due_ranges(self, batch_id: UUID, most_items: int) -> tuple[DueAgain, ...]:
        """All items of the batch that wait for another try, in ranges of at most `most_items` of them."""
        return tuple(_due_again(row) for row in await self._pool.fetch(_SQL["due_ranges"], batch_id, most_items))

    async def reopen_page(self, batch_id: UUID, run_no: int, after_item: int, page_size: int) -> ReopenedPage:
        """Reopens the next items that failed before this run, where they may; the others stay failed."""
        try:
            async with transaction(self._pool) as connection:
                return await self._reopen(connection, batch_id, run_no, after_item, page_size)
        except StoppedError:
            return ReopenedPage(None, 0)

    async def _reopen(
        self, connection: Connection, batch_id: UUID, run_no: int, after_item: int, page_size: int
    ) -> ReopenedPage:
        if not await hold_run(connection, batch_id, run_no):
            return ReopenedPage(None, 0)
        rows = await connection.fetch(_SQL["page_to_reopen"], batch_id, after_item, run_no, page_size)
        if not rows:
            return ReopenedPage(None, 0)
        batch = await head_of(connection, batch_id)
        items = [QueuedItem(*row.values()) for row in rows]
        statement = _SQL["lock_tickets_alone"]
        known = await known_of(connection, statement, batch.from_user_id, items, self._own_contracts)
        verdicts = [batch.judged(self._judge(item, known)) for item in items]
        accepted = [verdict for verdict in verdicts if isinstance(verdict, Accepted)]
        reopened = await connection.fetch(
            _SQL["reopen_transfers"],
            [a.item.transfer_id for a in accepted],
            *columns_of(accepted),
            batch.expires_at,
            GIFT_LIFETIME,
        )
        ids = [row["transfer_id"] for row in reopened]
        await resolve_transfers(connection, ids)
        numbers = sorted(row["item_no"] for row in reopened)
        await connection.fetch(_SQL["reopen_items"], batch_id, numbers)
        if batch.kind is not TransferKind.GIFT:
            await hold_uncancelled(connection, batch_id)
            await count(connection, batch_id, Change(failed=-len(numbers), processing=len(numbers)))
            return ReopenedPage(rows[-1]["item_no"], len(numbers))
        await connection.fetch(_SQL["complete_gift_items"], batch_id, numbers)
        await hold_uncancelled(connection, batch_id)
        woken = await emit_transfer_events(connection, ids, EventType.TRANSFER_CREATED)
        await count(connection, batch_id, Change(failed=-len(numbers), completed=len(numbers)))
        return ReopenedPage(rows[-1]["item_no"], len(numbers), woken)


def _due_again(row: asyncpg.Record) -> DueAgain:
    return DueAgain(range=ItemRange(first=row["first"], last=row["last"]), count=row["count"], due_at=row["due_at"])
