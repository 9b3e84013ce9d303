"""The word on a gift that waits: accepted or declined by its recipient, or taken back by its sender."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from ledger.events import emit_transfer_events
from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from workflows.interface.codes import ErrorCode, EventType, TransferKind, TransferStatus
from workflows.interface.errors import RequestError
from workflows.interface.transfer import GiftDecision, GiftWord

_SQL = load("singles")
_ENDS = {
    GiftWord.DECLINE: (TransferStatus.DECLINED, EventType.TRANSFER_DECLINED),
    GiftWord.CANCEL: (TransferStatus.CANCELLED, EventType.TRANSFER_CANCELLED),
}


class Gifts:
    """Gifts that wait, in the database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def decide(self, decision: GiftDecision) -> frozenset[UUID]:
        """Accepts, declines or cancels; of two words at once the row's lock lets one through. Returns whom to wake.

        Raises:
            RequestError: NOT_FOUND, NOT_ALLOWED with the reason.
        """
        async with transaction(self._pool) as connection:
            row = await connection.fetchrow(_SQL["lock_transfer"], decision.transfer_id)
            if row is not None and row["decision"] == decision.said:
                return frozenset()
            _require_undecided(decision, row)
            return await self._decide(connection, decision)

    async def _decide(self, connection: Connection, decision: GiftDecision) -> frozenset[UUID]:
        ids = [decision.transfer_id]
        if decision.word is GiftWord.ACCEPT:
            await connection.execute(_SQL["accept_gift"], decision.transfer_id, decision.said)
            return await emit_transfer_events(connection, ids, EventType.TRANSFER_ACCEPTED)
        status, event = _ENDS[decision.word]
        await connection.execute(_SQL["end_gift"], decision.transfer_id, status.value, decision.reason, decision.said)
        return await emit_transfer_events(connection, ids, event)


def _require_undecided(decision: GiftDecision, row: asyncpg.Record | None) -> None:
    if row is None:
        raise RequestError(ErrorCode.NOT_FOUND, f"there is no transfer {decision.transfer_id}")
    gift, verb = f"gift {decision.transfer_id}", decision.word.value
    by_sender = decision.word is GiftWord.CANCEL
    if row["kind"] != TransferKind.GIFT:
        raise _refused(f"transfer {decision.transfer_id} is no gift: there is nothing to {verb}")
    if decision.user_id != row["from_user_id" if by_sender else "to_user_id"]:
        who = "its sender" if by_sender else "its recipient"
        raise _refused(f"only {who} may {verb} {gift}, and {decision.user_id} isn't")
    if row["status"] != TransferStatus.PENDING:
        whose = f", accepted by {row['to_user_id']}" if row["accepted_at"] else ""
        raise _refused(f"{gift} doesn't wait any more: it is {row['status']}{whose}")
    if row["expired"] and not by_sender:
        raise _refused(f"{gift} expired at {row['expires_at'].isoformat(timespec='seconds')}")


def _refused(why: str) -> RequestError:
    return RequestError(ErrorCode.NOT_ALLOWED, why)
