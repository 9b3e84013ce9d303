"""Transfers that no batch works on: made once, and found again as they stand."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ledger.creation import Judge, address_bytes, known_of
from ledger.dead_letters import bury_transfers
from ledger.events import emit_transfer_events
from ledger.fingerprint import transfer_sha256
from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from workflows.interface.addresses import is_address_text
from workflows.interface.codes import (
    ErrorCode,
    EventType,
    FailureCode,
    Settlement,
    TransferKind,
    TransferStatus,
)
from workflows.interface.errors import RequestError
from workflows.interface.options import GIFT_LIFETIME
from workflows.interface.transfer import TransferInput, TransferState
from workflows.interface.tries import MAX_TRIES
from workflows.interface.validation import Accepted, QueuedItem, Rejected, judge_gift

_SQL, _TRANSFERS = load("singles"), load("transfers")


class Standing(NamedTuple):
    """A transfer as it stands, with what its next step depends on."""

    state: TransferState
    next_try_in_s: float | None
    works_for: UUID | None
    """The batch whose item is retried: its controls and counters are concerned."""
    left_alone: bool
    """A person had ended its workflow."""


class Written(NamedTuple):
    """What a step committed: whom to wake, and whether the ticket was locked, so that nothing was written."""

    subscription_ids: frozenset[UUID] = frozenset()
    locked: bool = False


class SingleTransfers:
    """The life of one transfer in the database. `judge` is the pure rule, what it needs of the chain bound to it."""

    def __init__(self, pool: Pool, judge: Judge, own_contracts: frozenset[bytes]) -> None:
        self._pool = pool
        self._judge = judge
        self._own_contracts = own_contracts

    async def find(self, transfer_id: UUID) -> Standing:
        """The transfer as it stands.

        Raises:
            RequestError: NOT_FOUND.
        """
        row = await self._pool.fetchrow(_SQL["transfer_state"], transfer_id)
        if row is None:
            raise RequestError(ErrorCode.NOT_FOUND, f"there is no transfer {transfer_id}")
        return _standing(row)

    async def come_back(self, transfer_id: UUID) -> None:
        """It isn't left alone any more: somebody has started it again."""
        await self._pool.execute(_SQL["come_back"], transfer_id)

    async def due_subscriptions(self, transfer_id: UUID) -> frozenset[UUID]:
        """Subscriptions that may want this transfer's events and have deliveries due."""
        return frozenset(row[0] for row in await self._pool.fetch(_SQL["due_subscriptions_of_transfer"], transfer_id))

    # Making one -----------------------------------------------------------------------------------------------------

    async def create(self, request: TransferInput, tries: int) -> Written:
        """Writes a new transfer; one that stands under the id already stays as it is, if it's the same request.

        `tries` counts those before, that found the ticket locked: nothing is written then, until the last.

        Raises:
            RequestError: TRANSFER_CONTENT_DIFFERS, or INVALID_INPUT where a gift's time is over before it begins.
        """
        async with transaction(self._pool) as connection:
            known = await connection.fetchrow(_SQL["lock_transfer"], request.transfer_id)
            if known is None:
                written = await self._create(connection, request, tries)
                if written is not None:
                    return written
                known = await connection.fetchrow(_SQL["lock_transfer"], request.transfer_id)
            _require_same(request, known)
            return Written()

    async def _create(self, connection: Connection, request: TransferInput, tries: int) -> Written | None:
        """None where another copy was quicker."""
        if request.expires_at is not None and request.expires_at <= await connection.fetchval("SELECT now()"):
            raise RequestError(ErrorCode.INVALID_INPUT, f"expiresAt is past: {request.expires_at.isoformat()}")
        item = QueuedItem(0, request.transfer_id, str(request.ticket_id), str(request.to), tries)
        lock = _TRANSFERS["lock_tickets"]
        known = await known_of(connection, lock, str(request.from_user_id), [item], self._own_contracts)
        verdict = self._judge(item, known)
        if _kind(request) is TransferKind.GIFT:
            verdict = judge_gift(verdict)
        if isinstance(verdict, Rejected):
            return await self._insert_failed(connection, request, verdict)
        if await self._insert(connection, request, verdict):
            return Written(await emit_transfer_events(connection, [item.transfer_id], EventType.TRANSFER_CREATED))
        if await connection.fetchval(_SQL["lock_transfer"], request.transfer_id) is not None:
            return None
        if tries + 1 < MAX_TRIES:
            return Written(locked=True)
        return await self._insert_failed(connection, request, _rejected(item, FailureCode.TICKET_LOCKED))

    async def _insert(self, connection: Connection, request: TransferInput, accepted: Accepted) -> bool:
        gift = _kind(request) is TransferKind.GIFT
        row = await connection.fetchrow(
            _SQL["insert_single"],
            request.transfer_id,
            _kind(request).value,
            accepted.item.ticket_id,
            request.from_user_id,
            accepted.to_user_id,
            accepted.ticket.token,
            accepted.ticket.holder,
            accepted.to,
            (request.settlement or Settlement.BATCHED).value,
            (TransferStatus.PENDING if gift else TransferStatus.ACCEPTED).value,
            await _expiry(connection, request) if gift else None,
            transfer_sha256(request),
        )
        return row is not None

    async def _insert_failed(
        self, connection: Connection, request: TransferInput, rejected: Rejected
    ) -> Written | None:
        to = str(request.to)
        row = await connection.fetchrow(
            _SQL["insert_failed_single"],
            request.transfer_id,
            _kind(request).value,
            rejected.item.ticket_id,
            request.from_user_id,
            None if is_address_text(to) else to,
            address_bytes(to),
            (request.settlement or Settlement.BATCHED).value,
            request.expires_at,
            transfer_sha256(request),
            rejected.code.value,
            rejected.reason,
        )
        if row is None:
            return None
        return await self._ended_failed(connection, request.transfer_id)

    async def fail_unbound(self, transfer_id: UUID, code: FailureCode, reason: str) -> frozenset[UUID]:
        """Fails the transfer where it isn't bound."""
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(_SQL["fail_unbound_single"], transfer_id, code.value, reason)
            return (await self._ended_failed(connection, transfer_id)).subscription_ids if row else frozenset()

    async def _ended_failed(self, connection: Connection, transfer_id: UUID) -> Written:
        woken = await emit_transfer_events(connection, [transfer_id], EventType.TRANSFER_FAILED)
        await bury_transfers(connection, [transfer_id])
        return Written(woken)


def _kind(request: TransferInput) -> TransferKind:
    return request.kind or TransferKind.DIRECT


async def _expiry(connection: Connection, request: TransferInput) -> datetime:
    """By the database's clock, which also ends it."""
    if request.expires_at is not None:
        return request.expires_at
    now: datetime = await connection.fetchval("SELECT now()")
    return now + GIFT_LIFETIME


def _require_same(request: TransferInput, row: asyncpg.Record | None) -> None:
    if row is None or row["request_sha256"] != transfer_sha256(request):
        raise RequestError(
            ErrorCode.TRANSFER_CONTENT_DIFFERS,
            f"transfer {request.transfer_id} exists and was asked for differently: take another id",
        )


def _rejected(item: QueuedItem, code: FailureCode) -> Rejected:
    return Rejected(item, code, f"{code.meaning} (ticket {item.ticket_id})")


def _standing(row: asyncpg.Record) -> Standing:
    kind = TransferKind(row["kind"])
    return Standing(
        state=TransferState(
            transfer_id=row["transfer_id"],
            status=TransferStatus(row["status"]),
            kind=kind,
            ticket_id=row["ticket_id"],
            from_user_id=row["from_user_id"],
            to_user_id=row["to_user_id"],
            to_address=_hex(row["recipient"]),
            batch_id=row["batch_id"],
            item_no=row["item_no"],
            code=FailureCode(row["failure_code"]) if row["failure_code"] else None,
            reason=row["failure_reason"],
            transaction_hash=_hex(row["final_tx_hash"]),
            expires_at=row["expires_at"],
        ),
        next_try_in_s=row["next_try_in_s"],
        works_for=row["batch_id"] if kind is TransferKind.DIRECT else None,
        left_alone=row["left_at"] is not None,
    )


def _hex(value: bytes | None) -> str | None:
    return None if value is None else "0x" + value.hex()
