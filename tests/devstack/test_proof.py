"""The demo's checks: each kind of wrong outcome is found, and a right one is not complained about."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from devstack.deploy import dev_wallet
from devstack.proof import ChainView, Move, chain_faults, item_faults, type_faults, webhook_faults
from devstack.season import Line
from workflows.interface.codes import FailureCode

SELLER, STRANGER = b"s" * 20, b"x" * 20
LINES = [Line(1, "ada"), Line(2, "0x" + "22" * 20), Line(3, "nobody", FailureCode.UNKNOWN_USER)]
ADA, OUTSIDE = dev_wallet("ada"), bytes.fromhex("22" * 20)
BEFORE: dict[int, bytes | None] = {1: SELLER, 2: SELLER, 3: SELLER}
RIGHT_MOVES = [Move(1, SELLER, ADA, "0xa"), Move(2, SELLER, OUTSIDE, "0xa")]
RIGHT_OWNERS: dict[int, bytes | None] = {1: ADA, 2: OUTSIDE, 3: SELLER}


def faults(moves: list[Move], owners: Mapping[int, bytes | None]) -> list[str]:
    """What is complained about."""
    return chain_faults(LINES, SELLER, BEFORE, ChainView(moves, owners, 0))


def test_a_right_chain_has_no_faults() -> None:
    """One move per good line, to its recipient, and none for the bad one is what was asked for."""
    assert faults(RIGHT_MOVES, RIGHT_OWNERS) == []


@pytest.mark.parametrize(
    ("moves", "owners", "complaint"),
    [
        (RIGHT_MOVES[:1], RIGHT_OWNERS | {2: SELLER}, "ticket 2 has 0 moves"),
        ([*RIGHT_MOVES, Move(1, ADA, STRANGER, "0xb")], RIGHT_OWNERS | {1: STRANGER}, "ticket 1 has 2 moves"),
        ([Move(1, SELLER, STRANGER, "0xa"), RIGHT_MOVES[1]], RIGHT_OWNERS, "ticket 1 has 1 moves"),
        (RIGHT_MOVES, RIGHT_OWNERS | {1: STRANGER}, "ticket 1 isn't owned"),
        ([*RIGHT_MOVES, Move(3, SELLER, ADA, "0xb")], RIGHT_OWNERS, "ticket 3 moved 1 times"),
        ([*RIGHT_MOVES, Move(9, SELLER, ADA, "0xb")], RIGHT_OWNERS, "ticket 9 moved 1 times"),
        (RIGHT_MOVES, RIGHT_OWNERS | {3: ADA}, "ticket 3 should have stayed"),
    ],
)
def test_a_wrong_chain_is_found(moves: list[Move], owners: Mapping[int, bytes | None], complaint: str) -> None:
    """A lost, doubled, misdirected or unasked move, or a wrong owner, is named with its ticket."""
    assert any(fault.startswith(complaint) for fault in faults(moves, owners))


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
