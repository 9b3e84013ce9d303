"""Wake-ups against the real dev server: throttled, none lost, not even when the worker stops."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import waking
from activities.waking import Waker
from workflows.interface.names import webhook_workflow_id


async def signals(client: Client, subscription_id: UUID) -> int:
    """Wake-ups in the history of the subscription's drain, which no worker of the test takes on."""
    history = await client.get_workflow_handle(webhook_workflow_id(subscription_id)).fetch_history()
    return sum(event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED for event in history.events)


async def test_first_wake_is_sent_before_it_returns(idle_client: Client) -> None:
    """The first wake-up of a quiet subscription is at the server when `wake` returns."""
    ids = [uuid4(), uuid4()]
    async with Waker(idle_client, interval_s=60) as waker:
        await waker.wake(ids)
        assert [await signals(idle_client, each) for each in ids] == [1, 1]


async def test_burst_is_one_wake_at_once_and_one_later(idle_client: Client) -> None:
    """Many wake-ups in one interval are two signals: the first at once, the rest together when the interval is over."""
    subscription_id = uuid4()
    waker = Waker(idle_client, interval_s=0.3)
    for _ in range(50):
        await waker.wake([subscription_id])
    assert await signals(idle_client, subscription_id) == 1
    async with asyncio.timeout(10):
        while await signals(idle_client, subscription_id) < 2:
            await asyncio.sleep(0.02)
    await waker.close()
    assert await signals(idle_client, subscription_id) == 2


async def test_held_back_wake_is_sent_when_the_worker_stops(idle_client: Client) -> None:
    """Leaving the waker sends what is held back at once, without waiting out the interval."""
    subscription_id = uuid4()
    async with asyncio.timeout(10), Waker(idle_client, interval_s=3600) as waker:
        await waker.wake([subscription_id])
        await waker.wake([subscription_id])
    assert await signals(idle_client, subscription_id) == 2


async def test_failed_wake_is_sent_again(idle_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
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
    async with Waker(idle_client, interval_s=0.01) as waker:
        await waker.wake([subscription_id])
        async with asyncio.timeout(10):
            await sent.wait()
    assert tries == [subscription_id] * 2
