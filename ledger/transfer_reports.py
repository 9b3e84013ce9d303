"""Transfers as Postgres has them, for people: the truth also after a transfer's workflow has ended."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ledger import queries
from ledger.pool import Pool
from workflows.interface.codes import EventType, Outcome, Settlement, TransferKind, TransferStatus


class TransferReport(NamedTuple):
    """One transfer, with the hash of the chain transaction that decided it last."""

    transfer_id: UUID
    kind: TransferKind
    status: TransferStatus
    ticket_id: str
    from_user_id: str
    to_user_id: str | None
    recipient: bytes | None
    batch_id: UUID | None
    item_no: int | None
    settlement: Settlement
    failure_code: str | None
    failure_reason: str | None
    expires_at: datetime | None
    created_at: datetime
    accepted_at: datetime | None
    submitted_at: datetime | None
    ended_at: datetime | None
    tries: int
    next_try_at: datetime | None
    final_tx_hash: bytes | None


class BindingReport(NamedTuple):
    """One chain transaction that the transfer was bound to; `outcome` is the transfer's, once a block has decided."""

    binding_no: int
    signer: str
    nonce: int
    bound_at: datetime
    settled_at: datetime | None
    final_tx_hash: bytes | None
    final_block_number: int | None
    gas_used: int | None
    fee_wei: str | None
    outcome: Outcome | None
    code: str | None
    reason: str | None
    attempts: int
    last_tx_hash: bytes | None
    send_class: str | None


class EventReport(NamedTuple):
    """One event of a transfer."""

    event_id: UUID
    type: EventType
    occurred_at: datetime


class TransferFilter(NamedTuple):
    """Which transfers to list; None: any."""

    status: TransferStatus | None = None
    kind: TransferKind | None = None
    from_user_id: str | None = None
    to_user_id: str | None = None


class TransferReports:
    """Reads transfers; changes nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = queries.load("transfer_reports")

    async def transfer(self, transfer_id: UUID) -> TransferReport | None:
        """The transfer, also one of a batch; None where there is none of this id."""
        row = await self._pool.fetchrow(self._sql["transfer_report"], transfer_id)
        return None if row is None else _transfer_of(row)

    async def newest(
        self, count: int, wanted: TransferFilter, before: TransferReport | None = None
    ) -> list[TransferReport]:
        """Single transfers and gifts, newest first; `before` is the last one of the page before."""
        cursor = (None, None) if before is None else (before.created_at, before.transfer_id)
        rows = await self._pool.fetch(self._sql["transfer_reports"], *wanted, *cursor, count)
        return [_transfer_of(row) for row in rows]

    async def bindings(self, transfer_id: UUID) -> list[BindingReport]:
        """Its chain transactions, first to last."""
        rows = await self._pool.fetch(self._sql["transfer_bindings"], transfer_id)
        return [_binding_of(row) for row in rows]

    async def events(self, transfer_id: UUID) -> list[EventReport]:
        """Its events, oldest first."""
        rows = await self._pool.fetch(self._sql["transfer_events"], transfer_id)
        return [EventReport(row["event_id"], EventType(row["type"]), row["occurred_at"]) for row in rows]


def _transfer_of(row: asyncpg.Record) -> TransferReport:
    report = TransferReport(**dict(row))
    return report._replace(
        kind=TransferKind(report.kind), status=TransferStatus(report.status), settlement=Settlement(report.settlement)
    )


def _binding_of(row: asyncpg.Record) -> BindingReport:
    report = BindingReport(**dict(row))
    return report._replace(outcome=None if report.outcome is None else Outcome(report.outcome))
