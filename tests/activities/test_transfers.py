"""The steps that need Postgres alone, as Temporal calls them: again, by another worker, and with what callers send."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from temporalio.exceptions import ApplicationError

from tests.breaking_pool import BreakingPool
from tests.crew import Crew, fault_of, slice_from
from workflows.interface.batch import Alert, BatchInput, BatchPlan, ControlInput, ItemFault
from workflows.interface.codes import AlertKind, BatchStatus, ErrorCode


async def inline(crew: Crew, size: int, to: str = "bob") -> BatchInput:
    """An inline request over fresh tickets."""
    await crew.world()
    items = [{"ticketId": str(n), "to": to} for n in await crew.world_tickets(size)]
    return BatchInput.model_validate({"batchId": str(uuid4()), "fromUserId": "alice", "items": items})


async def test_an_inline_batch_is_written_and_opened(crew: Crew) -> None:
    """The plan has all the workflow needs to know."""
    request = await inline(crew, 3)
    plan: BatchPlan = await crew.do(crew.transfers.open_batch, request)
    assert (plan.item_count, plan.counts.queued, plan.run_no, plan.status) == (3, 3, 1, BatchStatus.PROCESSING)
    assert (plan.from_user_id, plan.reopening, plan.paused, plan.cancelled) == ("alice", False, False, False)


async def test_opening_twice_or_by_copies_opens_one_run(crew: Crew) -> None:
    """A retried first step gives the same plan."""
    request = await inline(crew, 3)
    plans = await asyncio.gather(*(crew.do(crew.transfers.open_batch, request) for _ in range(4)))
    plans.append(await crew.do(crew.transfers.open_batch, request, attempt=2))
    assert all(plan == plans[0] for plan in plans)
    assert await crew.books.pool.fetchval("SELECT count(*) FROM batch_transfer_items") == 3


async def test_opening_broken_off_anywhere_is_finished_by_the_next_go(crew: Crew) -> None:
    """The batch is written whole or not at all."""
    request = await inline(crew, 3)
    fault: str | None = ErrorCode.INFRASTRUCTURE
    statement = 0
    while fault:
        statement += 1
        broken = crew.on(BreakingPool(crew.books.pool, statement).as_pool())
        fault = await fault_of(broken.do(broken.transfers.open_batch, request))
        assert fault in (None, ErrorCode.INFRASTRUCTURE)
    assert statement > 5
    assert (await crew.books.runs.find(request.batch_id)).run_no == 1
    assert (await crew.books.counts(request.batch_id)).queued == 3


@pytest.mark.parametrize("change", [{"fromUserId": "bob"}, {"settlement": "single"}, {"items": ()}])
async def test_another_request_under_the_same_id_is_refused(crew: Crew, change: dict[str, object]) -> None:
    """Nothing of the stored batch is touched."""
    request = await inline(crew, 3)
    await crew.do(crew.transfers.open_batch, request)
    before = await crew.books.snapshot()
    fields = request.model_dump() | change
    fields["items"] = fields["items"] or request.model_dump()["items"][:2]
    other = BatchInput.model_validate(fields)
    assert await fault_of(crew.do(crew.transfers.open_batch, other)) == ErrorCode.BATCH_CONTENT_DIFFERS
    assert await crew.books.snapshot() == before


async def test_what_can_not_be_opened_is_an_invalid_input(crew: Crew) -> None:
    """An id that was never staged and a sender without a wallet are the caller's mistakes, and final."""
    strange = BatchInput.model_validate(
        {"batchId": str(uuid4()), "fromUserId": "nobody", "items": [{"ticketId": "1", "to": "bob"}]}
    )
    for request in (strange, BatchInput(batch_id=uuid4())):
        with pytest.raises(ApplicationError) as caught:
            await crew.do(crew.transfers.open_batch, request)
        assert (caught.value.type, caught.value.non_retryable) == (ErrorCode.INVALID_INPUT, True)


async def test_a_batch_goes_through_all_its_steps_twice(crew: Crew) -> None:
    """Each step, called again at once, changes nothing and answers the same."""
    request = await inline(crew, 4)
    await crew.do(crew.transfers.open_batch, request)
    work, control = slice_from(request.batch_id, 4), ControlInput(batch_id=request.batch_id, run_no=1)
    for step in (crew.transfers.create_transfers, crew.blockchain.submit_transfers):
        first, second = [await crew.do(step, work, attempt=attempt) for attempt in (1, 2)]
        assert first == second
    await crew.confirm(work)
    results = [await crew.do(crew.transfers.close_batch, control) for _ in range(2)]
    assert results[0] == results[1]
    assert (results[0].status, results[0].completed) == (BatchStatus.COMPLETED, 4)
    assert (await crew.books.events())["batch.completed"] == 1
    assert await crew.differences() == []


async def test_copies_of_closing_and_cancelling_tell_of_it_once(crew: Crew) -> None:
    """One event, whoever is quicker."""
    request = await inline(crew, 4)
    await crew.do(crew.transfers.open_batch, request)
    control = ControlInput(batch_id=request.batch_id, run_no=1, reason="sold out")
    await asyncio.gather(*(crew.do(crew.transfers.cancel_batch, control) for _ in range(3)))
    results = await asyncio.gather(*(crew.do(crew.transfers.close_batch, control) for _ in range(3)))
    assert {result.status for result in results} == {BatchStatus.CANCELLED}
    assert await crew.books.events() == {"batch.cancelled": 1}
    assert (await crew.books.runs.find(request.batch_id)).reason == "sold out"


async def test_pause_and_resume_reach_the_database(crew: Crew) -> None:
    """The workflow's word is the batch's status."""
    request = await inline(crew, 1)
    await crew.do(crew.transfers.open_batch, request)
    control = ControlInput(batch_id=request.batch_id, run_no=1)
    for step, status in (
        (crew.transfers.pause_batch, BatchStatus.PAUSED),
        (crew.transfers.resume_batch, BatchStatus.PROCESSING),
    ):
        for _ in range(2):
            await crew.do(step, control)
            assert (await crew.books.runs.find(request.batch_id)).status is status


async def test_a_defects_item_fails_with_an_alert(crew: Crew) -> None:
    """INTERNAL, with the defect's words for those who mend it."""
    request = await inline(crew, 2)
    await crew.do(crew.transfers.open_batch, request)
    fault = ItemFault(batch_id=request.batch_id, run_no=1, item_no=2, message="KeyError: 17")
    for _ in range(2):
        assert (await crew.do(crew.transfers.fail_item, fault)).left == 0
    assert await crew.books.items(request.batch_id) == {1: ("QUEUED", None), 2: ("FAILED", "INTERNAL")}
    row = await crew.books.pool.fetchrow("SELECT kind, message, seen FROM alerts")
    assert tuple(row or ()) == ("DEFECT", "KeyError: 17", 2)


async def test_a_bound_items_defect_is_left_to_the_chain(crew: Crew) -> None:
    """`left` says that only the chain can decide."""
    await crew.world()
    batch_id = await crew.batch(1)
    await crew.books.bind(slice_from(batch_id, 1))
    fault = ItemFault(batch_id=batch_id, run_no=1, item_no=1, message="x")
    assert (await crew.do(crew.transfers.fail_item, fault)).left == 1


async def test_failed_items_are_reopened_page_by_page(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new run takes up what failed before it, in ranges of at most a slice's items."""
    monkeypatch.setattr("activities.transfers.PAGE_SIZE", 3)
    request = await inline(crew, 8, to="carol")
    await crew.do(crew.transfers.open_batch, request)
    await crew.do(crew.transfers.create_transfers, slice_from(request.batch_id, 8))
    control = ControlInput(batch_id=request.batch_id, run_no=1)
    assert (await crew.do(crew.transfers.close_batch, control)).failed == 8
    await crew.books.people("carol")
    again = BatchInput(batch_id=request.batch_id, retry_failed=True)
    plan = await crew.do(crew.transfers.open_batch, again, run_id="run-2")
    assert (plan.run_no, plan.reopening) == (2, True)
    for _ in range(2):
        reopened = await crew.do(crew.transfers.reopen_failed_items, plan.model_copy(update={"slice_size": 5}))
        assert [(due.range.first, due.range.last, due.count) for due in reopened.due_again] == [(1, 5, 5), (6, 8, 3)]
        assert reopened.counts.processing == 8


async def test_late_copies_of_an_earlier_runs_steps_answer_and_change_nothing(crew: Crew) -> None:
    """A worker that hung until a later run went on tells its workflow's ghost how the batch stands, no more."""
    request = await inline(crew, 2, to="carol")
    await crew.do(crew.transfers.open_batch, request)
    await crew.do(crew.transfers.create_transfers, slice_from(request.batch_id, 2))
    control = ControlInput(batch_id=request.batch_id, run_no=1, reason="late")
    await crew.do(crew.transfers.close_batch, control)
    await crew.books.people("carol")
    again = BatchInput(batch_id=request.batch_id, retry_failed=True)
    plan = await crew.do(crew.transfers.open_batch, again, run_id="run-2")
    await crew.do(crew.transfers.reopen_failed_items, plan)
    before = await crew.books.snapshot()
    for step in (crew.transfers.pause_batch, crew.transfers.resume_batch):
        await crew.do(step, control)
    fault = ItemFault(batch_id=request.batch_id, run_no=1, item_no=1, message="late")
    failed = await crew.do(crew.transfers.fail_item, fault)
    cancelled = await crew.do(crew.transfers.cancel_batch, control)
    closed = await crew.do(crew.transfers.close_batch, control)
    assert (failed.counts.processing, failed.left, cancelled.counts.processing) == (2, 0, 2)
    assert closed.status is BatchStatus.PROCESSING
    assert await crew.books.snapshot() == before
    assert await crew.books.pool.fetchval("SELECT count(*) FROM alerts") == 0


async def test_an_alert_is_recorded(crew: Crew) -> None:
    """The workflow's own alerts stand in the same table."""
    await crew.do(crew.transfers.raise_alert, Alert(kind=AlertKind.REPEATED_DEFECT, subject="batch/1", message="m"))
    assert await crew.books.pool.fetchval("SELECT subject FROM alerts") == "batch/1"
