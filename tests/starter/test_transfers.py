"""The client of single transfers and gifts, over a real Temporal server, workflow and database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from starter.errors import UnavailableError
from starter.gift_words import MOST_TRIES
from starter.transfers import SingleTransferClient
from tests.books import Books
from tests.servers import Temporal
from tests.starter.conftest import SENDER, Service
from workflows.interface.codes import ErrorCode, Settlement, TransferKind, TransferStatus
from workflows.interface.errors import RequestError
from workflows.interface.names import Queue, WorkflowType, transfer_workflow_id

SHORT = timedelta(seconds=0.3)


@pytest.fixture
def idle(idle_client: Client) -> SingleTransferClient:
    """A client of a namespace where nothing works."""
    return SingleTransferClient(idle_client, SHORT)


@pytest.fixture
async def singles(service: Service) -> SingleTransferClient:
    """A client where bob and carol have wallets, and alice has the tickets 1 to 9."""
    books = Books(service.pool)
    await books.people("bob", "carol")
    await service.pool.execute(
        "INSERT INTO tickets SELECT n::text, decode(repeat('70', 20), 'hex'), decode(repeat('a1', 20), 'hex'), $1"
        " FROM generate_series(1, 9) n",
        SENDER,
    )
    return service.singles


async def refusal(call: object) -> RequestError:
    with pytest.raises(RequestError) as caught:
        await call  # type: ignore[misc]
    return caught.value


async def test_a_start_is_what_the_web_ui_shows(idle: SingleTransferClient, idle_client: Client) -> None:
    """The workflow has the published type, id, queue, JSON input, summary and the priority before all batches."""
    started = await idle.start_transfer("alice", "0017", "bob", settlement=Settlement.SINGLE)
    handle = idle_client.get_workflow_handle(f"transfer/{started.transfer_id}")
    told = await handle.describe()
    assert (told.workflow_type, told.task_queue, started.repeated) == ("Transfer", "transfers", False)
    assert await told.static_summary() == "transfer of ticket 17 of alice"
    first = (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes
    assert (first.priority.priority_key, first.priority.fairness_key) == (1, "alice")
    [argument] = await idle_client.data_converter.decode(first.input.payloads, [dict])
    fields = {"fromUserId": "alice", "ticketId": "17", "to": "bob", "settlement": "single"}
    assert argument == {"transferId": str(started.transfer_id), **fields}


async def test_the_same_request_twice_is_one_transfer(idle: SingleTransferClient, idle_client: Client) -> None:
    """The same key and content gives the first transfer back, ten times at once too; another one is refused."""
    key = uuid4().hex
    starts = [idle.start_transfer("alice", "17", "bob", idempotency_key=key) for _ in range(10)]
    started = await asyncio.gather(*starts)
    assert len({one.transfer_id for one in started}) == 1
    assert sorted(one.repeated for one in started) == [False] + [True] * 9
    other = await refusal(idle.start_transfer("alice", "17", "carol", idempotency_key=key))
    assert other.code is ErrorCode.TRANSFER_CONTENT_DIFFERS
    other = await refusal(idle.start_transfer("alice", "17", "bob", idempotency_key=key, settlement=Settlement.SINGLE))
    assert other.code is ErrorCode.TRANSFER_CONTENT_DIFFERS


async def test_nobody_answers_where_no_worker_runs(idle: SingleTransferClient) -> None:
    """Each call that needs a worker says so, that it may still happen, and that asking again is safe."""
    gift_id = uuid4()
    with pytest.raises(UnavailableError, match="may still be made; ask again under this id, which is safe"):
        await idle.create_gift_transfer("alice", "17", "bob", transfer_id=gift_id)
    for call in (idle.accept_gift, idle.decline_gift, idle.cancel_gift):
        with pytest.raises(UnavailableError, match=r"every worker didn't answer within 0.3 s: .* may still happen"):
            await call(gift_id, "bob")
    with pytest.raises(UnavailableError):
        await idle.progress(gift_id)


async def test_ctrl_c_is_no_timeout(idle_client: Client) -> None:
    """A caller that is cancelled while it waits for a gift's answer ends cancelled."""
    gift = uuid4()
    waiting = asyncio.create_task(SingleTransferClient(idle_client).accept_gift(gift, "bob"))
    await _until_started(idle_client, gift)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def _until_started(client: Client, transfer_id: UUID) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await client.get_workflow_handle(transfer_workflow_id(transfer_id)).describe()
            except RPCError:
                await asyncio.sleep(0.02)
            else:
                return


async def test_a_transfer_is_taken_up_and_watched(singles: SingleTransferClient, service: Service) -> None:
    """Progress tells the running workflow's state, and a retry of what is under way is refused."""
    started = await singles.start_transfer(SENDER, "1", "bob", idempotency_key="one")
    async with service.working():
        async with asyncio.timeout(20):
            while await _status(singles, started.transfer_id) is not TransferStatus.ACCEPTED:
                await asyncio.sleep(0.05)
        again = await singles.start_transfer(SENDER, "01", " bob ", idempotency_key="one")
        assert (again.transfer_id, again.repeated) == (started.transfer_id, True)
        assert (await refusal(singles.retry(started.transfer_id))).code is ErrorCode.NOT_ALLOWED
        word = await refusal(singles.accept_gift(started.transfer_id, "bob"))
        assert (word.code, "is no gift" in str(word)) == (ErrorCode.NOT_ALLOWED, True)


async def _status(singles: SingleTransferClient, transfer_id: UUID) -> TransferStatus | None:
    try:
        return (await singles.progress(transfer_id)).status
    except UnavailableError:
        return None


async def test_a_transfer_that_cannot_be_ends_failed(singles: SingleTransferClient, service: Service) -> None:
    """The result tells code and reason; the same request again gives it back and begins no other run."""
    async with service.working():
        started = await singles.start_transfer(SENDER, "1", "nobody", idempotency_key="one")
        state = await singles.wait(started.transfer_id)
        assert (state.status, state.code) == (TransferStatus.FAILED, "UNKNOWN_USER")
        handle = service.temporal.get_workflow_handle(transfer_workflow_id(started.transfer_id))
        run_id = (await handle.describe()).run_id
        assert (await singles.start_transfer(SENDER, "1", "nobody", idempotency_key="one")).repeated
        assert (await handle.describe()).run_id == run_id
        other = await refusal(singles.start_transfer(SENDER, "1", "bob", idempotency_key="one"))
        assert other.code is ErrorCode.TRANSFER_CONTENT_DIFFERS
        assert (await singles.progress(started.transfer_id)) == state


async def test_a_gift_waits_without_an_open_workflow(singles: SingleTransferClient, service: Service) -> None:
    """Creating answers PENDING with the expiry, the workflow is over, and the same request finds the same gift."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    async with service.working():
        made = await singles.create_gift_transfer(SENDER, "2", "bob", expires_at=until, idempotency_key="gift")
        assert (made.status, made.kind, made.expires_at) == (TransferStatus.PENDING, TransferKind.GIFT, until)
        told = await service.temporal.get_workflow_handle(transfer_workflow_id(made.transfer_id)).describe()
        assert told.status is not None
        assert told.status.name == "COMPLETED"
        again = await singles.create_gift_transfer(SENDER, "2", "bob", expires_at=until, idempotency_key="gift")
        assert again == made
        later = singles.create_gift_transfer(
            SENDER, "2", "bob", expires_at=until + timedelta(hours=1), idempotency_key="gift"
        )
        assert (await refusal(later)).code is ErrorCode.TRANSFER_CONTENT_DIFFERS


async def test_the_same_span_again_finds_the_first_gift(singles: SingleTransferClient, service: Service) -> None:
    """`expires_in` counts from each call; that alone doesn't make another request of it, another recipient does."""
    span = timedelta(hours=1)
    async with service.working():
        made = await singles.create_gift_transfer(SENDER, "3", "bob", expires_in=span, idempotency_key="gift")
        assert await singles.create_gift_transfer(SENDER, "3", "bob", expires_in=span, idempotency_key="gift") == made
        other = singles.create_gift_transfer(SENDER, "3", "carol", expires_in=span, idempotency_key="gift")
        assert (await refusal(other)).code is ErrorCode.TRANSFER_CONTENT_DIFFERS
        past = singles.create_gift_transfer(SENDER, "4", "bob", expires_at=datetime(2020, 1, 1, tzinfo=UTC))
        assert "expiresAt is past" in str(await refusal(past))


async def test_a_gift_is_decided_once(singles: SingleTransferClient, service: Service) -> None:
    """Only its recipient accepts it and only its sender takes it back; of ten words at once exactly one counts."""
    async with service.working():
        made = await singles.create_gift_transfer(SENDER, "5", "bob")
        gift = made.transfer_id
        stranger = await refusal(singles.accept_gift(gift, "carol"))
        assert (stranger.code, "only its recipient may accept" in str(stranger)) == (ErrorCode.NOT_ALLOWED, True)
        assert (await refusal(singles.cancel_gift(gift, "bob"))).code is ErrorCode.NOT_ALLOWED
        words = [singles.accept_gift(gift, "bob") for _ in range(4)]
        words += [singles.decline_gift(gift, "bob") for _ in range(3)]
        words += [singles.cancel_gift(gift, SENDER) for _ in range(3)]
        answers = await asyncio.gather(*words, return_exceptions=True)
        won = [answer for answer in answers if not isinstance(answer, BaseException)]
        lost = [answer for answer in answers if isinstance(answer, RequestError)]
        assert (len(won), len(lost)) == (1, 9)
        assert {error.code for error in lost} == {ErrorCode.NOT_ALLOWED}
        assert all("doesn't wait any more" in str(error) for error in lost)
        stored = await service.pool.fetchval("SELECT status::text FROM ticket_transfers WHERE transfer_id = $1", gift)
        assert stored == won[0].status


async def test_a_declined_gift_frees_its_ticket(singles: SingleTransferClient, service: Service) -> None:
    """Declined or taken back, with the reason kept, the ticket can be offered to somebody else."""
    async with service.working():
        first = await singles.create_gift_transfer(SENDER, "6", "bob")
        declined = await singles.decline_gift(first.transfer_id, "bob", "no time")
        assert (declined.status, declined.reason) == (TransferStatus.DECLINED, "no time")
        second = await singles.create_gift_transfer(SENDER, "6", "carol")
        cancelled = await singles.cancel_gift(second.transfer_id, SENDER, "sold")
        assert (cancelled.status, cancelled.reason) == (TransferStatus.CANCELLED, "sold")
        third = await singles.create_gift_transfer(SENDER, "6", "bob")
        accepted = await singles.accept_gift(third.transfer_id, "bob")
        assert accepted.status is TransferStatus.ACCEPTED
        assert (await singles.progress(third.transfer_id)).status is TransferStatus.ACCEPTED


async def test_an_unknown_gift_is_not_found(singles: SingleTransferClient, service: Service) -> None:
    """A word on a gift that was never made is NOT_FOUND, and so is looking at it."""
    assert (await refusal(singles.wait(uuid4()))).code is ErrorCode.NOT_FOUND
    async with service.working():
        assert (await refusal(singles.accept_gift(uuid4(), "bob"))).code is ErrorCode.NOT_FOUND


@workflow.defn(name=WorkflowType.TRANSFER, sandboxed=False)
class EndsEarly:
    """A `Transfer` of the same updates whose first runs end while an update's handler is at work."""

    @workflow.run
    async def run(self, request: dict[str, str]) -> None:
        await workflow.wait_condition(lambda: self._accepted)

    def __init__(self) -> None:
        self._accepted = False

    @workflow.update(name="accept-gift", unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def accept(self, word: dict[str, str]) -> dict[str, str]:
        self._accepted = True
        await workflow.sleep(60)
        return {}


async def test_a_word_that_meets_an_ended_run_is_said_again(temporal: Temporal) -> None:
    """A run that ends before it answered is followed by another, a bounded number of times, with a clear error."""
    client, gift = await temporal.add_namespace("ends-early"), uuid4()
    async with Worker(client, task_queue=Queue.TRANSFERS, workflows=[EndsEarly], build_id="tests"):
        with pytest.raises(UnavailableError, match="ended 5 times before it took up accept"):
            await SingleTransferClient(client).accept_gift(gift, "bob")
    async with asyncio.timeout(10):
        while (await client.count_workflows(f"WorkflowId = '{transfer_workflow_id(gift)}'")).count != MOST_TRIES:
            await asyncio.sleep(0.05)
