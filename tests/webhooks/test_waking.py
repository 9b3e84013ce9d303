"""Wake-ups against the real dev server: throttled, none lost, not even when the worker stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import waking
from activities.waking import Waker
from workflows.interface.names import webhook_workflow_id


@pytest.fixture
async def ids(temporal_client: Client) -> AsyncIterator[list[UUID]]:
    """Ids of two subscriptions; their drains are ended afterwards, for no worker of these tests does it."""
    two = [uuid4(), uuid4()]
    yield two
    for one in two:
        with suppress(RPCError):
            await temporal_client.get_workflow_handle(webhook_workflow_id(one)).terminate()


async def signals(client: Client, subscription_id: UUID) -> int:
    """Wake-ups in the history of the subscription's drain, which no worker of the test takes on."""
    history = await client.get_workflow_handle(webhook_workflow_id(subscription_id)).fetch_history()
    return sum(event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED for event in history.events)


async def test_first_wake_is_sent_before_it_returns(temporal_client: Client, ids: list[UUID]) -> None:
    """The first wake-up of a quiet subscription is at the server when `wake` returns."""
    async with Waker(temporal_client, interval_s=60) as waker:
        await waker.wake(ids)
        assert [await signals(temporal_client, each) for each in ids] == [1, 1]


async def test_burst_is_one_wake_at_once_and_one_later(temporal_client: Client, ids: list[UUID]) -> None:
    """Many wake-ups in one interval are two signals: the first at once, the rest together when the interval is over."""
    subscription_id = ids[0]
    waker = Waker(temporal_client, interval_s=0.3)
    for _ in range(50):
        await waker.wake([subscription_id])
    assert await signals(temporal_client, subscription_id) == 1
    async with asyncio.timeout(10):
        while await signals(temporal_client, subscription_id) < 2:
            await asyncio.sleep(0.02)
    await waker.close()
    assert await signals(temporal_client, subscription_id) == 2


async def test_held_back_wake_is_sent_when_the_worker_stops(temporal_client: Client, ids: list[UUID]) -> None:
    """Leaving the waker sends what is held back at once, without waiting out the interval."""
    subscription_id = ids[0]
    async with asyncio.timeout(10), Waker(temporal_client, interval_s=3600) as waker:
        await waker.wake([subscription_id])
        await waker.wake([subscription_id])
    assert await signals(temporal_client, subscription_id) == 2


async def test_failed_wake_is_sent_again(temporal_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake-up that Temporal didn't take is neither raised nor lost: it goes out with the next interval."""
    tries: list[UUID] = []
    sent = asyncio.Event()

    async def second_time(_: Client, subscription_id: UUID) -> None:
        tries.append(subscription_id)
        if len(tries) == 1:
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        sent.set()

    monkeypatch.setattr(waking, "signal_delivery", second_time)
    subscription_id = uuid4()
    async with Waker(temporal_client, interval_s=0.01) as waker:
        await waker.wake([subscription_id])
        async with asyncio.timeout(10):
            await sent.wait()
    assert tries == [subscription_id] * 2
