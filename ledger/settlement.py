"""Settling: what a final block decided becomes the state of transfers, tickets, items, batches and nonces, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ledger.counters import Change, count
from ledger.creation import fail_items, postpone_items
from ledger.dead_letters import bury_transfers
from ledger.events import emit_transfer_events
from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from workflows.interface.chain import TransactionResult, TransferResult
from workflows.interface.codes import EventType, FailureCode, Outcome, TransferStatus
from workflows.interface.tries import Verdict, after_failure
from workflows.interface.validation import QueuedItem, Rejected

_SQL, _TRANSFERS = load("chain"), load("transfers")


class _CutMovedError(Exception):
    """The batch was cancelled while its failures were being judged: judge again."""


class _Unmoved(NamedTuple):
    """A transfer that didn't move, with what the chain said and what becomes of it."""

    row: asyncpg.Record
    result: TransferResult
    transaction_id: int
    verdict: Verdict


class Settling:
    """Writes final results. Two copies at once change each row once: the second waits for the tickets."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def settle(self, results: Sequence[TransactionResult]) -> frozenset[UUID]:
        """Settles what a block at depth decided, all in one transaction; returns the subscriptions to wake."""
        if not results:
            return frozenset()
        while True:
            try:
                async with transaction(self._pool) as connection:
                    return await self._settle(connection, results)
            except _CutMovedError:
                continue

    async def _settle(self, connection: Connection, results: Sequence[TransactionResult]) -> frozenset[UUID]:
        lines = [(result.transaction_id, line) for result in results for line in result.transfers]
        moved = [line for _, line in lines if line.outcome is Outcome.MOVED]
        await connection.fetch(_SQL["lock_settled_tickets"], [line.transfer_id for _, line in lines])
        completed = await connection.fetch(
            _SQL["complete_transfers"], [line.transfer_id for line in moved], [line.binding_no for line in moved]
        )
        unmoved = await self._judge_unmoved(connection, lines)
        changes = await self._write_unmoved(connection, unmoved)
        for batch_id, number in Counter(row["batch_id"] for row in completed).items():
            changes[batch_id] = _added(changes.get(batch_id, Change()), Change(processing=-number, completed=number))
        await self._write_chain(connection, results, unmoved)
        await self._hold_cut(connection, unmoved)
        woken = await self._emit(connection, [row["transfer_id"] for row in completed], unmoved)
        for batch_id in sorted(changes.keys() - {None}):
            await count(connection, batch_id, changes[batch_id])
        return woken

    async def _judge_unmoved(
        self, connection: Connection, lines: Sequence[tuple[int, TransferResult]]
    ) -> list[_Unmoved]:
        unmoved = {line.transfer_id: (txn, line) for txn, line in lines if line.outcome is not Outcome.MOVED}
        if not unmoved:
            return []
        rows = await connection.fetch(_SQL["unmoved_transfers"], list(unmoved))
        return [
            _Unmoved(row, line, transaction_id, _verdict(row, line))
            for row in rows
            for transaction_id, line in [unmoved[row["transfer_id"]]]
            if line.binding_no == row["binding_no"]
        ]

    async def _write_unmoved(self, connection: Connection, unmoved: Sequence[_Unmoved]) -> dict[UUID, Change]:
        if not unmoved:
            return {}
        await connection.fetch(
            _SQL["end_unmoved_transfers"],
            [u.result.transfer_id for u in unmoved],
            [u.result.binding_no for u in unmoved],
            [u.verdict.status.value for u in unmoved],
            [u.result.pack_limit or u.row["pack_limit"] for u in unmoved],
            [_code(u) if u.verdict.status is TransferStatus.FAILED else None for u in unmoved],
            [_reason(u) if u.verdict.status is TransferStatus.FAILED else None for u in unmoved],
            [None if u.row["batch_id"] else u.verdict.tries for u in unmoved],
            [None if u.row["batch_id"] else u.verdict.delay for u in unmoved],
        )
        batches = sorted({u.row["batch_id"] for u in unmoved} - {None})
        changes = {}
        for batch_id in batches:
            mine = [u for u in unmoved if u.row["batch_id"] == batch_id]
            changes[batch_id] = await self._write_items(connection, batch_id, mine)
        return changes

    async def _write_items(self, connection: Connection, batch_id: UUID, unmoved: Sequence[_Unmoved]) -> Change:
        again = [u for u in unmoved if u.verdict.status is TransferStatus.ACCEPTED]
        await postpone_items(
            connection, batch_id, [(u.row["item_no"], u.verdict.tries, u.verdict.delay) for u in again]
        )
        failed = await fail_items(
            connection, batch_id, [_rejected(u) for u in unmoved if u.verdict.status is TransferStatus.FAILED]
        )
        numbers = [u.row["item_no"] for u in unmoved if u.verdict.status is TransferStatus.CANCELLED]
        cancelled = len(await connection.fetch(_TRANSFERS["cancel_items"], batch_id, numbers)) if numbers else 0
        return Change(processing=-failed - cancelled, failed=failed, cancelled=cancelled)

    async def _write_chain(
        self, connection: Connection, results: Sequence[TransactionResult], unmoved: Sequence[_Unmoved]
    ) -> None:
        refused = [u for u in unmoved if u.result.outcome is Outcome.FAILED]
        if refused:
            await connection.execute(
                _SQL["record_failed_transfers"],
                [u.result.transfer_id for u in refused],
                [_code(u) for u in refused],
                [_reason(u) for u in refused],
                [u.transaction_id for u in refused],
            )
        await connection.execute(_SQL["settle_transactions"], *_final_columns(results))
        await connection.execute(_SQL["insert_outcomes"], *_outcome_columns(results))

    async def _hold_cut(self, connection: Connection, unmoved: Sequence[_Unmoved]) -> None:
        """Holds the control rows, as every change that leaves a transfer unbound does, and sees that they stand."""
        assumed = {u.row["batch_id"]: u.row["cancelled"] for u in unmoved if u.row["batch_id"] is not None}
        for batch_id in sorted(assumed):
            row = await connection.fetchrow(_TRANSFERS["hold_control"], batch_id)
            if row is not None and row["cancelled"] != assumed[batch_id]:
                raise _CutMovedError

    async def _emit(
        self, connection: Connection, completed: Sequence[UUID], unmoved: Sequence[_Unmoved]
    ) -> frozenset[UUID]:
        ended = {status: [u.result.transfer_id for u in unmoved if u.verdict.status is status] for status in _EVENTS}
        woken = await emit_transfer_events(connection, completed, EventType.TRANSFER_COMPLETED)
        for status, kind in _EVENTS.items():
            woken |= await emit_transfer_events(connection, ended[status], kind)
        await bury_transfers(connection, ended[TransferStatus.FAILED])
        return woken


_EVENTS = {
    TransferStatus.FAILED: EventType.TRANSFER_FAILED,
    TransferStatus.CANCELLED: EventType.TRANSFER_CANCELLED,
}


def _verdict(row: asyncpg.Record, line: TransferResult) -> Verdict:
    return after_failure(line.code, costs_try=line.costs_try, tries=row["tries"], cancelled=row["cancelled"])


def _code(unmoved: _Unmoved) -> str:
    return (unmoved.result.code or FailureCode.NOT_MOVED).value


def _reason(unmoved: _Unmoved) -> str:
    code = unmoved.result.code or FailureCode.NOT_MOVED
    return f"{code.meaning} ({unmoved.result.reason})" if unmoved.result.reason else code.meaning


def _rejected(unmoved: _Unmoved) -> Rejected:
    item = QueuedItem(unmoved.row["item_no"], unmoved.result.transfer_id, "", "", unmoved.verdict.tries)
    return Rejected(item, FailureCode(_code(unmoved)), _reason(unmoved))


def _added(one: Change, other: Change) -> Change:
    return Change(*(a + b for a, b in zip(one, other, strict=True)))


def _final_columns(results: Sequence[TransactionResult]) -> tuple[list[object], ...]:
    rows = [
        (r.transaction_id, r.tx_hash, r.block_number, r.block_hash, r.succeeded, r.gas_used, str(r.fee_wei))
        for r in results
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))


def _outcome_columns(results: Sequence[TransactionResult]) -> tuple[list[object], ...]:
    """A transaction's results come in the order of its bindings."""
    rows = [
        (
            result.transaction_id,
            position,
            line.outcome.value,
            (line.code or FailureCode.NOT_MOVED).value if line.outcome is Outcome.FAILED else None,
            line.reason,
        )
        for result in results
        for position, line in enumerate(result.transfers)
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))
