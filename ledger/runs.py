"""A batch's runs: opened by its workflow, paused, resumed, cancelled, closed; and alerts about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ledger.counters import Change, count, read_counts
from ledger.dead_letters import bury_transfers
from ledger.events import emit_batch_event, emit_transfer_events
from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from workflows.interface.batch import BatchCounts, BatchResult
from workflows.interface.codes import (
    AlertKind,
    BatchStatus,
    ErrorCode,
    EventType,
    ItemOrder,
    Settlement,
    TransferKind,
)
from workflows.interface.errors import RequestError
from workflows.interface.options import BatchOptions

_SQL, _TRANSFERS = load("runs"), load("transfers")


class _OvertakenError(Exception):
    """Another copy was quicker; the transaction is rolled back, and what stands now is read again."""


class BatchRow(NamedTuple):
    """A batch as it stands."""

    batch_id: UUID
    from_user_id: str
    request_sha256: bytes
    options: BatchOptions
    status: BatchStatus
    item_count: int
    run_no: int
    closed_run: int
    opened_by: str | None
    paused: bool
    cancelled: bool
    reason: str | None


class Closed(NamedTuple):
    """A run's end: the stored result and whom to wake."""

    result: BatchResult
    subscription_ids: frozenset[UUID]


class CancelledPage(NamedTuple):
    """One page of cancelling: where the next begins (None: done), and whom to wake."""

    next_after: int | None
    subscription_ids: frozenset[UUID]


class BatchRuns:
    """The life of batches in the database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, batch_id: UUID) -> BatchRow:
        """The batch.

        Raises:
            RequestError: INVALID_INPUT, nothing was ever staged under this id.
        """
        row = await self._pool.fetchrow(_SQL["find_batch"], batch_id)
        if row is None:
            raise RequestError(
                ErrorCode.INVALID_INPUT,
                f"batch {batch_id} was never staged: send its items inline, or stage them before the start",
            )
        return _batch_of(row)

    async def open(self, batch_id: UUID, opened_by: str, *, retry_failed: bool) -> BatchRow:
        """Begins a run unless this workflow execution has begun it already, or there is nothing left to do."""
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(_SQL["lock_batch"], batch_id)
            if row is not None and row["left_at"] is not None:
                await connection.execute(_SQL["come_back"], batch_id)
            retry_failed = retry_failed and await connection.fetchval(_SQL["has_reopenable"], batch_id)
            if row is not None and _begins_run(row, opened_by, retry_failed=retry_failed):
                if row["ended_at"] is not None:
                    await connection.execute(_SQL["uncancel"], batch_id)
                await connection.execute(_SQL["open_run"], batch_id, opened_by)
        return await self.find(batch_id)

    async def subscriptions(self, from_user_id: str) -> tuple[UUID, ...]:
        """Webhook subscriptions that may want events of this sender's batches."""
        rows = await self._pool.fetch(_SQL["batch_subscriptions"], from_user_id)
        return tuple(row[0] for row in rows)

    async def counts(self, batch_id: UUID) -> BatchCounts:
        """The batch's counters as they are now."""
        return await read_counts(self._pool, batch_id)

    async def is_stopped(self, batch_id: UUID) -> bool:
        """Whether the batch is paused or cancelled just now."""
        row = await self._pool.fetchrow(_TRANSFERS["read_control"], batch_id)
        return row is None or bool(row["paused"] or row["cancelled"])

    async def due_subscriptions(self, batch_id: UUID) -> frozenset[UUID]:
        """Subscriptions that may want this batch's events and have deliveries due."""
        rows = await self._pool.fetch(_SQL["due_subscriptions"], batch_id)
        return frozenset(row[0] for row in rows)

    # A run's own steps: each holds the run first, and changes nothing where it's over --------------------------------

    async def set_paused(self, batch_id: UUID, run_no: int, *, paused: bool) -> None:
        """Forbids or allows new bindings. When it returns, no binding of before the pause is under way."""
        async with transaction(self._pool) as connection:
            if await hold_run(connection, batch_id, run_no):
                await connection.execute(_SQL["show_paused"], batch_id, paused)
                await connection.execute(_SQL["set_paused"], batch_id, paused)

    async def set_cancelled(self, batch_id: UUID, run_no: int, reason: str | None) -> None:
        """The cut: commits the batch's control row, after which nothing is created or bound."""
        async with transaction(self._pool) as connection:
            if await hold_run(connection, batch_id, run_no):
                await connection.execute(_SQL["set_cancelled"], batch_id, reason)

    async def cancel_page(self, batch_id: UUID, run_no: int, after_item: int, page_size: int) -> CancelledPage:
        """Cancels the next items that aren't bound and frees their tickets."""
        async with transaction(self._pool) as connection:
            if not await hold_run(connection, batch_id, run_no):
                return CancelledPage(None, frozenset())
            rows = await connection.fetch(_TRANSFERS["page_to_cancel"], batch_id, after_item, page_size)
            if not rows:
                return CancelledPage(None, frozenset())
            with_transfer = [row["transfer_id"] for row in rows if row["transfer_id"] is not None]
            ended = await connection.fetch(_TRANSFERS["cancel_transfers"], with_transfer)
            numbers = {row["item_no"] for row in ended} | {r["item_no"] for r in rows if r["transfer_id"] is None}
            await self._cancel_items(
                connection, batch_id, numbers, {r["item_no"] for r in rows if r["status"] == "QUEUED"}
            )
            ids = [row["transfer_id"] for row in ended]
            woken = await emit_transfer_events(connection, ids, EventType.TRANSFER_CANCELLED)
        return CancelledPage(rows[-1]["item_no"], woken)

    async def _cancel_items(
        self, connection: Connection, batch_id: UUID, numbers: set[int], were_queued: set[int]
    ) -> None:
        await connection.execute(_TRANSFERS["hold_items"], batch_id, list(numbers))
        rows = await connection.fetch(_TRANSFERS["cancel_items"], batch_id, list(numbers))
        queued = sum(row["item_no"] in were_queued for row in rows)
        change = Change(queued=-queued, processing=queued - len(rows), cancelled=len(rows))
        await count(connection, batch_id, change)

    async def fail_item(
        self, batch_id: UUID, run_no: int | None, item_no: int, code: str, reason: str
    ) -> frozenset[UUID] | None:
        """Fails one item that isn't bound; None where it's bound, and only the chain can decide.

        `run_no` None: whichever run goes on, for a reason that was found just now.
        """
        while True:
            try:
                async with transaction(self._pool) as connection:
                    if run_no is not None and not await hold_run(connection, batch_id, run_no):
                        return frozenset()
                    return await self._fail_item(connection, batch_id, item_no, code, reason)
            except _OvertakenError:
                continue

    async def _fail_item(
        self, connection: Connection, batch_id: UUID, item_no: int, code: str, reason: str
    ) -> frozenset[UUID] | None:
        item = await connection.fetchrow(_TRANSFERS["item_of_batch"], batch_id, item_no)
        if item is None or item["status"] not in ("QUEUED", "PROCESSING"):
            return frozenset()
        if item["transfer_status"] not in (None, "PENDING", "ACCEPTED"):
            return None
        await self._fail_transfer(connection, batch_id, item, code, reason)
        taken = await connection.fetch(_TRANSFERS["take_up_items"], batch_id, [item_no])
        args = ([item_no], [code], [reason], [item["tries"]])
        ended = len(await connection.fetch(_TRANSFERS["fail_items"], batch_id, *args))
        woken = await emit_transfer_events(connection, [item["transfer_id"]], EventType.TRANSFER_FAILED)
        await bury_transfers(connection, [item["transfer_id"]])
        change = Change(queued=-len(taken), processing=len(taken) - ended, failed=ended)
        await count(connection, batch_id, change)
        return woken

    async def fail_unbound(
        self, batch_id: UUID, transfer_ids: Sequence[UUID], code: str, reason: str
    ) -> frozenset[UUID]:
        """Fails those of the batch's transfers that aren't bound."""
        woken: frozenset[UUID] = frozenset()
        for row in await self._pool.fetch(_TRANSFERS["items_of_transfers"], transfer_ids):
            woken |= await self.fail_item(batch_id, None, row["item_no"], code, reason) or frozenset()
        return woken

    async def _fail_transfer(
        self, connection: Connection, batch_id: UUID, item: asyncpg.Record, code: str, reason: str
    ) -> None:
        """Raises _OvertakenError where another step has changed the transfer since the item was read."""
        if item["transfer_status"] is not None:
            failed = await connection.fetch(_TRANSFERS["fail_unbound_transfer"], item["transfer_id"], code, reason)
        else:
            statement = _TRANSFERS["insert_failed_transfer"]
            failed = await connection.fetch(statement, item["transfer_id"], code, reason, batch_id)
        if not failed:
            raise _OvertakenError

    async def close(self, batch_id: UUID, run_no: int) -> Closed:
        """Writes the run's final status and its event, once; the stored result otherwise.

        Raises:
            RuntimeError: items are still open.
        """
        woken: frozenset[UUID] = frozenset()
        async with transaction(self._pool) as connection:
            goes_on = await hold_run(connection, batch_id, run_no)
            counts = await read_counts(connection, batch_id)
            if goes_on:
                if counts.queued or counts.processing:
                    raise RuntimeError(
                        f"batch {batch_id} can't close: {counts.queued + counts.processing} items are open"
                    )
                status = _final_status(counts)
                [row] = await connection.fetch(_SQL["find_batch"], batch_id)
                # A cancel that came too late has no part in how the run ended, nor has its reason.
                reason = row["control_reason"] if status is BatchStatus.CANCELLED else None
                await connection.execute(_SQL["close_run"], batch_id, status.value, reason)
                await connection.execute(_SQL["unpause"], batch_id)
                kind = EventType.BATCH_CANCELLED if status is BatchStatus.CANCELLED else EventType.BATCH_COMPLETED
                woken = await emit_batch_event(connection, batch_id, kind)
        final = await self.find(batch_id)
        return Closed(result_of(final, counts), woken)

    async def raise_alert(self, kind: AlertKind, subject: str, message: str) -> None:
        """Opens an alert, or counts it where it's open already."""
        await self._pool.execute(_SQL["raise_alert"], kind.value, subject, message)


async def hold_run(connection: Connection, batch_id: UUID, run_no: int) -> bool:
    """Whether this run goes on; if so, none later begins before this transaction's end. Locks before any other row."""
    return await connection.fetchrow(_SQL["hold_run"], batch_id, run_no) is not None


def result_of(batch: BatchRow, counts: BatchCounts) -> BatchResult:
    """The batch's result as callers see it."""
    return BatchResult(
        batch_id=batch.batch_id,
        status=batch.status,
        item_count=counts.item_count,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
    )


def _begins_run(row: asyncpg.Record, opened_by: str, *, retry_failed: bool) -> bool:
    if row["opened_by"] == opened_by:
        return False
    if row["ended_at"] is None:
        return bool(row["run_no"] == row["closed_run"])
    return retry_failed


def _final_status(counts: BatchCounts) -> BatchStatus:
    """By the items alone: a cancel that came when everything was bound changed nothing."""
    if counts.cancelled:
        return BatchStatus.CANCELLED
    return BatchStatus.COMPLETED_WITH_FAILURES if counts.failed else BatchStatus.COMPLETED


def _batch_of(row: asyncpg.Record) -> BatchRow:
    return BatchRow(
        batch_id=row["batch_id"],
        from_user_id=row["from_user_id"],
        request_sha256=row["request_sha256"],
        options=BatchOptions(
            Settlement(row["settlement"]),
            TransferKind(row["kind"]),
            row["expires_at"],
            ItemOrder(row["item_order"]),
        ),
        status=BatchStatus(row["status"]),
        item_count=row["item_count"],
        run_no=row["run_no"],
        closed_run=row["closed_run"],
        opened_by=row["opened_by"],
        paused=row["paused"],
        cancelled=row["cancelled"],
        reason=row["reason"],
    )
