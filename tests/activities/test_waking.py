"""A drain's wake follows every commit, also where the go that committed died before it."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import pytest
from temporalio.service import RPCError, RPCStatusCode

from ledger.webhooks import NewSubscription, WebhookLedger
from tests.crew import Crew, fault_of, slice_from
from workflows.interface.batch import BatchInput, ControlInput
from workflows.interface.codes import ErrorCode
from workflows.interface.deliveries import RetryPolicy
from workflows.interface.names import webhook_workflow_id


@pytest.fixture
async def subscription(crew: Crew) -> UUID:
    """Wants every event of the sender."""
    await crew.world()
    new = NewSubscription("http://127.0.0.1:1/", bytes(32), "alice", ("*",), RetryPolicy())
    return (await WebhookLedger(crew.books.pool).create_subscription(new)).subscription_id


async def is_awake(crew: Crew, subscription_id: UUID) -> bool:
    """Whether its drain was started; ends it."""
    handle = crew.waker_client.get_workflow_handle(webhook_workflow_id(subscription_id))
    try:
        await handle.terminate()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


@pytest.fixture
def deaf(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> Crew:
    """A crew whose worker dies when it wants to wake a drain."""
    dying = crew.on(crew.books.pool)

    async def die(subscription_ids: Iterable[UUID]) -> None:
        if list(subscription_ids):
            raise ConnectionResetError("the worker is gone")

    monkeypatch.setattr(dying.waker, "wake", die)
    return dying


async def test_creating_wakes_in_its_second_go(crew: Crew, deaf: Crew, subscription: UUID) -> None:
    """The transfers were created, and nobody was told."""
    items = [{"ticketId": str(n), "to": "bob"} for n in await crew.world_tickets(2)]
    batch = await crew.books.batch([(item["ticketId"], item["to"]) for item in items])
    work = slice_from(batch, 2)
    assert await fault_of(deaf.do(deaf.transfers.create_transfers, work)) == ErrorCode.INFRASTRUCTURE
    assert not await is_awake(crew, subscription)
    await crew.do(crew.transfers.create_transfers, work, attempt=2)
    assert await is_awake(crew, subscription)


async def test_submitting_wakes_in_its_second_go(crew: Crew, deaf: Crew, subscription: UUID) -> None:
    """The transfers were bound, and nobody was told."""
    work = slice_from(await crew.batch(2), 2)
    assert await fault_of(deaf.do(deaf.blockchain.submit_transfers, work)) == ErrorCode.INFRASTRUCTURE
    assert not await is_awake(crew, subscription)
    await crew.do(crew.blockchain.submit_transfers, work, attempt=2)
    assert await is_awake(crew, subscription)


async def test_confirming_wakes_in_its_second_go(crew: Crew, deaf: Crew, subscription: UUID) -> None:
    """The transfers were settled, and nobody was told."""
    work = slice_from(await crew.batch(2), 2)
    await crew.do(crew.blockchain.submit_transfers, work)
    assert await is_awake(crew, subscription)
    await crew.chain.mine()
    assert await fault_of(deaf.do(deaf.blockchain.confirm_transfers, work)) == ErrorCode.INFRASTRUCTURE
    assert not await is_awake(crew, subscription)
    fresh = crew.on(crew.books.pool)
    await fresh.do(fresh.blockchain.confirm_transfers, work, attempt=2)
    assert await is_awake(crew, subscription)
    await fresh.waker.close()


@pytest.mark.parametrize("name", ["cancel_batch", "close_batch"])
async def test_ending_a_batch_wakes_in_its_second_go(crew: Crew, deaf: Crew, subscription: UUID, name: str) -> None:
    """The end was written, and nobody was told."""
    batch_id = await crew.batch(2)
    control = ControlInput(batch_id=batch_id, run_no=1)
    if name == "close_batch":
        await crew.books.run(batch_id)
    assert await fault_of(deaf.do(getattr(deaf.transfers, name), control)) == ErrorCode.INFRASTRUCTURE
    assert not await is_awake(crew, subscription)
    await crew.do(getattr(crew.transfers, name), control, attempt=2)
    assert await is_awake(crew, subscription)


async def test_writing_an_inline_batch_wakes_for_what_failed_at_once(crew: Crew, subscription: UUID) -> None:
    """A duplicate fails as the rows are written, and its event is due."""
    [number] = await crew.world_tickets(1)
    items = [{"ticketId": str(number), "to": "bob"}] * 2
    argument = {"batchId": "3f6fa5a2-5a1b-4b43-9a52-4b1f6b7e0d11", "fromUserId": "alice", "items": items}
    plan = await crew.do(crew.transfers.open_batch, BatchInput.model_validate(argument))
    assert (plan.counts.failed, plan.subscription_ids) == (1, (subscription,))
    assert await is_awake(crew, subscription)
