"""The course of a batch through the ledger: what each step writes, and what it leaves alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import UUID

import pytest

from ledger.proof import LoggedMove
from tests.books import Books, failed, moved, skipped, slice_of, wallet_of
from workflows.interface.chain import ChainTransfer, TransferResult
from workflows.interface.codes import AlertKind, BatchStatus, ErrorCode, FailureCode
from workflows.interface.errors import RequestError

BATCH, OTHER = UUID(int=1), UUID(int=2)
WHOLE = slice_of(BATCH, 1, 1000)


async def test_each_item_is_judged_by_itself(books: Books) -> None:
    """Good items get live transfers; each bad one fails with its code, its transfer and its event."""
    await books.people("alice", "bob", "carol")
    await books.tickets(range(1, 6))
    await books.tickets([50], owner="carol")
    lines = [(1, "bob"), (50, "bob"), (77, "bob"), (2, "nobody"), (1, "carol"), (3, "0x12"), (4, "alice")]
    await books.batch([*lines, (5, "0x" + "71" * 20)], batch_id=BATCH)
    await books.creation.create(WHOLE)
    assert [code for _, code in (await books.items(BATCH)).values()] == [
        None,
        "NOT_TICKET_OWNER",
        "UNKNOWN_TICKET",
        "UNKNOWN_USER",
        "DUPLICATE_IN_BATCH",
        "INVALID_ADDRESS",
        "RECIPIENT_IS_SENDER",
        "RECIPIENT_NOT_ALLOWED",
    ]
    assert (await books.counts(BATCH)).failed == 7
    assert await books.pool.fetchval("SELECT count(*) FROM ticket_transfers") == 8
    assert await books.events() == {"transfer.created": 1, "transfer.failed": 7}


async def test_a_locked_ticket_is_waited_for_and_given_up_after_three_tries(books: Books) -> None:
    """Another batch's live transfer holds the ticket: three tries, then TICKET_LOCKED."""
    await books.plain_batch(1, batch_id=OTHER)
    await books.creation.create(slice_of(OTHER, 1, 1))
    await books.batch([(1, "bob")], batch_id=BATCH)
    for tries in (1, 2):
        await books.creation.create(WHOLE)
        assert await books.pool.fetchval("SELECT tries FROM batch_transfer_items WHERE batch_id = $1", BATCH) == tries
        due = await books.retries.due_again(WHOLE)
        assert due is not None
        assert due.count == 1
        await books.make_due()
    await books.creation.create(slice_of(BATCH, 1, 1, retries_only=True))
    assert await books.items(BATCH) == {1: ("FAILED", "TICKET_LOCKED")}
    assert (await books.counts(OTHER)).processing == 1


async def test_a_locked_ticket_that_comes_free_is_taken(books: Books) -> None:
    """What was locked at first goes on as soon as the other transfer has ended."""
    await books.plain_batch(1, batch_id=OTHER)
    await books.creation.create(slice_of(OTHER, 1, 1))
    await books.batch([(1, "bob")], batch_id=BATCH)
    await books.creation.create(WHOLE)
    await books.settle(await books.bind(slice_of(OTHER, 1, 1)), failed(FailureCode.RECIPIENT_REFUSED))
    await books.make_due()
    await books.run(BATCH, retries_only=True)
    assert await books.statuses(BATCH) == "C"


async def test_a_move_changes_ticket_transfer_item_and_counters_together(books: Books) -> None:
    """The ticket belongs to the recipient, the item is complete, and the events tell of it."""
    await books.plain_batch(3, batch_id=BATCH)
    await books.run(BATCH)
    tickets = await books.pool.fetch("SELECT holder, owner_user_id FROM tickets")
    assert {tuple(row) for row in tickets} == {(wallet_of("bob"), "bob")}
    assert (await books.counts(BATCH)).completed == 3
    assert await books.events() == {"transfer.completed": 3, "transfer.created": 3, "transfer.submitted": 3}


async def test_a_ticket_sent_to_a_strange_wallet_is_nobodys(books: Books) -> None:
    """The owner is unknown where the wallet is; such a ticket can't be sent by its old owner again."""
    await books.people("alice", "bob")
    await books.tickets([1])
    await books.lane()
    await books.batch([(1, "0x" + "05" * 20)], batch_id=BATCH)
    await books.run(BATCH)
    await books.batch([(1, "bob")], batch_id=OTHER)
    await books.creation.create(slice_of(OTHER, 1, 1))
    assert await books.items(OTHER) == {1: ("FAILED", "NOT_TICKET_OWNER")}


async def test_a_retryable_failure_is_tried_three_times_and_counted(books: Books) -> None:
    """Each failed go is one row's history: three bindings, three outcomes, one failed transfer."""
    await books.plain_batch(1, batch_id=BATCH)
    await books.run(BATCH, failed(FailureCode.REVERTED))
    for _ in range(2):
        assert await books.statuses(BATCH) == "P"
        await books.make_due()
        await books.run(BATCH, failed(FailureCode.REVERTED), retries_only=True)
    assert await books.items(BATCH) == {1: ("FAILED", "REVERTED")}
    assert await books.pool.fetchval("SELECT count(*) FROM chain_outcomes WHERE outcome = 'failed'") == 3
    row = await books.pool.fetchrow("SELECT error_code, error_message, failures FROM failed_blockchain_transfers")
    assert tuple(row or ()) == ("REVERTED", "the chain refused the transfer (0x01)", 3)
    assert (await books.events())["transfer.failed"] == 1


async def test_a_skipped_item_goes_again_without_a_try(books: Books) -> None:
    """Too little gas isn't the item's fault."""
    await books.plain_batch(1, batch_id=BATCH)
    for _ in range(5):
        await books.run(BATCH, skipped)
        await books.make_due()
    assert await books.pool.fetchval("SELECT tries FROM batch_transfer_items") == 0
    await books.run(BATCH)
    assert await books.statuses(BATCH) == "C"


async def test_a_paused_batch_binds_nothing_but_settles_what_is_bound(books: Books) -> None:
    """The cut is the binding's commit."""
    await books.plain_batch(4, batch_id=BATCH)
    await books.creation.create(WHOLE)
    bound = await books.bind(slice_of(BATCH, 1, 2))
    await books.runs.set_paused(BATCH, 1, paused=True)
    assert await books.bind(WHOLE) == []
    assert (await books.runs.find(BATCH)).status is BatchStatus.PAUSED
    await books.settle(bound)
    assert await books.statuses(BATCH) == "CCPP"
    await books.runs.set_paused(BATCH, 1, paused=False)
    await books.settle(await books.bind(WHOLE))
    assert await books.statuses(BATCH) == "CCCC"


@pytest.mark.parametrize("say", [failed(FailureCode.REVERTED), failed(FailureCode.RECIPIENT_REFUSED), skipped])
async def test_in_a_cancelled_batch_what_is_bound_finishes_and_nothing_else(
    books: Books, say: Callable[[ChainTransfer], TransferResult]
) -> None:
    """Unbound items are cancelled and their tickets free; a bound one that doesn't move ends CANCELLED."""
    await books.plain_batch(6, batch_id=BATCH)
    await books.creation.create(slice_of(BATCH, 1, 4))
    first, second = await books.bind(slice_of(BATCH, 1, 2), per_transaction=1)
    await books.runs.set_cancelled(BATCH, 1, "sold out")
    await books.runs.cancel_page(BATCH, 1, 0, 100)
    assert [s for s, _ in (await books.items(BATCH)).values()] == [*["PROCESSING"] * 2, *["CANCELLED"] * 4]
    await books.settle([first])
    await books.settle([second], say)
    assert [s for s, _ in (await books.items(BATCH)).values()] == ["COMPLETED", *["CANCELLED"] * 5]
    result = (await books.runs.close(BATCH, 1)).result
    assert (result.status, result.completed, result.cancelled) == (BatchStatus.CANCELLED, 1, 5)
    await books.batch([(n, "bob") for n in range(2, 7)], batch_id=OTHER)
    await books.run(OTHER)
    assert await books.statuses(OTHER) == "CCCCC"


async def test_a_cancelled_batch_creates_nothing(books: Books) -> None:
    """Creating after the cut is rolled back whole."""
    await books.plain_batch(3, batch_id=BATCH)
    await books.runs.set_cancelled(BATCH, 1, None)
    assert (await books.creation.create(WHOLE)).stopped
    assert await books.pool.fetchval("SELECT count(*) FROM ticket_transfers") == 0


async def test_a_batch_with_open_items_cannot_close(books: Books) -> None:
    """An end is told only when there is one."""
    await books.plain_batch(1, batch_id=BATCH)
    with pytest.raises(RuntimeError, match="1 items are open"):
        await books.runs.close(BATCH, 1)


async def test_reopening_takes_what_may_move_and_leaves_the_rest(books: Books) -> None:
    """Failed items of an earlier run come back with all their tries; a duplicate and a foreign ticket don't."""
    await books.people("alice", "bob", "carol")
    await books.tickets([1, 2])
    await books.tickets([50], owner="carol")
    await books.lane()
    await books.batch([(1, "bob"), (2, "bob"), (2, "carol"), (50, "bob"), (3, "bob")], batch_id=BATCH)
    await books.run(BATCH, failed(FailureCode.RECIPIENT_REFUSED))
    assert (await books.runs.close(BATCH, 1)).result.status is BatchStatus.COMPLETED_WITH_FAILURES
    await books.tickets([3])
    again = await books.runs.open(BATCH, "run-2", retry_failed=True)
    assert (again.run_no, again.status) == (2, BatchStatus.PROCESSING)
    page = await books.retries.reopen_page(BATCH, again.run_no, 0, 100)
    assert page.reopened == 3
    assert await books.statuses(BATCH) == "PPFFP"
    await books.run(BATCH, retries_only=True)
    result = (await books.runs.close(BATCH, again.run_no)).result
    assert (result.status, result.completed, result.failed) == (BatchStatus.COMPLETED_WITH_FAILURES, 3, 2)
    assert await books.differences([move(ticket) for ticket in (1, 2, 3)]) == []


def move(ticket: int, to: str = "bob") -> LoggedMove:
    return LoggedMove(ticket, wallet_of("alice"), wallet_of(to))


async def test_a_ticket_that_another_transfer_holds_is_not_reopened(books: Books) -> None:
    """Reopening is no way around the lock."""
    await books.plain_batch(1, batch_id=BATCH)
    await books.run(BATCH, failed(FailureCode.RECIPIENT_REFUSED))
    await books.runs.close(BATCH, 1)
    await books.batch([(1, "bob")], batch_id=OTHER)
    await books.creation.create(slice_of(OTHER, 1, 1))
    await books.runs.open(BATCH, "run-2", retry_failed=True)
    assert (await books.retries.reopen_page(BATCH, 2, 0, 100)).reopened == 0
    assert await books.items(BATCH) == {1: ("FAILED", "RECIPIENT_REFUSED")}


async def test_a_run_is_opened_once_per_workflow_execution(books: Books) -> None:
    """A retried first step, or a second execution while one runs, begins no other run."""
    await books.plain_batch(1, batch_id=BATCH)
    for opened_by in ("run-1", "run-2"):
        assert (await books.runs.open(BATCH, opened_by, retry_failed=True)).run_no == 1
    await books.run(BATCH, failed(FailureCode.RECIPIENT_REFUSED))
    await books.runs.close(BATCH, 1)
    assert (await books.runs.open(BATCH, "run-3", retry_failed=False)).run_no == 1
    assert (await books.runs.open(BATCH, "run-1", retry_failed=True)).run_no == 1
    assert (await books.runs.open(BATCH, "run-4", retry_failed=True)).run_no == 2


async def test_a_retry_that_has_nothing_to_retry_begins_no_run(books: Books) -> None:
    """Where nothing failed, the stored result stands: no second run, no second event."""
    await books.plain_batch(1, batch_id=BATCH)
    await books.run(BATCH)
    await books.runs.close(BATCH, 1)
    batch = await books.runs.open(BATCH, "run-2", retry_failed=True)
    assert (batch.run_no, batch.status.ended) == (1, True)


async def test_a_batch_that_was_never_staged_is_an_invalid_request(books: Books) -> None:
    """The caller's mistake has its code."""
    with pytest.raises(RequestError) as caught:
        await books.runs.find(BATCH)
    assert caught.value.code is ErrorCode.INVALID_INPUT


async def test_a_bound_item_cannot_be_failed_by_hand(books: Books) -> None:
    """Only the chain decides about a bound transfer."""
    await books.plain_batch(1, batch_id=BATCH)
    await books.creation.create(WHOLE)
    await books.bind(WHOLE)
    before = await books.snapshot()
    assert await books.runs.fail_item(BATCH, 1, 1, "INTERNAL", "a defect") is None
    assert await books.snapshot() == before


async def test_an_alert_is_opened_once_and_counted(books: Books) -> None:
    """A condition that lasts is one alert."""
    for message in ("first", "second"):
        await books.runs.raise_alert(AlertKind.DEFECT, "batch/1", message)
    row = await books.pool.fetchrow("SELECT count(*), max(seen), max(message) FROM alerts")
    assert tuple(row or ()) == (1, 2, "second")


async def test_a_full_lane_takes_no_more(books: Books) -> None:
    """At most so many nonces of a lane are open, less what is kept for single transfers; settled ones make room."""
    await books.people("alice", "bob")
    await books.tickets(range(1, 6))
    await books.lane(max_in_flight=3)
    await books.batch([(n, "bob") for n in range(1, 6)], batch_id=BATCH)
    await books.creation.create(WHOLE)
    bound = await books.bind(WHOLE, per_transaction=1)
    assert [b.nonce for b in bound] == [0, 1]
    await books.settle(bound[:1])
    assert [b.nonce for b in await books.bind(WHOLE, per_transaction=1)] == [2]


async def test_a_halted_lane_takes_nothing(books: Books) -> None:
    """A lane that a person took out of use gets no nonces."""
    await books.plain_batch(1, batch_id=BATCH)
    await books.creation.create(WHOLE)
    await books.pool.execute("UPDATE chain_lanes SET halted_reason = 'key lost'")
    assert await books.bind(WHOLE) == []


@pytest.mark.parametrize(
    ("moves", "said"),
    [
        ([], "0 moves to .* on the chain, 1 in Postgres"),
        ([1, 1], "2 moves to .* on the chain, 1 in Postgres"),
        ([1, 2], "ticket 2: 1 moves to .* on the chain, 0 in Postgres"),
    ],
)
async def test_the_proof_finds_every_difference(books: Books, moves: list[int], said: str) -> None:
    """A move too few, one too many, and a move of a ticket that nobody asked for are all told."""
    await books.plain_batch(2, batch_id=BATCH)
    await books.creation.create(slice_of(BATCH, 1, 1))
    await books.settle(await books.bind(slice_of(BATCH, 1, 1)), moved)
    assert await books.differences([move(1)]) == []
    differences = await books.differences([move(ticket) for ticket in moves])
    assert any(re.search(said, line) for line in differences), differences


async def test_the_proof_finds_a_transfer_that_calls_itself_complete(books: Books) -> None:
    """A status without a final outcome is no proof of a move."""
    await books.plain_batch(1, batch_id=BATCH)
    await books.creation.create(WHOLE)
    await books.bind(WHOLE)
    await books.pool.execute("UPDATE ticket_transfers SET status = 'COMPLETED', ended_at = now()")
    assert any("is COMPLETED with 0 final moves" in line for line in await books.differences([]))


async def test_the_proof_finds_a_wrong_holder(books: Books) -> None:
    """Postgres and the chain name the same wallet for each ticket."""
    await books.plain_batch(1, batch_id=BATCH)
    await books.run(BATCH)
    await books.pool.execute("UPDATE tickets SET holder = $1", wallet_of("alice"))
    assert any("holds it on the chain" in line for line in await books.differences([move(1)]))
