"""What a person stopped stays stopped, also when Temporal has forgotten it; and what the clean-up mends besides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from temporalio.client import Client

from activities.maintenance import Maintenance
from activities.single_transfers import SingleLedgers, SingleSteps
from activities.turns import Turns
from activities.waking import Waker
from chain.keccak import keccak256
from ledger.gifts import Gifts
from ledger.pool import Pool
from ledger.queries import load
from ledger.single_retries import SingleRetries
from ledger.singles import SingleTransfers
from ledger.webhooks import WebhookLedger
from tests.activities.test_maintenance import failed_transfers, open_batch, run, stray_transfer, subscribe, tend
from tests.books import Books, moved, slice_of
from tests.fake_jobs import nothing_gone
from tests.servers import Temporal
from worker_steps import maintenance_steps
from workflows.interface.codes import AlertKind, BatchStatus
from workflows.interface.maintenance import CleanJob, CleanStep, RetryJob, SeenSince, TendedBatches, TendedTransfers
from workflows.interface.names import Queue, WorkflowType, batch_workflow_id, transfer_workflow_id
from workflows.interface.transfer import OpenTransfer, ReopenedBy, Reopening, TransferInput
from workflows.interface.validation import judge

RULE = partial(judge, keccak256=keccak256)
WORK = CleanStep(job=CleanJob())


@pytest.fixture(scope="module")
async def client(temporal: Temporal) -> Client:
    """A namespace in which no worker takes on what is started."""
    return await temporal.add_namespace("left-alone")


@pytest.fixture(scope="module")
async def forgetful(temporal: Temporal) -> Client:
    """A namespace that knows nothing of what was started: so it is after the retention."""
    return await temporal.add_namespace("left-alone-forgotten")


@pytest.fixture
async def steps(pool: Pool, client: Client) -> AsyncIterator[Maintenance]:
    async with Waker(client) as waker:
        yield maintenance_steps(pool, client, waker, nothing_gone)


@pytest.fixture
async def later(pool: Pool, forgetful: Client) -> AsyncIterator[Maintenance]:
    """The same steps when Temporal has forgotten."""
    async with Waker(forgetful) as waker:
        yield maintenance_steps(pool, forgetful, waker, nothing_gone)


@pytest.fixture
def books(pool: Pool) -> Books:
    return Books(pool)


async def stop(client: Client, kind: WorkflowType, workflow_id: str) -> None:
    """A person starts the workflow and terminates it."""
    handle = await client.start_workflow(kind, {}, id=workflow_id, task_queue=Queue.TRANSFERS)
    await handle.terminate("enough")


async def test_a_stopped_batch_stays_stopped_when_temporal_forgets(
    steps: Maintenance, later: Maintenance, books: Books, client: Client
) -> None:
    """The clean-up remembers in Postgres that a person ended it: it's reported still, with its alert, and not begun."""
    batch_id = await open_batch(books)
    await stop(client, WorkflowType.BATCH_TRANSFER, batch_workflow_id(batch_id))
    assert (await tend(steps)).reported == 1
    for _ in range(2):
        result = await tend(later)
        assert (result.resumed, result.reported) == (0, 1)
        assert "forgotten" in result.examples[0].why
    assert await books.pool.fetchval("SELECT seen FROM alerts WHERE closed_at IS NULL") == 3


@pytest.mark.parametrize("opened_by", ["run-1", "run-2"])
async def test_a_batch_that_is_started_again_is_looked_after_again(
    steps: Maintenance, later: Maintenance, books: Books, client: Client, opened_by: str
) -> None:
    """Whoever opens it takes it back, also where it finds the run open; forgotten after that, it's resumed."""
    batch_id = await open_batch(books)
    await stop(client, WorkflowType.BATCH_TRANSFER, batch_workflow_id(batch_id))
    await tend(steps)
    await books.runs.open(batch_id, opened_by, retry_failed=False)
    assert await tend(later) == TendedBatches(resumed=1)


async def test_a_stopped_transfer_stays_stopped_when_temporal_forgets(
    steps: Maintenance, later: Maintenance, books: Books, client: Client
) -> None:
    """It's reported still; its alert says with which command it goes on."""
    transfer_id = await stray_transfer(books)
    workflow_id = transfer_workflow_id(transfer_id)
    await stop(client, WorkflowType.TRANSFER, workflow_id)
    for clean_up in (steps, later, later):
        assert await run(clean_up.tend_stale_transfers, WORK) == TendedTransfers(reported=1)
    message = await books.pool.fetchval("SELECT message FROM alerts WHERE closed_at IS NULL")
    assert f"temporal workflow start --type Transfer --task-queue transfers --workflow-id {workflow_id}" in message
    assert f"""--input '{{"transferId": "{transfer_id}"}}'""" in message


async def test_a_transfer_that_is_started_again_is_looked_after_again(
    steps: Maintenance, later: Maintenance, books: Books, client: Client
) -> None:
    """Its first step takes it back; forgotten after that, it's resumed."""
    transfer_id = await stray_transfer(books)
    await stop(client, WorkflowType.TRANSFER, transfer_workflow_id(transfer_id))
    await run(steps.tend_stale_transfers, WORK)
    singles = SingleTransfers(books.pool, RULE, frozenset())
    ledgers = SingleLedgers(singles, Gifts(books.pool), SingleRetries(books.pool, RULE, frozenset()))
    async with Waker(client) as waker:
        first = SingleSteps(ledgers, waker, books.runs.raise_alert, Turns()).open_transfer
        await run(first, OpenTransfer(request=TransferInput(transfer_id=transfer_id)))
    assert await run(later.tend_stale_transfers, WORK) == TendedTransfers(resumed=1)


@pytest.mark.parametrize("table", ["batch_transfers", "ticket_transfers"])
async def test_what_is_left_alone_is_in_no_index(pool: Pool, table: str) -> None:
    """Noting it on a live transfer stays a HOT update."""
    indexes = await pool.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = $1", table)
    assert indexes
    assert not [index for index in indexes if "left_at" in index["indexdef"]]


async def test_retried_items_are_found_by_their_index(steps: Maintenance, books: Books) -> None:
    """Of an ended batch the items that had a try are read, not all."""
    [transfer_id] = await failed_transfers(books, 1)
    batch_id = await books.pool.fetchval("SELECT batch_id FROM batch_transfers")
    retries = SingleRetries(books.pool, RULE, frozenset())
    await retries.reopen(transfer_id, Reopening(by=ReopenedBy.OPERATOR, force=True))
    assert await books.pool.fetchval("SELECT next_try_at IS NOT NULL FROM batch_transfer_items") is True
    await books.pool.execute(
        "INSERT INTO batch_transfer_items (batch_id, item_no, ticket_id, recipient, transfer_id, status, ended_at)"
        " SELECT $1, n, n::text, 'bob', md5(n::text)::uuid, 'COMPLETED', now() FROM generate_series(2, 20000) n",
        batch_id,
    )
    await books.pool.execute("VACUUM ANALYZE batch_transfer_items")
    async with books.pool.acquire() as connection, connection.transaction():
        reads = "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'batch_transfer_items'"
        before = await connection.fetchval(reads)
        [found] = await connection.fetch(load("maintenance")["stale_transfers_page"], UUID(int=0), 100)
        assert found["transfer_id"] == transfer_id
        assert await connection.fetchval(reads) - before < 100


async def test_a_batch_whose_retry_was_stopped_is_completed(steps: Maintenance, books: Books) -> None:
    """The lane settled the retried item, its workflow was gone: the clean-up completes the batch, and tells it once."""
    [transfer_id] = await failed_transfers(books, 1)
    batch_id = await books.pool.fetchval("SELECT batch_id FROM batch_transfers")
    await SingleRetries(books.pool, RULE, frozenset()).reopen(
        transfer_id, Reopening(by=ReopenedBy.OPERATOR, force=True)
    )
    assert (await run(steps.compare_counters, WORK)).mended == 0
    await books.settle(await books.bind(slice_of(batch_id, 1, 1)), moved)
    await subscribe(books.pool)
    assert (await run(steps.compare_counters, WORK)).mended == 1
    assert await books.pool.fetchval("SELECT status FROM batch_transfers") == BatchStatus.COMPLETED
    assert (await books.events())["batch.completed"] == 2
    assert await WebhookLedger(books.pool).due_subscriptions()
    assert (await run(steps.compare_counters, WORK)).mended == 0


async def test_alerts_of_a_run_stay_however_late_its_step_begins(steps: Maintenance, books: Books) -> None:
    """What the run raised isn't closed by it, even if the step waited for minutes; what it didn't raise is."""
    began_at = datetime.now(UTC) - timedelta(minutes=30)
    for subject, age in (("batch/this-run", 29), ("batch/earlier", 31)):
        await books.runs.raise_alert(AlertKind.STALE_BATCH, subject, "left")
        seen_at = datetime.now(UTC) - timedelta(minutes=age)
        await books.pool.execute("UPDATE alerts SET last_seen_at = $2 WHERE subject = $1", subject, seen_at)
    await run(steps.settle_batch_alerts, SeenSince(began_at=began_at))
    rows = await books.pool.fetch("SELECT subject FROM alerts WHERE closed_at IS NULL")
    assert [row["subject"] for row in rows] == ["batch/this-run"]


async def test_the_jobs_of_each_minute_put_schedules_back(pool: Pool, client: Client) -> None:
    """Both the sweep and the retries ask for it: whichever is deleted, the other mends it."""
    asked: list[int] = []

    async def restore() -> list[str]:
        asked.append(1)
        return ["expire-transfers"]

    async with Waker(client) as waker:
        steps = maintenance_steps(pool, client, waker, restore)
        await run(steps.sweep_webhook_deliveries)
        await run(steps.retry_failed_transfers, RetryJob())
    assert len(asked) == 2
