"""One transfer's steps on a real node: made, bound, settled, refused, reopened; and the word on a gift."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.exceptions import ApplicationError

from tests.books import SENDER, failed
from tests.crew import Crew, fault_of, slice_from
from workflows.interface.batch import ControlInput
from workflows.interface.codes import BatchStatus, ErrorCode, FailureCode, TransferKind, TransferStatus
from workflows.interface.options import BatchOptions
from workflows.interface.transfer import (
    GiftDecision,
    GiftWord,
    OpenTransfer,
    ReopenedBy,
    Reopening,
    TransferInput,
    TransferStep,
    TransferWork,
)


def wanted(ticket: int, to: str = "bob", **more: Any) -> OpenTransfer:
    """A request for a new transfer."""
    fields = {"transfer_id": uuid4(), "from_user_id": SENDER, "ticket_id": str(ticket), "to": to, **more}
    return OpenTransfer(request=TransferInput.model_validate(fields))


def reopened(transfer_id: UUID, by: ReopenedBy = ReopenedBy.OPERATOR, *, force: bool = False) -> OpenTransfer:
    """A request to reopen a failed one."""
    return OpenTransfer(request=TransferInput(transfer_id=transfer_id, reopen=Reopening(by=by, force=force)))


async def opened(crew: Crew, request: OpenTransfer) -> TransferStep:
    """The first step."""
    return await crew.do(crew.singles.open_transfer, request)


async def moved(crew: Crew, transfer_id: UUID, batch_id: UUID | None = None) -> TransferStep:
    """One try at the chain."""
    work = TransferWork(transfer_id=transfer_id, batch_id=batch_id)
    await crew.do(crew.chain_singles.submit_transfer, work)
    await crew.chain.mine()
    return await crew.do(crew.chain_singles.confirm_transfer, work)


def status_of(step: TransferStep) -> TransferStatus:
    """Of a step that found the transfer."""
    assert step.state is not None
    return step.state.status


async def decided(
    crew: Crew, transfer_id: UUID, word: GiftWord, user_id: str, said: str | None = None
) -> TransferStatus:
    """A word on a gift."""
    decision = GiftDecision(transfer_id=transfer_id, word=word, user_id=user_id, said=said or str(uuid4()))
    return status_of(await crew.do(crew.singles.decide_gift, decision))


async def gift(crew: Crew, ticket: int, **more: Any) -> UUID:
    """A gift that waits for bob."""
    request = wanted(ticket, kind=TransferKind.GIFT, **more)
    assert status_of(await opened(crew, request)) is TransferStatus.PENDING
    return request.request.transfer_id


async def events_of(crew: Crew, transfer_id: UUID) -> list[str]:
    """The transfer's events in order."""
    rows = await crew.books.pool.fetch(
        "SELECT type FROM events WHERE transfer_id = $1 ORDER BY occurred_at, event_id", transfer_id
    )
    return [row[0].removeprefix("transfer.") for row in rows]


async def test_a_direct_transfer_moves_its_ticket_once(crew: Crew) -> None:
    """Opened, bound and settled, each twice, it moves once and tells of each stage once."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    request = wanted(ticket)
    for _ in range(2):
        assert status_of(await opened(crew, request)) is TransferStatus.ACCEPTED
    transfer_id = request.request.transfer_id
    for _ in range(2):
        assert status_of(await moved(crew, transfer_id)) is TransferStatus.COMPLETED
    assert await events_of(crew, transfer_id) == ["created", "submitted", "completed"]
    assert await crew.differences() == []
    assert status_of(await opened(crew, request)) is TransferStatus.COMPLETED


async def test_another_request_under_the_same_id_is_refused(crew: Crew) -> None:
    """The transfer that stands is left as it is."""
    await crew.world()
    first, second = await crew.world_tickets(2)
    request = wanted(first)
    await opened(crew, request)
    other = wanted(second, transfer_id=request.request.transfer_id)
    assert await fault_of(opened(crew, other)) == ErrorCode.TRANSFER_CONTENT_DIFFERS


async def test_two_copies_of_the_same_start_make_one_transfer(crew: Crew) -> None:
    """Whichever comes second finds the first's row."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    request = wanted(ticket)
    steps = await asyncio.gather(*(opened(one, request) for one in (crew, crew.on(crew.books.pool))))
    assert {status_of(step) for step in steps} == {TransferStatus.ACCEPTED}
    assert await events_of(crew, request.request.transfer_id) == ["created"]


async def test_a_locked_ticket_is_waited_for_and_then_given_up(crew: Crew) -> None:
    """While another transfer holds it nothing is written; the last try fails with TICKET_LOCKED."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    await opened(crew, wanted(ticket))
    late = wanted(ticket)
    assert (await opened(crew, late)).state is None
    step = await opened(crew, late.model_copy(update={"tries": 2}))
    assert step.state is not None
    assert (step.state.status, step.state.code) == (TransferStatus.FAILED, FailureCode.TICKET_LOCKED)


async def test_an_unknown_recipient_fails_at_once(crew: Crew) -> None:
    """With its code, its event, and the ticket free."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    request = wanted(ticket, "nobody")
    step = await opened(crew, request)
    assert step.state is not None
    assert (step.state.status, step.state.code) == (TransferStatus.FAILED, FailureCode.UNKNOWN_USER)
    assert await events_of(crew, request.request.transfer_id) == ["failed"]


async def test_what_the_chain_refuses_fails_and_a_gift_waits_no_more(crew: Crew) -> None:
    """A ticket that left the sender's wallet fails its transfer for good, with the chain's record of it."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    request = wanted(ticket)
    await opened(crew, request)
    await crew.move_away(ticket)
    step = await moved(crew, request.request.transfer_id)
    assert step.state is not None
    assert (step.state.status, step.state.code) == (TransferStatus.FAILED, FailureCode.NOT_OWNER_ON_CHAIN)
    assert await crew.books.pool.fetchval("SELECT count(*) FROM failed_blockchain_transfers") == 1
    assert await crew.books.pool.fetchval("SELECT tries FROM ticket_transfers") == 1


async def test_a_failed_item_is_retried_alone_and_mends_its_batch(crew: Crew) -> None:
    """Reopened by its own workflow it completes item, counters and batch."""
    await crew.world()
    batch_id = await crew.batch(2)
    await fail_first_item(crew, batch_id, FailureCode.REVERTED)
    work = slice_from(batch_id, 2)
    await crew.do(crew.blockchain.submit_transfers, work)
    await crew.confirm(work)
    await crew.books.runs.close(batch_id, 1)
    row = await crew.books.pool.fetchrow("SELECT transfer_id FROM ticket_transfers WHERE status = 'FAILED'")
    assert row is not None
    step = await opened(crew, reopened(row[0]))
    assert (status_of(step), step.works_for) == (TransferStatus.ACCEPTED, batch_id)
    assert (await crew.books.runs.counts(batch_id)).processing == 1
    assert status_of(await moved(crew, row[0], batch_id)) is TransferStatus.COMPLETED
    await crew.do(crew.singles.mend_batch, TransferWork(transfer_id=row[0], batch_id=batch_id))
    assert (await crew.books.runs.find(batch_id)).status is BatchStatus.COMPLETED
    assert await crew.differences() == []


async def fail_first_item(crew: Crew, batch_id: UUID, code: FailureCode) -> None:
    """As if its last try had failed."""
    await crew.books.runs.open(batch_id, "run-1", retry_failed=False)
    await crew.books.runs.fail_item(batch_id, None, 1, code.value, "on purpose")


async def failed_alone(crew: Crew, code: FailureCode = FailureCode.REVERTED) -> UUID:
    """The transfer of a batch of one item that failed, and which has ended."""
    batch_id = await crew.batch(1)
    await fail_first_item(crew, batch_id, code)
    await crew.books.runs.close(batch_id, 1)
    transfer_id: UUID = await crew.books.pool.fetchval("SELECT transfer_id FROM ticket_transfers")
    return transfer_id


@pytest.mark.parametrize("code", [FailureCode.REVERTED, FailureCode.RECIPIENT_REFUSED])
async def test_only_what_can_help_is_reopened_unless_forced(crew: Crew, code: FailureCode) -> None:
    """A code that says trying again can't help needs an operator's word."""
    await crew.world()
    transfer_id = await failed_alone(crew, code)
    found = status_of(await opened(crew, reopened(transfer_id)))
    assert found is (TransferStatus.ACCEPTED if code.retryable else TransferStatus.FAILED)
    assert status_of(await opened(crew, reopened(transfer_id, force=True))) is TransferStatus.ACCEPTED


async def test_a_scheduled_retry_grants_one_try_and_is_counted(crew: Crew) -> None:
    """Also where it can't be reopened: a retry that leads nowhere must come to its end."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    request = wanted(ticket)
    await opened(crew, request)
    await crew.move_away(ticket)
    transfer_id = request.request.transfer_id
    await moved(crew, transfer_id)
    await crew.books.pool.execute("UPDATE ticket_transfers SET failure_code = 'REVERTED'")
    assert status_of(await opened(crew, reopened(transfer_id, ReopenedBy.SCHEDULE))) is TransferStatus.ACCEPTED
    assert await crew.books.pool.fetchval("SELECT tries FROM ticket_transfers") == 2
    assert await crew.books.pool.fetchval("SELECT retry_count FROM failed_blockchain_transfers") == 1
    assert status_of(await moved(crew, transfer_id)) is TransferStatus.FAILED
    await opened(crew, reopened(transfer_id, ReopenedBy.SCHEDULE))
    assert await crew.books.pool.fetchval("SELECT retry_count FROM failed_blockchain_transfers") == 2


async def test_nothing_is_reopened_in_a_cancelled_batch(crew: Crew) -> None:
    """The cut holds for retries as well."""
    await crew.world()
    batch_id = await crew.batch(1)
    await fail_first_item(crew, batch_id, FailureCode.REVERTED)
    await crew.books.runs.set_cancelled(batch_id, 1, None)
    await crew.books.runs.close(batch_id, 1)
    transfer_id = await crew.books.pool.fetchval("SELECT transfer_id FROM ticket_transfers")
    assert status_of(await opened(crew, reopened(transfer_id))) is TransferStatus.FAILED
    assert (await crew.books.runs.counts(batch_id)).failed == 1


async def test_nothing_is_reopened_alone_in_a_batch_that_runs(crew: Crew) -> None:
    """It tries its items itself, in its own order, and counts on them as it closes."""
    await crew.world()
    batch_id = await crew.batch(1)
    await fail_first_item(crew, batch_id, FailureCode.REVERTED)
    transfer_id = await crew.books.pool.fetchval("SELECT transfer_id FROM ticket_transfers")
    assert status_of(await opened(crew, reopened(transfer_id))) is TransferStatus.FAILED
    await crew.books.runs.close(batch_id, 1)
    assert status_of(await opened(crew, reopened(transfer_id))) is TransferStatus.ACCEPTED


async def test_a_retry_goes_on_though_its_batch_ended_while_paused(crew: Crew) -> None:
    """A batch that has ended is paused no more, so nothing of it is held up for ever."""
    await crew.world()
    batch_id = await crew.batch(1)
    await fail_first_item(crew, batch_id, FailureCode.REVERTED)
    await crew.books.runs.set_paused(batch_id, 1, paused=True)
    await crew.books.runs.close(batch_id, 1)
    transfer_id = await crew.books.pool.fetchval("SELECT transfer_id FROM ticket_transfers")
    await opened(crew, reopened(transfer_id))
    assert status_of(await moved(crew, transfer_id, batch_id)) is TransferStatus.COMPLETED


async def test_a_gift_is_retried_although_its_batch_is_cancelled(crew: Crew) -> None:
    """Once it waits it's no batch's any more: the cut doesn't concern it."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    batch_id = await crew.books.batch([(ticket, "bob")], options=BatchOptions(kind=TransferKind.GIFT))
    await crew.books.creation.create(slice_from(batch_id, 1))
    await crew.books.runs.set_cancelled(batch_id, 1, None)
    await crew.books.runs.close(batch_id, 1)
    transfer_id = await crew.books.pool.fetchval("SELECT transfer_id FROM ticket_transfers")
    await decided(crew, transfer_id, GiftWord.ACCEPT, "bob")
    await crew.books.pool.execute(
        "UPDATE ticket_transfers SET status = 'FAILED', failure_code = 'REVERTED', ended_at = now()"
    )
    assert status_of(await opened(crew, reopened(transfer_id))) is TransferStatus.ACCEPTED
    assert status_of(await moved(crew, transfer_id)) is TransferStatus.COMPLETED


async def test_what_failed_before_a_cancel_is_a_dead_letter(crew: Crew) -> None:
    """It waited for a scheduled retry, which a cancelled batch has none of."""
    await crew.world()
    batch_id = await crew.batch(1)
    work = slice_from(batch_id, 1)
    for _ in range(3):
        await crew.books.make_due()
        await crew.books.settle(await crew.books.bind(work), failed(FailureCode.REVERTED))
    assert await crew.books.pool.fetchval("SELECT count(*) FROM dead_letters") == 0
    await crew.do(crew.transfers.cancel_batch, ControlInput(batch_id=batch_id, run_no=1))
    [letter] = await crew.books.pool.fetch("SELECT code, status::text FROM dead_letters")
    assert tuple(letter) == ("REVERTED", "OPEN")


async def test_an_item_that_is_retried_alone_leaves_the_kept_places(crew: Crew) -> None:
    """Those are for people's single transfers: a wave of retries must not fill them."""
    await crew.world()
    await crew.books.pool.execute("UPDATE chain_lanes SET max_in_flight = 2")
    transfer_id = await failed_alone(crew)
    batch_id = await crew.books.pool.fetchval("SELECT batch_id FROM ticket_transfers")
    await opened(crew, reopened(transfer_id))
    other = await crew.batch(1)
    await crew.do(crew.blockchain.submit_transfers, slice_from(other, 1))
    work = TransferWork(transfer_id=transfer_id, batch_id=batch_id)
    assert await fault_of(crew.do(crew.chain_singles.submit_transfer, work)) == ErrorCode.NOT_YET


async def test_a_gift_moves_once_it_is_accepted(crew: Crew) -> None:
    """It holds its ticket while it waits, and goes to the chain after the recipient's word."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    transfer_id = await gift(crew, ticket)
    assert (await opened(crew, wanted(ticket))).state is None
    assert await decided(crew, transfer_id, GiftWord.ACCEPT, "bob") is TransferStatus.ACCEPTED
    assert status_of(await moved(crew, transfer_id)) is TransferStatus.COMPLETED
    assert await events_of(crew, transfer_id) == ["created", "accepted", "submitted", "completed"]
    assert await crew.differences() == []


@pytest.mark.parametrize(("word", "user_id"), [(GiftWord.ACCEPT, "bob"), (GiftWord.DECLINE, "bob")])
async def test_a_step_whose_answer_was_lost_finds_its_word(crew: Crew, word: GiftWord, user_id: str) -> None:
    """It answers as the first time; the same word of somebody else is refused."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    transfer_id = await gift(crew, ticket)
    first = await decided(crew, transfer_id, word, user_id, "this")
    assert await decided(crew, transfer_id, word, user_id, "this") is first
    assert await fault_of(decided(crew, transfer_id, word, user_id, "another")) == ErrorCode.NOT_ALLOWED
    assert len(await events_of(crew, transfer_id)) == 2


async def test_of_two_words_at_once_one_counts(crew: Crew) -> None:
    """The others learn how the gift stands."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    transfer_id = await gift(crew, ticket)
    other = crew.on(crew.books.pool)
    words = [
        decided(crew, transfer_id, GiftWord.ACCEPT, "bob"),
        decided(other, transfer_id, GiftWord.ACCEPT, "bob"),
        decided(crew, transfer_id, GiftWord.DECLINE, "bob"),
        decided(other, transfer_id, GiftWord.CANCEL, SENDER),
    ]
    answers = await asyncio.gather(*words, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, ApplicationError)]
    assert [error.type for error in refused] == [ErrorCode.NOT_ALLOWED] * 3
    assert len(await events_of(crew, transfer_id)) == 2


@pytest.mark.parametrize(
    ("word", "user_id"), [(GiftWord.ACCEPT, "carol"), (GiftWord.DECLINE, SENDER), (GiftWord.CANCEL, "bob")]
)
async def test_a_gift_is_decided_by_those_it_concerns(crew: Crew, word: GiftWord, user_id: str) -> None:
    """The recipient accepts or declines, the sender cancels; nobody else does either."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    transfer_id = await gift(crew, ticket)
    with pytest.raises(ApplicationError, match=f"and {user_id} isn't") as refused:
        await decided(crew, transfer_id, word, user_id)
    assert refused.value.type == ErrorCode.NOT_ALLOWED


async def test_a_gift_that_expired_is_refused(crew: Crew) -> None:
    """By the database's clock, whether or not a job has marked it."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    transfer_id = await gift(crew, ticket, expires_at=datetime.now(UTC) + timedelta(hours=1))
    await crew.books.pool.execute("UPDATE ticket_transfers SET expires_at = now() - interval '1 second'")
    with pytest.raises(ApplicationError, match="expired at"):
        await decided(crew, transfer_id, GiftWord.ACCEPT, "bob")
    assert await decided(crew, transfer_id, GiftWord.CANCEL, SENDER) is TransferStatus.CANCELLED


async def test_a_gift_to_nobody_we_know_is_refused(crew: Crew) -> None:
    """A wallet of nobody's can't accept; a time that is past is no time to wait."""
    await crew.world()
    [ticket] = await crew.world_tickets(1)
    step = await opened(crew, wanted(ticket, "0x" + "ab" * 20, kind=TransferKind.GIFT))
    assert step.state is not None
    assert step.state.code is FailureCode.GIFT_NEEDS_USER
    late = wanted(ticket, kind=TransferKind.GIFT, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert await fault_of(opened(crew, late)) == ErrorCode.INVALID_INPUT


async def test_places_on_a_lane_are_kept_for_single_transfers(crew: Crew) -> None:
    """A slice that would fill the lane leaves the last places; a single transfer takes one."""
    await crew.world()
    await crew.books.pool.execute("UPDATE chain_lanes SET max_in_flight = 2")
    batches = [await crew.batch(1) for _ in range(2)]
    await crew.do(crew.blockchain.submit_transfers, slice_from(batches[0], 1))
    assert await fault_of(crew.do(crew.blockchain.submit_transfers, slice_from(batches[1], 1))) == ErrorCode.NOT_YET
    [ticket] = await crew.world_tickets(1)
    request = wanted(ticket)
    await opened(crew, request)
    assert status_of(await moved(crew, request.request.transfer_id)) is TransferStatus.COMPLETED
