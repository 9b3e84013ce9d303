"""A small world in Postgres for tests: people, tickets, lanes and batches, and what a chain would say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

from chain.keccak import keccak256
from ledger.attempts import Attempts
from ledger.binding import Binding
from ledger.creation import TransferCreation
from ledger.fingerprint import StagedItem
from ledger.pool import Pool
from ledger.proof import LoggedMove, differences_from_chain
from ledger.retries import Retries
from ledger.runs import BatchRuns
from ledger.settlement import Settling
from ledger.staging import BatchHeader, BatchWriter
from workflows.interface.batch import BatchCounts, Slice
from workflows.interface.chain import (
    BoundTransaction,
    ChainTransfer,
    Lane,
    PlannedTransaction,
    TransactionResult,
    TransferResult,
)
from workflows.interface.codes import FailureCode, Outcome, Settlement
from workflows.interface.options import DEFAULT_OPTIONS, BatchOptions
from workflows.interface.slices import ItemRange
from workflows.interface.validation import judge

CHAIN_ID = 31337
TOKEN, ROUTER, LANE_SIGNER = b"\x70" * 20, b"\x71" * 20, b"\x77" * 20
SENDER = "alice"


def wallet_of(user_id: str) -> bytes:
    """The wallet of a user of this world."""
    return sha256(user_id.encode()).digest()[:20]


def moved(transfer: ChainTransfer) -> TransferResult:
    """The chain moved it."""
    return TransferResult(transfer.transfer_id, transfer.binding_no, Outcome.MOVED)


def failed(code: FailureCode) -> Callable[[ChainTransfer], TransferResult]:
    """The chain refused it."""
    return lambda t: TransferResult(t.transfer_id, t.binding_no, Outcome.FAILED, code, "0x01")


def skipped(transfer: ChainTransfer) -> TransferResult:
    """Too little gas was left for it."""
    return TransferResult(transfer.transfer_id, transfer.binding_no, Outcome.SKIPPED, costs_try=False)


def slice_of(batch_id: UUID, first: int, last: int, *, retries_only: bool = False) -> Slice:
    """The input of a slice step."""
    return Slice(batch_id=batch_id, range=ItemRange(first=first, last=last), retries_only=retries_only)


def final(bound: BoundTransaction, say: Callable[[ChainTransfer], TransferResult] = moved) -> TransactionResult:
    """A block's word on a chain transaction; `say` judges each transfer."""
    lines = tuple(say(transfer) for transfer in bound.transfers)
    tx_hash = sha256(str(bound.transaction_id).encode()).digest()
    return TransactionResult(bound.transaction_id, tx_hash, 7, b"\x07" * 32, True, 50_000, 10**20, lines)


class Books:
    """The ledger's parts on one database, and a world in it."""

    def __init__(
        self, pool: Pool, token: bytes = TOKEN, chain_id: int = CHAIN_ID, signers: Sequence[bytes] = (LANE_SIGNER,)
    ) -> None:
        self.pool, self.token, self.chain_id = pool, token, chain_id
        rule = partial(judge, keccak256=keccak256)
        self.runs = BatchRuns(pool)
        self.writer = BatchWriter(pool)
        self.creation = TransferCreation(pool, rule, frozenset({ROUTER}))
        self.retries = Retries(pool, rule, frozenset({ROUTER}))
        self.binding = Binding(pool, chain_id, signers)
        self.attempts = Attempts(pool)
        self.settling = Settling(pool)

    async def people(self, *user_ids: str) -> None:
        """Users with wallets."""
        rows = [(user_id, wallet_of(user_id)) for user_id in user_ids]
        await self.pool.executemany("INSERT INTO wallets VALUES ($1, $2) ON CONFLICT DO NOTHING", rows)

    async def tickets(self, numbers: Iterable[int], owner: str = SENDER) -> None:
        """Tickets in the owner's wallet."""
        rows = [(str(n), self.token, wallet_of(owner), owner) for n in numbers]
        await self.pool.copy_records_to_table("tickets", records=rows)

    async def lane(self, max_in_flight: int = 512, signer: bytes = LANE_SIGNER) -> Lane:
        """A lane that begins at nonce 0."""
        lane = Lane(self.chain_id, signer)
        await self.pool.execute(
            "INSERT INTO chain_lanes (chain_id, signer, next_nonce, max_in_flight) VALUES ($1, $2, 0, $3)",
            *lane,
            max_in_flight,
        )
        return lane

    async def batch(
        self,
        lines: Sequence[tuple[int | str, str]],
        *,
        batch_id: UUID | None = None,
        options: BatchOptions = DEFAULT_OPTIONS,
        opened_by: str | None = "run-1",
        sender: str = SENDER,
    ) -> UUID:
        """Stages (ticket, recipient) lines and opens the first run."""
        batch_id = batch_id or uuid4()
        items = [StagedItem(str(ticket), to) for ticket, to in lines]
        await self.writer.write(BatchHeader(batch_id, sender, options), items)
        if opened_by:
            await self.runs.open(batch_id, opened_by, retry_failed=False)
        return batch_id

    async def plain_batch(self, size: int, *, batch_id: UUID | None = None) -> UUID:
        """A world with one batch: tickets 1 to `size` of the sender go to bob."""
        await self.people(SENDER, "bob")
        await self.tickets(range(1, size + 1))
        await self.lane()
        return await self.batch([(n, "bob") for n in range(1, size + 1)], batch_id=batch_id)

    async def bind(self, work: Slice, per_transaction: int = 2) -> list[BoundTransaction]:
        """Binds all that is ready, as the submitting step does; empty where the batch is stopped."""
        bound: list[BoundTransaction] = []
        while True:
            settlement, ready = await self.binding.ready(work)
            rooms = await self.binding.rooms(len(ready), single=False)
            if not ready or not rooms:
                return bound
            plan = planned(settlement, ready, per_transaction)[: rooms[0].room]
            result = await self.binding.bind(work, rooms[0].lane, plan)
            if result.stopped:
                return bound
            bound += result.transactions

    async def settle(
        self, bound: Iterable[BoundTransaction], say: Callable[[ChainTransfer], TransferResult] = moved
    ) -> frozenset[UUID]:
        """Settles chain transactions as a block at depth would."""
        return await self.settling.settle([final(transaction, say) for transaction in bound])

    async def run(
        self, batch_id: UUID, say: Callable[[ChainTransfer], TransferResult] = moved, *, retries_only: bool = False
    ) -> None:
        """Creates, binds and settles the whole batch, once through."""
        whole = slice_of(batch_id, 1, 1_000_000, retries_only=retries_only)
        await self.creation.create(whole)
        await self.settle(await self.bind(whole), say)

    async def make_due(self) -> None:
        """Waits are over: whatever is to be tried again is due now."""
        await self.pool.execute("UPDATE batch_transfer_items SET next_try_at = now() WHERE next_try_at IS NOT NULL")

    async def items(self, batch_id: UUID) -> dict[int, tuple[str, str | None]]:
        """Status and failure code of each item."""
        rows = await self.pool.fetch(
            "SELECT item_no, status::text, failure_code FROM batch_transfer_items WHERE batch_id = $1 ORDER BY 1",
            batch_id,
        )
        return {row[0]: (row[1], row[2]) for row in rows}

    async def statuses(self, batch_id: UUID) -> str:
        """The items' statuses in order, a letter each."""
        return "".join(status[0] for status, _ in (await self.items(batch_id)).values())

    async def counts(self, batch_id: UUID) -> BatchCounts:
        """The batch's counters, after comparing them with its items."""
        counts = await self.runs.counts(batch_id)
        statuses = [status for status, _ in (await self.items(batch_id)).values()]
        recount = {name.lower(): statuses.count(name) for name in sorted(set(statuses))}
        assert counts == BatchCounts(item_count=len(statuses), **recount)
        return counts

    async def events(self) -> dict[str, int]:
        """How many events of each type there are."""
        rows = await self.pool.fetch("SELECT type::text, count(*)::int FROM events GROUP BY type")
        return {row[0]: row[1] for row in rows}

    async def differences(self, moves: Sequence[LoggedMove]) -> list[str]:
        """What the proof finds."""
        return await differences_from_chain(self.pool, self.token, moves)

    async def snapshot(self) -> dict[str, Any]:
        """Everything that matters, without times and chance."""
        rows = {name: await self.pool.fetch(statement) for name, statement in _SNAPSHOT.items()}
        return {name: [tuple(row) for row in found] for name, found in rows.items()}


def planned(settlement: Settlement, ready: Sequence[ChainTransfer], per_transaction: int) -> list[PlannedTransaction]:
    """Chain transactions of so many transfers each."""
    if settlement is Settlement.SINGLE:
        return [PlannedTransaction(settlement, (transfer,), 100_000, None) for transfer in ready]
    parts = [tuple(ready[at : at + per_transaction]) for at in range(0, len(ready), per_transaction)]
    return [PlannedTransaction(settlement, part, 1_000_000, _key(part)) for part in parts]


def _key(part: Sequence[ChainTransfer]) -> bytes:
    return sha256(b"".join(t.transfer_id.bytes + bytes([t.binding_no]) for t in part)).digest()


_SNAPSHOT = {
    "batches": "SELECT batch_id, status, item_count, run_no, closed_run, reason, ended_at IS NULL FROM batch_transfers"
    " ORDER BY 1",
    "controls": "SELECT batch_id, paused, cancelled, reason FROM batch_controls ORDER BY 1",
    "counters": "SELECT * FROM batch_counters ORDER BY 1",
    "items": "SELECT batch_id, item_no, ticket_id, status, tries, next_try_at IS NULL, failed_run, failure_code,"
    " failure_reason FROM batch_transfer_items ORDER BY 1, 2",
    "transfers": "SELECT transfer_id, item_no, ticket_id, kind, expires_at IS NULL, to_user_id, recipient, status,"
    " bindings, pack_limit, failure_code FROM ticket_transfers ORDER BY 1",
    "tickets": "SELECT ticket_id, holder, owner_user_id FROM tickets ORDER BY 1",
    "lanes": "SELECT signer, next_nonce FROM chain_lanes ORDER BY 1",
    "transactions": "SELECT signer, nonce, settlement, succeeded, final_tx_hash IS NULL"
    " FROM chain_transactions ORDER BY 1, 2",
    "bindings": "SELECT x.nonce, b.position, b.transfer_id, b.binding_no"
    " FROM chain_bindings b JOIN chain_transactions x USING (transaction_id) ORDER BY 1, 2",
    "outcomes": "SELECT transaction_id, position, outcome, code FROM chain_outcomes ORDER BY 1, 2",
    "failures": "SELECT transfer_id, error_code, failures FROM failed_blockchain_transfers ORDER BY 1",
    "events": "SELECT type, transfer_id, batch_id, count(*) FROM events GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
}
