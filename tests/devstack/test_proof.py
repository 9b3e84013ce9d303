"""The demo's checks: each kind of wrong outcome is found, and a right one is not complained about."""

from __future__ import annotations

import pytest

from chain.abi import payload_of
from chain.quantities import to_hex, to_int
from devstack.deploy import dev_wallet
from devstack.moves import Move, gas_of, ledger_faults, read_moves
from devstack.proof import chain_faults, item_faults, type_faults, webhook_faults
from devstack.season import Line
from ledger.pool import Pool
from tests.books import Books, slice_of, wallet_of
from tests.real_chain import RealChain
from workflows.interface.codes import FailureCode

SELLER, STRANGER = b"s" * 20, b"x" * 20
LINES = [Line(1, "ada"), Line(2, "0x" + "22" * 20), Line(3, "nobody", FailureCode.UNKNOWN_USER)]
ADA, OUTSIDE = dev_wallet("ada"), bytes.fromhex("22" * 20)
RIGHT_MOVES = [Move(1, SELLER, ADA, "0xa"), Move(2, SELLER, OUTSIDE, "0xa")]


def test_a_right_chain_has_no_faults() -> None:
    """One move per good line, to its recipient, and none for the bad one is what was asked for."""
    assert chain_faults(LINES, SELLER, RIGHT_MOVES) == []


@pytest.mark.parametrize(
    ("moves", "complaint"),
    [
        (RIGHT_MOVES[:1], "ticket 2 has 0 moves"),
        ([*RIGHT_MOVES, Move(1, ADA, STRANGER, "0xb")], "ticket 1 has 2 moves"),
        ([Move(1, SELLER, STRANGER, "0xa"), RIGHT_MOVES[1]], "ticket 1 has 1 moves"),
        ([*RIGHT_MOVES, Move(3, SELLER, ADA, "0xb")], "ticket 3 moved 1 times"),
        ([*RIGHT_MOVES, Move(9, SELLER, ADA, "0xb")], "ticket 9 moved 1 times"),
    ],
)
def test_a_wrong_chain_is_found(moves: list[Move], complaint: str) -> None:
    """A lost, doubled, misdirected or unasked move is named with its ticket."""
    assert any(fault.startswith(complaint) for fault in chain_faults(LINES, SELLER, moves))


def test_items_must_end_as_their_lines_say() -> None:
    """A wrong status, a wrong code and a missing item are each found."""
    right = [("COMPLETED", None), ("COMPLETED", None), ("FAILED", "UNKNOWN_USER")]
    assert item_faults(LINES, right) == []
    assert len(item_faults(LINES, [("FAILED", "INTERNAL"), *right[1:]])) == 1
    assert len(item_faults(LINES, [*right[:2], ("FAILED", "INTERNAL")])) == 1
    assert item_faults(LINES, right[:2]) == ["2 items instead of 3"]


def received(*ids: str, bad: int = 0) -> dict[str, object]:
    """What the receiver tells."""
    return {"badSignatures": bad, "deliveries": [{"id": one, "type": "transfer.completed"} for one in ids]}


def test_webhooks_must_all_come_and_be_signed() -> None:
    """Missing, unknown and unsigned webhooks are found; a second copy only where nothing was killed."""
    assert webhook_faults(["a", "b"], received("a", "b"), exactly_once=True) == []
    assert webhook_faults(["a", "b"], received("a", "b", "a"), exactly_once=False) == []
    assert len(webhook_faults(["a", "b"], received("a", "b", "a"), exactly_once=True)) == 1
    assert len(webhook_faults(["a", "b"], received("a"), exactly_once=False)) == 1
    assert len(webhook_faults(["a"], received("a", "b"), exactly_once=False)) == 1
    assert len(webhook_faults(["a"], received("a", bad=1), exactly_once=False)) == 1


def test_webhook_types_follow_from_the_lines() -> None:
    """One completed or failed per line and one for the batch are due, whatever the ledger says."""
    kinds = ["transfer.completed"] * 2 + ["transfer.failed", "batch.completed"]
    deliveries = [{"id": str(n), "type": kind} for n, kind in enumerate(kinds)]
    assert type_faults(LINES, {"deliveries": deliveries}) == []
    assert type_faults(LINES, {"deliveries": deliveries[:-1]}) == ["0 webhooks of type batch.completed instead of 1"]


async def test_postgres_that_differs_from_the_chain_is_found(pool: Pool, real_chain: RealChain) -> None:
    """The one query is fed from the node: it agrees after a batch, and names the ticket whose row is altered."""
    lane, signer = await real_chain.new_lane()
    books = Books(pool, real_chain.tickets, real_chain.chain_id, [lane.signer])
    await books.people("alice", "bob")
    await books.lane(signer=lane.signer)
    first_block = to_int(await real_chain.rpc.call("eth_blockNumber")) + 1
    tickets = await real_chain.mint(wallet_of("alice"), 2)
    await books.tickets(tickets)
    batch_id = await books.batch([(ticket, "bob") for ticket in tickets])
    await books.creation.create(slice_of(batch_id, 1, 2))
    [bound] = await books.bind(slice_of(batch_id, 1, 2))
    await real_chain.transact(*payload_of(bound, real_chain.router), signer=signer)
    await books.settle([bound])
    token = to_hex(real_chain.tickets)
    moves = await read_moves(real_chain.rpc, token, first_block)
    assert [(move.ticket_id, move.recipient) for move in moves] == [(ticket, wallet_of("bob")) for ticket in tickets]
    assert await gas_of(real_chain.rpc, moves) > 50_000
    assert await ledger_faults(pool, token, moves) == []
    await pool.execute("UPDATE tickets SET holder = $1 WHERE ticket_id = $2", STRANGER, str(tickets[0]))
    [fault] = await ledger_faults(pool, token, moves)
    assert fault.startswith(f"ticket {tickets[0]}: 0x{wallet_of('bob').hex()} holds it on the chain")
