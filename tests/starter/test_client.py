"""The client over a real Temporal server: starts once, answers the same, steers, and tells errors apart."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy

from ledger.pool import Pool
from ledger.staging import BatchHeader, BatchWriter
from starter.client import TransferClient
from starter.errors import UnavailableError
from starter.requests import BatchStarted
from starter.staging import StagedStarter
from tests.starter.conftest import SENDER, Service
from tests.starter.test_batch_writer import items
from workflows.interface.batch import BatchItem
from workflows.interface.codes import BatchStatus, ErrorCode, Settlement
from workflows.interface.errors import RequestError
from workflows.interface.names import Queue, WorkflowType, batch_workflow_id
from workflows.interface.options import BatchOptions

ROWS = (BatchItem(ticket_id="17", to="bob"), BatchItem(ticket_id="18", to="eve"))
OTHER_ROWS = (BatchItem(ticket_id="17", to="eve"),)


@pytest.fixture
def idle(idle_client: Client) -> TransferClient:
    """A client of a namespace where nothing works."""
    return TransferClient(idle_client)


async def run_id_of(client: Client, batch_id: UUID) -> str | None:
    return (await client.get_workflow_handle(batch_workflow_id(batch_id)).describe()).run_id


async def refusal(call: object) -> ErrorCode:
    with pytest.raises(RequestError) as caught:
        await call  # type: ignore[misc]
    return caught.value.code


async def test_a_start_is_what_the_web_ui_shows(idle: TransferClient, idle_client: Client) -> None:
    """The workflow has the published type, id, queue, JSON input, memo, summary and priority."""
    started = await idle.start_batch("alice", ROWS, options=BatchOptions(Settlement.SINGLE))
    assert (started.status, started.item_count) == (BatchStatus.QUEUED, 2)
    handle = idle_client.get_workflow_handle(f"batch/{started.batch_id}")
    told = await handle.describe()
    assert (told.workflow_type, told.task_queue) == ("BatchTransfer", "transfers")
    assert await told.static_summary() == "2 tickets of alice"
    assert set(await told.memo()) == {"requestSha256"}
    first = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
    assert (first.priority.priority_key, first.priority.fairness_key) == (3, "alice")
    [argument] = await idle_client.data_converter.decode(first.input.payloads, [dict])
    assert argument == {
        "batchId": str(started.batch_id),
        "fromUserId": "alice",
        "items": [{"ticketId": "17", "to": "bob"}, {"ticketId": "18", "to": "eve"}],
        "settlement": "single",
    }


async def test_the_same_request_twice_is_one_batch(idle: TransferClient, idle_client: Client) -> None:
    """The same key and content gives the first batch back; no second run begins."""
    key = uuid4().hex
    first = await idle.start_batch("alice", ROWS, idempotency_key=key)
    run_id = await run_id_of(idle_client, first.batch_id)
    again = (BatchItem(ticket_id="0017", to=" bob "), ROWS[1])
    assert await idle.start_batch("alice", again, idempotency_key=key) == first
    assert await run_id_of(idle_client, first.batch_id) == run_id


async def test_the_same_request_at_once_is_one_batch(idle: TransferClient) -> None:
    """Ten starts at the same time all get the same batch."""
    key = uuid4().hex
    started = await asyncio.gather(*(idle.start_batch("alice", ROWS, idempotency_key=key) for _ in range(10)))
    assert set(started) == {started[0]}


async def test_another_request_under_the_key_is_refused(idle: TransferClient) -> None:
    """Other items or another settlement under the same key are BATCH_CONTENT_DIFFERS."""
    key = uuid4().hex
    await idle.start_batch("alice", ROWS, idempotency_key=key)
    other_items = idle.start_batch("alice", OTHER_ROWS, idempotency_key=key)
    assert await refusal(other_items) is ErrorCode.BATCH_CONTENT_DIFFERS
    other_way = idle.start_batch("alice", ROWS, idempotency_key=key, options=BatchOptions(Settlement.SINGLE))
    assert await refusal(other_way) is ErrorCode.BATCH_CONTENT_DIFFERS


async def test_a_terminated_batch_is_begun_again_by_the_same_request(idle: TransferClient, idle_client: Client) -> None:
    """Postgres knows what is left to do, so a run that was terminated may be followed by another."""
    started = await idle.start_batch("alice", ROWS, batch_id=uuid4())
    await idle_client.get_workflow_handle(batch_workflow_id(started.batch_id)).terminate()
    run_id = await run_id_of(idle_client, started.batch_id)
    assert await idle.start_batch("alice", ROWS, batch_id=started.batch_id) == started
    assert await run_id_of(idle_client, started.batch_id) != run_id
    await idle_client.get_workflow_handle(batch_workflow_id(started.batch_id)).terminate()
    other = idle.start_batch("alice", OTHER_ROWS, batch_id=started.batch_id)
    assert await refusal(other) is ErrorCode.BATCH_CONTENT_DIFFERS
    assert await refusal(idle.wait(started.batch_id)) is ErrorCode.DEFECT


async def test_a_batch_of_unknown_content_cannot_be_compared(idle: TransferClient, idle_client: Client) -> None:
    """A run started by its id alone that no worker has opened is neither the same nor another request yet."""
    batch_id = uuid4()
    await idle.start_staged(batch_id)
    with pytest.raises(UnavailableError, match="ask again"):
        await idle.start_batch("alice", ROWS, batch_id=batch_id)


async def test_unknown_batches_are_not_found(idle: TransferClient) -> None:
    """Asking, waiting for, pausing and resuming what was never started is NOT_FOUND."""
    for call in (idle.progress, idle.wait, idle.pause, idle.resume):
        assert await refusal(call(uuid4())) is ErrorCode.NOT_FOUND


async def test_cancel_starts_what_was_never_started(idle: TransferClient, idle_client: Client) -> None:
    """Cancelling a staged batch starts it with the signal and the reason; a running one is only signalled."""
    batch_id = uuid4()
    await idle.cancel(batch_id, "sold out", from_user_id="alice")
    await idle.cancel(batch_id)
    handle: WorkflowHandle[object, object] = idle_client.get_workflow_handle(batch_workflow_id(batch_id))
    events = (await handle.fetch_history()).events
    signals = [e.workflow_execution_signaled_event_attributes for e in events]
    signals = [signal for signal in signals if signal.signal_name]
    assert [signal.signal_name for signal in signals] == ["cancel-batch", "cancel-batch"]
    arguments = [await idle_client.data_converter.decode(signal.input.payloads, [dict]) for signal in signals]
    assert arguments == [[{"reason": "sold out"}], [{}]]


async def test_an_ended_batch_cannot_be_steered(service: Service) -> None:
    """Cancel, pause and resume of an ended batch are NOT_ALLOWED, and its progress is its result."""
    async with service.working():
        started = await service.client.start_batch(SENDER, ROWS)
        result = await service.client.wait(started.batch_id)
        assert (result.status, result.failed) == (BatchStatus.COMPLETED_WITH_FAILURES, 2)
        for call in (service.client.cancel, service.client.pause, service.client.resume):
            assert await refusal(call(started.batch_id)) is ErrorCode.NOT_ALLOWED
    progress = await service.client.progress(started.batch_id)
    assert (progress.failed, progress.queued, progress.processing, progress.status) == (2, 0, 0, result.status)
    again = await service.client.start_batch(SENDER, ROWS, batch_id=started.batch_id)
    assert again == BatchStarted(batch_id=started.batch_id, status=result.status, item_count=2)
    other = service.client.start_batch(SENDER, OTHER_ROWS, batch_id=started.batch_id)
    assert await refusal(other) is ErrorCode.BATCH_CONTENT_DIFFERS


async def test_a_running_batch_answers_and_obeys(service: Service) -> None:
    """A paused batch tells its progress and can't be retried yet; resumed it ends; retried it runs once more."""
    client = service.client
    header = BatchHeader(uuid4(), SENDER)
    await BatchWriter(service.pool).write(header, items(*range(250)))
    await service.pool.execute("UPDATE batch_controls SET paused = true")
    assert await client.start_staged(header.batch_id)
    async with service.working():
        progress = await client.progress(header.batch_id)
        assert progress.batch_id == header.batch_id
        assert await refusal(client.retry_failed(header.batch_id)) is ErrorCode.NOT_ALLOWED
        assert not await client.start_staged(header.batch_id)
        await client.pause(header.batch_id)
        await client.resume(header.batch_id)
        assert (await client.wait(header.batch_id)).failed == 250
        await client.retry_failed(header.batch_id)
        assert (await client.wait(header.batch_id)).failed == 250
    assert await service.pool.fetchval("SELECT run_no FROM batch_transfers") == 2


async def test_a_staged_batch_cancelled_before_its_start_never_moves(service: Service) -> None:
    """Signal-with-start: the batch opens, cancels every item and ends CANCELLED."""
    header = BatchHeader(uuid4(), SENDER)
    await BatchWriter(service.pool).write(header, items(1, 2))
    await service.client.cancel(header.batch_id, "sold out")
    async with service.working():
        result = await service.client.wait(header.batch_id)
    assert (result.status, result.cancelled) == (BatchStatus.CANCELLED, 2)
    assert await service.pool.fetchval("SELECT reason FROM batch_transfers") == "sold out"


async def test_a_refused_batch_tells_its_code(service: Service) -> None:
    """The workflow's own refusal reaches the caller with code and words; the request may be repeated later."""
    async with service.working():
        started = await service.client.start_batch("stranger", ROWS)
        assert await refusal(service.client.wait(started.batch_id)) is ErrorCode.INVALID_INPUT
        assert await refusal(service.client.progress(started.batch_id)) is ErrorCode.INVALID_INPUT
        await service.pool.execute("INSERT INTO wallets VALUES ('stranger', decode(repeat('5e', 20), 'hex'))")
        assert await service.client.start_batch("stranger", ROWS, batch_id=started.batch_id) == started
        assert (await service.client.wait(started.batch_id)).failed == 2


async def test_a_client_of_any_converter_will_do(service: Service) -> None:
    """A plain Temporal client without our data converter starts, asks and waits as well."""
    config = service.temporal.config()
    plain = await Client.connect(config["service_client"].config.target_host, namespace=service.temporal.namespace)
    client = TransferClient(plain)
    async with service.working():
        started = await client.start_batch(SENDER, ROWS)
        assert (await client.wait(started.batch_id)).item_count == 2
        assert (await client.progress(started.batch_id)).failed == 2


async def test_staging_starts_what_was_staged_and_never_started(service: Service, pool: Pool) -> None:
    """A request whose start was lost is started by the same request again; a third changes nothing."""
    header = BatchHeader(uuid4(), SENDER)
    await BatchWriter(pool).write(header, items(1, 2))
    starter = StagedStarter(BatchWriter(pool), service.client)
    expected = BatchStarted(batch_id=header.batch_id, status=BatchStatus.QUEUED, item_count=2)
    assert await starter.start(header, items(1, 2)) == expected
    run_id = await run_id_of(service.temporal, header.batch_id)
    assert await starter.start(header, items(1, 2)) == expected
    assert await run_id_of(service.temporal, header.batch_id) == run_id
    async with service.working():
        await service.client.wait(header.batch_id)
    ended = await starter.start(header, items(1, 2))
    assert ended.status is BatchStatus.COMPLETED_WITH_FAILURES


async def test_a_batch_staged_after_a_failed_start_still_runs(service: Service, pool: Pool) -> None:
    """Starting an id before it's staged fails that run; the staging that follows begins another."""
    header = BatchHeader(uuid4(), SENDER)
    await service.client.start_staged(header.batch_id)
    async with service.working():
        assert await refusal(service.client.wait(header.batch_id)) is ErrorCode.INVALID_INPUT
        await StagedStarter(BatchWriter(pool), service.client).start(header, items(1))
        assert (await service.client.wait(header.batch_id)).item_count == 1


async def test_inline_and_staged_requests_are_compared(service: Service, pool: Pool) -> None:
    """A key used inline is the same batch when the rows are staged with it, and the other way round."""
    key, started = uuid4().hex, None
    async with service.working():
        started = await service.client.start_batch(SENDER, ROWS, idempotency_key=key)
        await service.client.wait(started.batch_id)
    starter = StagedStarter(BatchWriter(pool), service.client)
    header = BatchHeader(started.batch_id, SENDER)
    rows = [*items(17), *items(18, to="eve")]
    assert (await starter.start(header, rows)).status is BatchStatus.COMPLETED_WITH_FAILURES
    assert await refusal(starter.start(header, rows[:1])) is ErrorCode.BATCH_CONTENT_DIFFERS


async def test_a_namespace_without_workers_gives_no_progress(idle_client: Client) -> None:
    """A question no worker answers ends as UnavailableError, not as a hang."""
    batch_id = uuid4()
    await idle_client.start_workflow(
        WorkflowType.BATCH_TRANSFER,
        {"batchId": str(batch_id)},
        id=batch_workflow_id(batch_id),
        task_queue=Queue.TRANSFERS,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
    )
    with pytest.raises(UnavailableError):
        await TransferClient(idle_client, answer_timeout=timedelta(seconds=1)).progress(batch_id)
