"""A failed transfer that is retried alone: reopened where it may be, with its item and its batch's counters."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from ledger.counters import Change, count
from ledger.creation import Judge, StoppedError, hold_uncancelled, known_of
from ledger.dead_letters import bury_transfers, resolve_transfers
from ledger.events import emit_batch_event, emit_transfer_events
from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from workflows.interface.codes import EventType, FailureCode, TransferKind, TransferStatus
from workflows.interface.options import GIFT_LIFETIME
from workflows.interface.transfer import ReopenedBy, Reopening
from workflows.interface.tries import MAX_TRIES
from workflows.interface.validation import Accepted, QueuedItem, judge_gift

_SQL, _TRANSFERS = load("singles"), load("transfers")


class SingleRetries:
    """Reopening one transfer; the rules are those of a batch's reopening (docs/architecture.md)."""

    def __init__(self, pool: Pool, judge: Judge, own_contracts: frozenset[bytes]) -> None:
        self._pool = pool
        self._judge = judge
        self._own_contracts = own_contracts

    async def reopen(self, transfer_id: UUID, asked: Reopening) -> frozenset[UUID]:
        """Reopens a failed transfer where it may be; otherwise it stays failed. A scheduled retry counts either way.

        One that stays failed is a dead letter (again) where nothing else retries it: a replay must not lose it.
        """
        try:
            async with transaction(self._pool) as connection:
                return await self._reopen(connection, transfer_id, asked)
        except StoppedError:
            async with transaction(self._pool) as connection:
                await bury_transfers(connection, [transfer_id])
            return frozenset()

    async def _reopen(self, connection: Connection, transfer_id: UUID, asked: Reopening) -> frozenset[UUID]:
        row = await connection.fetchrow(_SQL["failed_transfer"], transfer_id)
        if row is None:
            return frozenset()
        if row["batch_id"] is not None and row["kind"] == TransferKind.DIRECT:
            await self._hold_ended(connection, row["batch_id"])
        accepted = await self._judged_again(connection, row) if _may_reopen(row, asked) else None
        tries = MAX_TRIES - 1 if asked.by is ReopenedBy.SCHEDULE else 0
        status = None if accepted is None else await self._revive(connection, row, accepted, tries)
        if asked.by is ReopenedBy.SCHEDULE:
            await connection.execute(_SQL["count_retry"], transfer_id)
        if status is None:
            await bury_transfers(connection, [transfer_id])
            return frozenset()
        await resolve_transfers(connection, [transfer_id])
        if row["batch_id"] is not None:
            await self._revive_item(connection, row, tries)
        if status == TransferStatus.PENDING:
            return await emit_transfer_events(connection, [transfer_id], EventType.TRANSFER_CREATED)
        return frozenset()

    async def _hold_ended(self, connection: Connection, batch_id: UUID) -> None:
        """Raises StoppedError where the batch runs; held before any other row, as its own steps do."""
        if await connection.fetchrow(_SQL["hold_ended_batch"], batch_id) is None:
            raise StoppedError(f"batch {batch_id} runs")

    async def _judged_again(self, connection: Connection, row: asyncpg.Record) -> Accepted | None:
        if row["recipient"] is None:
            return None
        item = QueuedItem(row["item_no"] or 0, row["transfer_id"], row["ticket_id"], row["recipient"], 0)
        lock = _TRANSFERS["lock_tickets_alone"]
        known = await known_of(connection, lock, row["from_user_id"], [item], self._own_contracts)
        verdict = self._judge(item, known)
        if row["kind"] == TransferKind.GIFT:
            verdict = judge_gift(verdict)
        return verdict if isinstance(verdict, Accepted) else None

    async def _revive(
        self, connection: Connection, row: asyncpg.Record, accepted: Accepted, tries: int
    ) -> TransferStatus | None:
        status = await connection.fetchval(
            _SQL["reopen_transfer"],
            row["transfer_id"],
            accepted.to_user_id,
            accepted.ticket.token,
            accepted.ticket.holder,
            accepted.to,
            tries,
            GIFT_LIFETIME,
        )
        return None if status is None else TransferStatus(status)

    async def _revive_item(self, connection: Connection, row: asyncpg.Record, tries: int) -> None:
        """Raises StoppedError where a direct transfer's batch is cancelled; a gift is no batch's any more."""
        batch_id, item_no = row["batch_id"], row["item_no"]
        if row["kind"] == TransferKind.GIFT:
            revived = await connection.fetch(_SQL["complete_gift_item"], batch_id, item_no)
            change = Change(failed=-len(revived), completed=len(revived))
        else:
            revived = await connection.fetch(_SQL["reopen_item"], batch_id, item_no, tries)
            change = Change(failed=-len(revived), processing=len(revived))
            await hold_uncancelled(connection, batch_id)
        await count(connection, batch_id, change)

    async def mend_batch(self, batch_id: UUID) -> frozenset[UUID]:
        """A batch that had failures is completed once later retries have mended the last of them."""
        return await mend_batch(self._pool, batch_id) or frozenset()


async def mend_batch(pool: Pool, batch_id: UUID) -> frozenset[UUID] | None:
    """Completes a batch in which nothing is failed any more, with its event, once: whom to wake; None: it was none."""
    async with transaction(pool) as connection:
        if await connection.fetchval(_SQL["mend_batch"], batch_id) is None:
            return None
        return await emit_batch_event(connection, batch_id, EventType.BATCH_COMPLETED)


def _may_reopen(row: asyncpg.Record, asked: Reopening) -> bool:
    code = FailureCode(row["failure_code"])
    return code is not FailureCode.DUPLICATE_IN_BATCH and (code.retryable or asked.force)
