"""Binding: transfers get a nonce of a lane, for ever. The commit of this transaction is the cut of pause and cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from ledger.creation import StoppedError
from ledger.events import emit_transfer_events
from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from ledger.ranges import Work, is_single, over_range
from workflows.interface.chain import BoundTransaction, ChainTransfer, Lane, PlannedTransaction
from workflows.interface.codes import EventType, Settlement

_SQL, _TRANSFERS = load("chain"), load("transfers")


class Bound(NamedTuple):
    """What a bind committed."""

    transactions: tuple[BoundTransaction, ...]
    subscription_ids: frozenset[UUID] = frozenset()
    stopped: bool = False
    """The batch is paused or cancelled: nothing was bound."""
    overtaken: bool = False
    """Another copy bound some of these transfers first: read again and plan anew."""


class _OvertakenError(Exception):
    """Another copy was quicker; the transaction is rolled back."""


class LaneRoom(NamedTuple):
    """A lane with room for chain transactions."""

    lane: Lane
    room: int


class Binding:
    """Hands out nonces of the lanes on one chain whose keys this process holds."""

    def __init__(self, pool: Pool, chain_id: int, signers: Sequence[bytes]) -> None:
        self._pool = pool
        self._chain_id = chain_id
        self._signers = signers

    async def ready(self, work: Work) -> tuple[Settlement, list[ChainTransfer]]:
        """The accepted transfers of this work that are due, in item order."""
        rows = await self._pool.fetch(*over_range(_SQL, "transfers_to_bind", work))
        settlement = Settlement(rows[0]["settlement"]) if rows else Settlement.BATCHED
        return settlement, [
            ChainTransfer(tid, no, token, holder, to, int(ticket), limit)
            for tid, no, token, holder, to, ticket, limit, _ in rows
        ]

    async def rooms(self, wanted: int, *, single: bool) -> list[LaneRoom]:
        """Lanes with room worth taking for `wanted` chain transactions, the emptiest first.

        Batches leave the places that are kept for single transfers.
        """
        rows = await self._pool.fetch(_SQL["lane_rooms"], self._chain_id, self._signers, wanted, single)
        return [LaneRoom(Lane(self._chain_id, row["signer"]), row["room"]) for row in rows]

    async def usable_lanes(self) -> int:
        """Lanes that aren't halted; without any, waiting for room would never end."""
        count: int = await self._pool.fetchval(_SQL["usable_lanes"], self._chain_id, self._signers)
        return count

    async def bind(self, work: Work, lane: Lane, planned: Sequence[PlannedTransaction]) -> Bound:
        """Binds the planned chain transactions to the lane's next nonces, in order; all of them or none."""
        try:
            async with transaction(self._pool) as connection:
                return await self._bind(connection, work, lane, planned)
        except StoppedError:
            return Bound((), stopped=True)
        except _OvertakenError:
            return Bound((), overtaken=True)

    async def _bind(
        self, connection: Connection, work: Work, lane: Lane, planned: Sequence[PlannedTransaction]
    ) -> Bound:
        transfers = [transfer for plan in planned for transfer in plan.transfers]
        await self._submit(connection, transfers)
        # Before the lane is held: the others wait for it as briefly as can be.
        ids = [transfer.transfer_id for transfer in transfers]
        woken = await emit_transfer_events(connection, ids, EventType.TRANSFER_SUBMITTED)
        await self._lock_lane(connection, lane, len(planned), single=is_single(work))
        bound = await self._insert(connection, lane, planned)
        if work.batch_id is not None:
            await self._hold_running(connection, work.batch_id)
        return Bound(bound, woken)

    async def _submit(self, connection: Connection, transfers: Sequence[ChainTransfer]) -> None:
        ids, numbers = [t.transfer_id for t in transfers], [t.binding_no for t in transfers]
        status = await connection.execute(_SQL["submit_transfers"], ids, numbers)
        if status != f"UPDATE {len(transfers)}":
            raise _OvertakenError

    async def _lock_lane(self, connection: Connection, lane: Lane, needed: int, *, single: bool) -> None:
        """Holds the lane; its room may have gone since it was read."""
        row = await connection.fetchrow(_SQL["lock_lane"], *lane)
        taken = await connection.fetchval(_SQL["open_count"], *lane)
        if row is None or row["halted_reason"] is not None:
            raise _OvertakenError
        if taken + needed > row["max_in_flight"] - (0 if single else row["kept_for_singles"]):
            raise _OvertakenError

    async def _insert(
        self, connection: Connection, lane: Lane, planned: Sequence[PlannedTransaction]
    ) -> tuple[BoundTransaction, ...]:
        first = await connection.fetchval(_SQL["take_nonces"], *lane, len(planned))
        rows = await connection.fetch(
            _SQL["insert_transactions"],
            *lane,
            first,
            [plan.settlement.value for plan in planned],
            [plan.gas_limit for plan in planned],
            [plan.key for plan in planned],
        )
        ids = {row["nonce"]: row["transaction_id"] for row in rows}
        bound = tuple(
            BoundTransaction(ids[nonce], lane, nonce, plan.settlement, plan.gas_limit, plan.key, plan.transfers)
            for nonce, plan in enumerate(planned, start=first)
        )
        lines = [(b.transaction_id, i, t.transfer_id, t.binding_no) for b in bound for i, t in enumerate(b.transfers)]
        await connection.execute(_SQL["insert_bindings"], *(list(column) for column in zip(*lines, strict=True)))
        return bound

    async def _hold_running(self, connection: Connection, batch_id: UUID) -> None:
        row = await connection.fetchrow(_TRANSFERS["hold_control"], batch_id)
        if row is None or row["paused"] or row["cancelled"]:
            raise StoppedError(f"batch {batch_id} is paused or cancelled")
