"""Chain transactions and their attempts: open, signed, answered by the nodes. Implements `ChainLedger`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from ledger.pool import Pool
from ledger.queries import load
from ledger.ranges import Work, over_range
from workflows.interface.chain import (
    Attempt,
    BoundTransaction,
    ChainTransfer,
    Lane,
    SendClass,
    SendResult,
    SentTransaction,
)
from workflows.interface.codes import AttemptKind, Settlement

_SQL = load("chain")


class OpenTransaction(NamedTuple):
    """An open chain transaction of a lane."""

    transaction_id: int
    stale: bool
    """Old enough that whoever bound it should have settled it."""


class Attempts:
    """Open chain transactions and their attempts."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def open_of_items(self, work: Work) -> list[int]:
        """Ids of the open chain transactions that carry transfers of this work."""
        rows = await self._pool.fetch(*over_range(_SQL, "open_transactions_of_items", work))
        return [row[0] for row in rows]

    async def open_of_lane(self, lane: Lane, stale_after: timedelta, most: int) -> list[OpenTransaction]:
        """The lane's open chain transactions, lowest nonce first."""
        rows = await self._pool.fetch(_SQL["open_transactions_of_lane"], *lane, stale_after, most)
        return [OpenTransaction(row["transaction_id"], row["stale"]) for row in rows]

    async def sent(self, transaction_ids: Sequence[int]) -> list[SentTransaction]:
        """Chain transactions with the hashes of their attempts."""
        rows = await self._pool.fetch(_SQL["describe_transactions"], transaction_ids)
        hashes: dict[int, list[bytes]] = defaultdict(list)
        for row in await self._pool.fetch(_SQL["attempts_without_raw"], transaction_ids):
            hashes[row["transaction_id"]].append(row["tx_hash"])
        return [
            SentTransaction(
                row["transaction_id"],
                Lane(row["chain_id"], row["signer"]),
                row["nonce"],
                Settlement(row["settlement"]),
                row["router_key"],
                tuple(hashes[row["transaction_id"]]),
            )
            for row in rows
        ]

    async def transfers_of(self, transaction_ids: Sequence[int]) -> dict[int, tuple[ChainTransfer, ...]]:
        """The transfers that chain transactions carry, in order."""
        rows = await self._pool.fetch(_SQL["bound_transfers"], transaction_ids)
        return {
            transaction_id: tuple(
                ChainTransfer(tid, no, token, holder, to, int(ticket))
                for _, tid, no, token, holder, to, ticket in group
            )
            for transaction_id, group in groupby(rows, key=itemgetter(0))
        }

    async def bound(self, transaction_ids: Sequence[int], *, with_raw: bool) -> list[BoundTransaction]:
        """Chain transactions with their transfers and attempts; `with_raw` for sending again."""
        rows = await self._pool.fetch(_SQL["describe_transactions"], transaction_ids)
        transfers = await self.transfers_of(transaction_ids)
        attempts = await self._attempts(transaction_ids, with_raw=with_raw)
        return [
            BoundTransaction(
                row["transaction_id"],
                Lane(row["chain_id"], row["signer"]),
                row["nonce"],
                Settlement(row["settlement"]),
                row["gas_limit"],
                row["router_key"],
                transfers[row["transaction_id"]],
                tuple(attempts[row["transaction_id"]]),
            )
            for row in rows
        ]

    async def open_bound(self, transaction_ids: Sequence[int]) -> list[BoundTransaction]:
        """Those of the chain transactions that are still open, with all that sending again needs."""
        rows = await self._pool.fetch(_SQL["still_open"], transaction_ids)
        return await self.bound([row[0] for row in rows], with_raw=True) if rows else []

    async def store_first_attempts(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Stores each nonce's first attempt; where another copy was quicker, its bytes stand. Returns what stands."""
        rows = await self._pool.fetch(_SQL["insert_first_attempts"], *_columns(attempts))
        stored = {row[0] for row in rows}
        theirs = [a.transaction_id for a in attempts if a.transaction_id not in stored]
        other = await self._attempts(theirs, with_raw=True) if theirs else {}
        return [a if a.transaction_id in stored else other[a.transaction_id][0] for a in attempts]

    async def store_next_attempts(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Stores corrected or cancel attempts of nonces whose last bytes were refused for good.

        Returns those that stand, stored now or before by another copy. The others must never be sent.
        """
        await self._pool.execute(_SQL["insert_next_attempts"], *_columns(attempts))
        # Looked up, and not returned by the insert: that leaves out what another copy stored at the same time.
        stored = await self._attempts([a.transaction_id for a in attempts], with_raw=False)
        return [a for a in attempts if a.tx_hash in {s.tx_hash for s in stored[a.transaction_id]}]

    async def record_sends(self, results: Sequence[SendResult]) -> None:
        """Notes the replies to broadcasts, with the time."""
        await self._pool.execute(
            _SQL["record_sends"],
            [r.tx_hash for r in results],
            [r.send_class.value for r in results],
            [r.message for r in results],
        )

    async def _attempts(self, transaction_ids: Sequence[int], *, with_raw: bool) -> dict[int, list[Attempt]]:
        found: dict[int, list[Attempt]] = defaultdict(list)
        statement = _SQL["attempts" if with_raw else "attempts_without_raw"]
        for row in await self._pool.fetch(statement, transaction_ids):
            found[row["transaction_id"]].append(
                Attempt(
                    row["transaction_id"],
                    row["tx_hash"],
                    row["raw"],
                    AttemptKind(row["kind"]),
                    row["max_fee_wei"],
                    row["tip_wei"],
                    SendClass(row["send_class"]) if row["send_class"] else None,
                )
            )
        return found


def _columns(attempts: Iterable[Attempt]) -> tuple[list[object], ...]:
    rows = [(a.tx_hash, a.transaction_id, a.kind.value, a.max_fee_wei, a.tip_wei, a.raw) for a in attempts]
    return tuple(list(column) for column in zip(*rows, strict=True))
