"""What a database set back to an older state does to chain transactions that the chain knows and Postgres doesn't."""

from __future__ import annotations

from collections import Counter

import pytest

from chain.abi import payload_of
from chain.packing import Packer
from chain.quantities import to_bytes, to_hex
from devstack.moves import read_moves
from tests.crew import Crew, fault_of, slice_from
from tests.e2e.test_restore import ADOPT, NEXT_NONCE, UNKNOWN_ATTEMPTS
from workflows.interface.chain import BoundTransaction
from workflows.interface.codes import ErrorCode


async def arrivals(crew: Crew, ticket_ids: list[int]) -> list[int]:
    """How often each ticket moved."""
    moves = await read_moves(crew.chain.rpc, to_hex(crew.chain.tickets))
    times = Counter(move.ticket_id for move in moves)
    return [times[ticket] for ticket in ticket_ids]


async def test_a_nonce_whose_attempt_was_lost_settles_once_it_is_adopted(crew: Crew) -> None:
    """The transaction that the chain took, put back as an attempt, decides; until then nothing is concluded."""
    await crew.world()
    work = slice_from(await crew.batch(2), 2)
    [bound] = await crew.books.bind(work)
    receipt = await crew.chain.transact(*payload_of(bound, crew.chain.router), signer=crew.signer)
    assert await fault_of(crew.confirm(work)) == ErrorCode.NOT_YET
    [row] = await crew.books.pool.fetch(UNKNOWN_ATTEMPTS, crew.lane.signer, 1)
    await crew.books.pool.execute(ADOPT, to_bytes(receipt["transactionHash"]), row["transaction_id"])
    await crew.confirm(work)
    assert await crew.books.statuses(work.batch_id) == "CC"
    assert await crew.differences() == []


@pytest.mark.parametrize(
    ("parted", "ended"), [(False, {("COMPLETED", None)}), (True, {("FAILED", "NOT_OWNER_ON_CHAIN")})]
)
async def test_moves_that_postgres_forgot_are_not_made_again(
    crew: Crew, parted: bool, ended: set[tuple[str, str | None]]
) -> None:
    """In the same parts the router's key tells what became of them; in others the token refuses what is away."""
    await crew.world()
    work = slice_from(await crew.batch(4), 4)
    settlement, ready = await crew.books.binding.ready(work)
    [lost] = Packer({}).plan(ready, (), settlement)
    forgotten = BoundTransaction(0, crew.lane, 0, settlement, lost.gas_limit, lost.key, lost.transfers)
    await crew.chain.transact(*payload_of(forgotten, crew.chain.router), signer=crew.signer)
    await crew.books.pool.execute(NEXT_NONCE, 1, crew.lane.signer)
    if parted:
        await crew.books.pool.execute("UPDATE ticket_transfers SET pack_limit = 2")
    await crew.do(crew.blockchain.submit_transfers, work)
    await crew.confirm(work)
    assert set((await crew.books.items(work.batch_id)).values()) == ended
    assert await arrivals(crew, [transfer.ticket_id for transfer in ready]) == [1] * 4
