"""The steps of the scheduled jobs on the real servers: pages in a budget, what they start, what they leave alone."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.maintenance import Maintenance
from activities.waking import Waker
from chain.keccak import keccak256
from ledger.pool import Pool
from ledger.single_retries import SingleRetries
from tests.books import Books, failed
from tests.fake_jobs import nothing_gone
from tests.servers import Temporal
from worker_steps import maintenance_steps
from workflows.interface.codes import FailureCode
from workflows.interface.maintenance import (
    ArchiveJob,
    CleanJob,
    CleanStep,
    ExpireJob,
    JobFailure,
    RetryJob,
    SeenSince,
    TendedBatches,
    TendedTransfers,
)
from workflows.interface.names import ScheduleId, batch_workflow_id, transfer_workflow_id, webhook_workflow_id
from workflows.interface.transfer import ReopenedBy, Reopening
from workflows.interface.validation import judge

ONE_PAGE_S = 1e-9
"""A budget that is used up by the first page."""


@pytest.fixture(scope="module")
async def client(temporal: Temporal) -> Client:
    """A namespace of these tests' own, in which no worker takes on what is started."""
    return await temporal.add_namespace("maintenance-steps")


@pytest.fixture
async def steps(pool: Pool, client: Client) -> AsyncIterator[Maintenance]:
    async with Waker(client) as waker:
        yield maintenance_steps(pool, client, waker, nothing_gone)


@pytest.fixture
def books(pool: Pool) -> Books:
    return Books(pool)


async def run(step: Any, *arguments: Any, attempt: int = 1) -> Any:
    """The step as a worker runs it."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, attempt=attempt)
    return await environment.run(step, *arguments)


async def waiting_gifts(books: Books, count: int) -> None:
    """Gifts whose time is over."""
    await books.people("alice", "bob")
    await books.tickets(range(1, count + 1))
    await books.pool.execute(
        "INSERT INTO ticket_transfers (transfer_id, kind, ticket_id, from_user_id, to_user_id, settlement, status,"
        " expires_at) SELECT gen_random_uuid(), 'gift', ticket_id, 'alice', 'bob', 'batched', 'PENDING', now()"
        " FROM tickets"
    )


async def subscribe(pool: Pool) -> UUID:
    made: UUID = await pool.fetchval(
        "INSERT INTO webhook_subscriptions (url, secret, event_types)"
        " VALUES ('http://localhost/', decode(repeat('ab', 32), 'hex'), '{*}') RETURNING subscription_id"
    )
    return made


async def status_of(client: Client, workflow_id: str) -> WorkflowExecutionStatus | None:
    return (await client.get_workflow_handle(workflow_id).describe()).status


async def started(client: Client, workflow_id: str) -> dict[str, Any]:
    """The input and the priority that a workflow was started with."""
    event = await anext(client.get_workflow_handle(workflow_id).fetch_history_events(page_size=1))
    attributes = event.workflow_execution_started_event_attributes
    [argument] = await client.data_converter.decode(attributes.input.payloads, [dict])
    return {"argument": argument, "priority": attributes.priority.priority_key, "type": attributes.workflow_type.name}


# Expiry -------------------------------------------------------------------------------------------------------------


async def test_expiry_goes_on_page_by_page(steps: Maintenance, books: Books) -> None:
    """A step works through pages, says that there is more when its budget is used up, and the next goes on."""
    await waiting_gifts(books, 10)
    first = await run(steps.expire_transfers, ExpireJob(page_size=4, step_budget_s=ONE_PAGE_S))
    assert (first.expired, first.more) == (4, True)
    second = await run(steps.expire_transfers, ExpireJob(page_size=4))
    assert (second.expired, second.more) == (6, False)


async def test_expiry_wakes_the_drains_also_of_an_earlier_go(steps: Maintenance, books: Books, client: Client) -> None:
    """The subscription's drain is started after the commit; a later go does it again for one that died before."""
    subscription_id = await subscribe(books.pool)
    await waiting_gifts(books, 1)
    await run(steps.expire_transfers, ExpireJob())
    assert await status_of(client, webhook_workflow_id(subscription_id)) is WorkflowExecutionStatus.RUNNING
    await client.get_workflow_handle(webhook_workflow_id(subscription_id)).terminate()
    other = await subscribe(books.pool)
    await books.pool.execute(
        "INSERT INTO webhook_deliveries (subscription_id, event_id) SELECT $1, event_id FROM events", other
    )
    await run(steps.expire_transfers, ExpireJob(), attempt=2)
    assert await status_of(client, webhook_workflow_id(other)) is WorkflowExecutionStatus.RUNNING


# Scheduled retries --------------------------------------------------------------------------------------------------


async def failed_transfers(books: Books, count: int) -> list[UUID]:
    """Of a batch that has ended: the chain refused them all."""
    await books.plain_batch(count)
    [batch_id] = [row[0] for row in await books.pool.fetch("SELECT batch_id FROM batch_transfers")]
    for retry in range(3):
        await books.run(batch_id, failed(FailureCode.REVERTED), retries_only=retry > 0)
        await books.make_due()
    await books.runs.close(batch_id, 1)
    rows = await books.pool.fetch("SELECT transfer_id FROM ticket_transfers WHERE status = 'FAILED' ORDER BY item_no")
    return [row[0] for row in rows]


async def test_each_due_transfer_gets_its_workflow(steps: Maintenance, books: Books, client: Client) -> None:
    """In pages until none is left: `transfer/<id>` is started with the schedule's reopening, behind people's own."""
    ids = await failed_transfers(books, 5)
    result = await run(steps.retry_failed_transfers, RetryJob(page_size=2))
    assert (result.reopened, result.at_work, result.more) == (5, 0, False)
    for transfer_id in ids:
        assert await started(client, transfer_workflow_id(transfer_id)) == {
            "argument": {"transferId": str(transfer_id), "reopen": {"by": "schedule"}},
            "priority": 3,
            "type": "Transfer",
        }
    assert (await run(steps.retry_failed_transfers, RetryJob())).reopened == 0


async def test_a_transfer_at_work_is_left_to_its_workflow(steps: Maintenance, books: Books, client: Client) -> None:
    """Where its workflow runs already (a replay, say), no second one is started, and the others go on."""
    ids = await failed_transfers(books, 3)
    workflow_id = transfer_workflow_id(ids[1])
    await client.start_workflow("Transfer", {"transferId": str(ids[1])}, id=workflow_id, task_queue="transfers")
    result = await run(steps.retry_failed_transfers, RetryJob())
    assert (result.reopened, result.at_work) == (2, 1)
    assert (await started(client, workflow_id))["argument"] == {"transferId": str(ids[1])}


async def test_retries_stop_when_their_time_is_up(steps: Maintenance, books: Books) -> None:
    """No new page is begun after the budget; the rest is the next run's."""
    await failed_transfers(books, 5)
    first = await run(steps.retry_failed_transfers, RetryJob(page_size=2, budget_s=ONE_PAGE_S))
    assert (first.reopened, first.more) == (2, True)
    second = await run(steps.retry_failed_transfers, RetryJob(page_size=2))
    assert (second.reopened, second.more) == (3, False)


# Archive ------------------------------------------------------------------------------------------------------------


async def test_the_archive_goes_on_page_by_page(steps: Maintenance, pool: Pool) -> None:
    """Steps go on with the subscription that the one before was busy with, until all are done."""
    for _ in range(2):
        await pool.execute(
            "INSERT INTO webhook_deliveries (subscription_id, event_id, status, next_attempt_at, ended_at)"
            " SELECT $1, uuidv7(interval '-40 days'), 'DELIVERED', NULL, now() - interval '40 days'"
            " FROM generate_series(1, 5)",
            await subscribe(pool),
        )
    moved, job, more = list[int](), ArchiveJob(page_size=3, step_budget_s=ONE_PAGE_S), True
    while more:
        step = await run(steps.archive_deliveries, job)
        moved, job, more = [*moved, step.deliveries], job.model_copy(update={"after": step.after}), step.more
    assert sum(moved) == 10
    assert len(moved) > 2
    assert await pool.fetchval("SELECT count(*) FROM webhook_deliveries") == 0


# Stale batches ------------------------------------------------------------------------------------------------------


async def open_batch(books: Books, *, begun: bool = True, age: str = "2 hours") -> UUID:
    """A batch that Temporal knows nothing of."""
    await books.people("alice", "bob")
    batch_id = await books.batch([(1, "bob"), (2, "bob")], batch_id=uuid4(), opened_by="run" if begun else None)
    await books.pool.execute(
        "UPDATE batch_transfers SET created_at = now() - $2::text::interval WHERE batch_id = $1", batch_id, age
    )
    return batch_id


async def tend(steps: Maintenance, **limits: float) -> TendedBatches:
    result: TendedBatches = await run(steps.tend_stale_batches, CleanStep(job=CleanJob(**limits)))
    return result


async def test_a_staged_batch_is_started(steps: Maintenance, books: Books, client: Client) -> None:
    """It's started by its id alone, at a batch's priority; while that runs, nothing more happens."""
    batch_id = await open_batch(books, begun=False)
    assert (await tend(steps)).started == 1
    assert await started(client, batch_workflow_id(batch_id)) == {
        "argument": {"batchId": str(batch_id)},
        "priority": 3,
        "type": "BatchTransfer",
    }
    assert await tend(steps) == TendedBatches()


async def test_a_batch_without_a_workflow_is_resumed(steps: Maintenance, books: Books, client: Client) -> None:
    """PROCESSING and PAUSED batches that Temporal knows nothing of get their workflow back."""
    ids = [await open_batch(books), await open_batch(books)]
    await books.runs.set_paused(ids[1], 1, paused=True)
    assert (await tend(steps)).resumed == 2
    for batch_id in ids:
        assert await status_of(client, batch_workflow_id(batch_id)) is WorkflowExecutionStatus.RUNNING


async def test_a_batch_that_a_person_stopped_is_reported(steps: Maintenance, books: Books, client: Client) -> None:
    """One whose workflow was terminated isn't started: it's an open alert, until somebody starts it."""
    batch_id = await open_batch(books)
    await tend(steps)
    await client.get_workflow_handle(batch_workflow_id(batch_id)).terminate("enough")
    result = await tend(steps)
    assert (result.resumed, result.reported) == (0, 1)
    assert [(one.batch_id, one.why) for one in result.examples] == [(batch_id, "its workflow was terminated")]
    assert await status_of(client, batch_workflow_id(batch_id)) is WorkflowExecutionStatus.TERMINATED
    [alert] = await books.pool.fetch("SELECT kind, subject FROM alerts WHERE closed_at IS NULL")
    assert tuple(alert) == ("STALE_BATCH", batch_workflow_id(batch_id))
    just_now = SeenSince(began_at=datetime.now(UTC) - timedelta(seconds=60))
    await run(steps.settle_batch_alerts, just_now)
    assert await books.pool.fetchval("SELECT count(*) FROM alerts WHERE closed_at IS NULL") == 1
    await books.pool.execute("UPDATE alerts SET last_seen_at = now() - interval '1 hour'")
    await run(steps.settle_batch_alerts, just_now)
    assert await books.pool.fetchval("SELECT count(*) FROM alerts WHERE closed_at IS NULL") == 0


async def stray_transfer(books: Books) -> UUID:
    """A transfer that was accepted, and whose workflow is gone."""
    transfer_id = uuid4()
    await books.pool.execute(
        "INSERT INTO ticket_transfers"
        " (transfer_id, ticket_id, from_user_id, token, holder, recipient, settlement, status)"
        " VALUES ($1, '17', 'alice', $2, $2, $2, 'batched', 'ACCEPTED')",
        transfer_id,
        bytes(20),
    )
    return transfer_id


async def test_a_transfer_without_a_workflow_is_resumed(steps: Maintenance, books: Books, client: Client) -> None:
    """By its id alone and before the batches; while its workflow runs, nothing more happens."""
    transfer_id = await stray_transfer(books)
    work = CleanStep(job=CleanJob())
    assert (await run(steps.tend_stale_transfers, work)).resumed == 1
    assert await started(client, transfer_workflow_id(transfer_id)) == {
        "argument": {"transferId": str(transfer_id)},
        "priority": 1,
        "type": "Transfer",
    }
    assert await run(steps.tend_stale_transfers, work) == TendedTransfers()


async def test_a_transfer_that_a_person_stopped_is_reported(steps: Maintenance, books: Books, client: Client) -> None:
    """It isn't started again: it's an open alert."""
    transfer_id = await stray_transfer(books)
    work = CleanStep(job=CleanJob())
    await run(steps.tend_stale_transfers, work)
    await client.get_workflow_handle(transfer_workflow_id(transfer_id)).terminate("enough")
    assert await run(steps.tend_stale_transfers, work) == TendedTransfers(reported=1)
    [alert] = await books.pool.fetch("SELECT kind, subject FROM alerts WHERE closed_at IS NULL")
    assert tuple(alert) == ("STALE_TRANSFER", transfer_workflow_id(transfer_id))


async def test_a_retried_item_without_a_workflow_is_resumed(steps: Maintenance, books: Books, client: Client) -> None:
    """Its batch has ended, so nobody else would go on with it; at the batches' priority."""
    [transfer_id] = await failed_transfers(books, 1)
    retries = SingleRetries(books.pool, partial(judge, keccak256=keccak256), frozenset())
    await retries.reopen(transfer_id, Reopening(by=ReopenedBy.OPERATOR, force=True))
    assert (await run(steps.tend_stale_transfers, CleanStep(job=CleanJob()))).resumed == 1
    assert (await started(client, transfer_workflow_id(transfer_id)))["priority"] == 3


async def test_a_batch_that_is_too_old_is_given_up(steps: Maintenance, books: Books, client: Client) -> None:
    """It fails, its items are cancelled, and who wants to know is told; one whose workflow runs is left alone."""
    batch_id, at_work = (
        await open_batch(books, begun=False, age="9 days"),
        await open_batch(books, begun=False, age="9 days"),
    )
    workflow_id = batch_workflow_id(at_work)
    await client.start_workflow("BatchTransfer", {"batchId": str(at_work)}, id=workflow_id, task_queue="transfers")
    subscription_id = await subscribe(books.pool)
    assert (await tend(steps)).failed == 1
    assert not await run(steps.cancel_failed_batches, CleanJob())
    assert (await books.counts(batch_id)).cancelled == 2
    assert await books.events() == {"batch.failed": 1}
    assert await status_of(client, webhook_workflow_id(subscription_id)) is WorkflowExecutionStatus.RUNNING
    assert await books.pool.fetchval("SELECT status FROM batch_transfers WHERE batch_id = $1", at_work) == "QUEUED"


async def test_counters_are_compared_page_by_page(steps: Maintenance, books: Books) -> None:
    """A drifted counter is set right and told with what it was; a step says where the next goes on."""
    ids = sorted([await open_batch(books, begun=False), await open_batch(books, begun=False)])
    await books.pool.execute("UPDATE batch_counters SET queued = 1, failed = 1 WHERE batch_id = $1", ids[1])
    first = await run(steps.compare_counters, CleanStep(job=CleanJob(step_budget_s=ONE_PAGE_S)))
    assert (first.compared, first.repaired, first.after) == (1, 0, ids[0])
    second = await run(steps.compare_counters, CleanStep(job=CleanJob(), after=first.after))
    assert (second.compared, second.repaired, second.after) == (1, 1, None)
    [repair] = second.repairs
    assert (repair.batch_id, repair.was.failed, repair.is_now.queued) == (ids[1], 1, 2)


# Failures -----------------------------------------------------------------------------------------------------------


async def test_a_failed_job_is_buried_until_it_goes_through(steps: Maintenance, pool: Pool) -> None:
    """A job's defect is one dead letter and one alert, however often it happens; its next good run closes both."""
    for run_id in ("a", "a", "b"):
        failure = JobFailure(
            job=ScheduleId.EXPIRE_TRANSFERS, workflow_id="expire", run_id=run_id, message="KeyError: 1"
        )
        await run(steps.bury_job, failure)
    [letter] = await pool.fetch("SELECT job, reason, status FROM dead_letters")
    assert tuple(letter) == ("expire-transfers", "KeyError: 1", "OPEN")
    [alert] = await pool.fetch("SELECT kind, subject FROM alerts WHERE closed_at IS NULL")
    assert tuple(alert) == ("DEFECT", "schedule/expire-transfers")
    await run(steps.expire_transfers, ExpireJob())
    assert await pool.fetchval("SELECT status FROM dead_letters") == "RESOLVED"
    assert await pool.fetchval("SELECT count(*) FROM alerts WHERE closed_at IS NULL") == 0


async def test_an_unforeseen_error_is_a_defect(steps: Maintenance, pool: Pool) -> None:
    """A missing table isn't tried again: the run ends, and the next begins anew."""
    await pool.execute("DROP TABLE failed_blockchain_transfers")
    with pytest.raises(ApplicationError) as caught:
        await run(steps.retry_failed_transfers, RetryJob())
    assert (caught.value.type, caught.value.non_retryable) == ("DEFECT", True)
