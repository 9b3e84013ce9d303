"""Batches that nobody works on: found, failed when they're too old, and their counters compared with their items."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ledger.counters import Change, count, counts_of
from ledger.events import emit_batch_event
from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from ledger.single_retries import mend_batch
from workflows.interface.batch import BatchCounts
from workflows.interface.codes import AlertKind, BatchStatus, EventType

_SQL = load("maintenance")

FAILED_BY = "clean-stale-batches"
"""What stands where a workflow's run id would."""
SETTLED = "it is worked on again, or has ended"
_KINDS = [AlertKind.STALE_BATCH.value, AlertKind.STALE_TRANSFER.value]


class OpenBatch(NamedTuple):
    """A batch that isn't ended."""

    batch_id: UUID
    from_user_id: str
    status: BatchStatus
    item_count: int
    request_sha256: bytes
    begun: bool
    """A workflow has opened it once."""
    too_old: bool
    """To be started still, if it never was."""
    left_alone: bool
    """A person ended its workflow, and nobody has started it since."""


class Difference(NamedTuple):
    """Counters that weren't what the items say."""

    batch_id: UUID
    counters: BatchCounts
    items: BatchCounts


class StaleBatches:
    """What the hourly clean-up reads and writes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open_page(
        self, after: UUID, start_after: timedelta, fail_after: timedelta, page_size: int
    ) -> list[OpenBatch]:
        """The next batches, by id, that aren't ended; staged ones only after `start_after`."""
        rows = await self._pool.fetch(_SQL["open_batches_page"], after, start_after, fail_after, page_size)
        return [_open_batch(row) for row in rows]

    async def is_open(self, batch_id: UUID) -> bool:
        """Whether it isn't ended as of now."""
        return bool(await self._pool.fetchval(_SQL["is_open"], batch_id))

    async def leave(self, batch_id: UUID) -> None:
        """Remembers that a person ended its workflow: Temporal forgets it after its retention."""
        await self._pool.execute(_SQL["leave_batch"], batch_id)

    async def fail_staged(self, batch_id: UUID, reason: str) -> frozenset[UUID] | None:
        """Ends a batch that was never begun as FAILED; None where somebody has begun it meanwhile.

        Its items are cancelled, and its event is written, by `cancel_queued_page`; here only where no item is left to
        cancel. Answers whom to wake.
        """
        async with transaction(self._pool) as connection:
            if await connection.fetchval(_SQL["fail_staged"], batch_id, FAILED_BY, reason) is None:
                return None
            if await self._has_queued(connection, batch_id):
                return frozenset()
            return await emit_batch_event(connection, batch_id, EventType.BATCH_FAILED)

    async def failed_with_queued(self, most: int) -> list[UUID]:
        """Failed batches with items that aren't cancelled yet."""
        return [row[0] for row in await self._pool.fetch(_SQL["failed_with_queued"], most)]

    async def cancel_queued_page(
        self, batch_id: UUID, after_item: int, page_size: int
    ) -> tuple[int | None, frozenset[UUID]]:
        """Cancels the next items of a failed batch: where the next page begins (None: done), and whom to wake.

        The page that leaves none writes `batch.failed`, so the event comes once and with the final counts.
        """
        async with transaction(self._pool) as connection:
            if await connection.fetchrow(_SQL["hold_failed_batch"], batch_id) is None:
                return None, frozenset()
            numbers = [
                row["item_no"]
                for row in await connection.fetch(_SQL["cancel_queued_page"], batch_id, after_item, page_size)
            ]
            await count(connection, batch_id, Change(queued=-len(numbers), cancelled=len(numbers)))
            if numbers and not await self._has_queued(connection, batch_id):
                return None, await emit_batch_event(connection, batch_id, EventType.BATCH_FAILED)
        return max(numbers, default=None), frozenset()

    async def _has_queued(self, connection: Connection, batch_id: UUID) -> bool:
        [row] = await connection.fetch(_SQL["hold_counters"], batch_id)
        return bool(row["queued"])

    async def page_to_compare(self, after: UUID, ended_within: timedelta, page_size: int) -> list[UUID]:
        """The next batches, by id, that aren't in work just now."""
        rows = await self._pool.fetch(_SQL["batches_to_compare"], after, ended_within, page_size)
        return [row[0] for row in rows]

    async def repair_counters(self, batch_id: UUID) -> Difference | None:
        """Compares a batch's counters with its items, and sets them right; None where they're the same."""
        async with transaction(self._pool) as connection:
            held = await connection.fetchrow(_SQL["hold_counters"], batch_id)
            if held is None:
                return None
            [counted] = await connection.fetch(_SQL["count_by_status"], batch_id)
            counters, items = counts_of(held), counts_of(counted)
            if counters == items:
                return None
            await connection.execute(_SQL["repair_counters"], batch_id, *items.model_dump(by_alias=False).values())
        return Difference(batch_id, counters, items)

    async def mend(self, batch_id: UUID) -> frozenset[UUID] | None:
        """Completes a batch that a retry mended without saying so (it was terminated): whom to wake; None: not so."""
        return await mend_batch(self._pool, batch_id)

    async def close_alerts(self, unseen_since: datetime) -> None:
        """Closes the alerts about what nobody works on that weren't raised again."""
        await self._pool.execute(_SQL["close_unseen_alerts"], _KINDS, unseen_since, SETTLED)


def _open_batch(row: asyncpg.Record) -> OpenBatch:
    return OpenBatch(
        batch_id=row["batch_id"],
        from_user_id=row["from_user_id"],
        status=BatchStatus(row["status"]),
        item_count=row["item_count"],
        request_sha256=row["request_sha256"],
        begun=row["run_no"] > 0,
        too_old=row["too_old"],
        left_alone=row["left_alone"],
    )
