"""`WebhookDelivery` on the real dev server: sleeping, waking, ending, continuing as new, bad input, replay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker

from tests.webhooks.fakes import FakeAlerts, FakeWebhooks
from workflows.interface.codes import AlertKind
from workflows.interface.names import Queue, Signal, WorkflowType, webhook_workflow_id
from workflows.interface.webhook import DrainResult
from workflows.sandbox import sandboxed
from workflows.webhook_delivery import WebhookDelivery

NOTHING_LEFT = DrainResult(delivered=1)
LONG_S = 3600.0


@asynccontextmanager
async def worker(client: Client, steps: FakeWebhooks) -> AsyncIterator[None]:
    """A worker of the queue `webhooks`. Without a cache, so that every task replays the workflow."""
    async with Worker(
        client,
        task_queue=Queue.WEBHOOKS,
        workflows=[WebhookDelivery],
        activities=[steps.drain_deliveries],
        max_cached_workflows=0,
        workflow_runner=sandboxed(),
        build_id="test",
    ):
        yield


async def start(client: Client, subscription_id: UUID, **options: Any) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        WorkflowType.WEBHOOK_DELIVERY,
        {"subscriptionId": str(subscription_id), "lingerS": 0.05, **options},
        id=webhook_workflow_id(subscription_id),
        task_queue=Queue.WEBHOOKS,
    )


async def result(handle: WorkflowHandle[Any, Any]) -> DrainResult:
    async with asyncio.timeout(30):
        return DrainResult.model_validate(await handle.result())


async def failure(handle: WorkflowHandle[Any, Any]) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        async with asyncio.timeout(30):
            await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def test_drains_until_nothing_is_left(temporal_client: Client) -> None:
    """It drains again while something is due, sleeps while it's later, and ends with the sums when nothing is left."""
    answers = [
        DrainResult(delivered=3, failed_attempts=1, next_due_in_s=0),
        DrainResult(delivered=2, next_due_in_s=0.05),
        DrainResult(delivered=1),
    ]
    steps = FakeWebhooks(lambda number: answers[number - 1])
    async with worker(temporal_client, steps):
        handle = await start(temporal_client, uuid4())
        done = await result(handle)
    assert (done.delivered, done.failed_attempts, steps.drains) == (6, 1, 3)


async def test_wake_ends_the_sleep(temporal_client: Client) -> None:
    """A wake-up during a long sleep makes it drain at once."""
    steps = FakeWebhooks(lambda number: DrainResult(next_due_in_s=LONG_S) if number == 1 else NOTHING_LEFT)
    async with worker(temporal_client, steps):
        handle = await start(temporal_client, uuid4())
        await steps.drained(1)
        await handle.signal(Signal.WAKE)
        await result(handle)
    assert steps.drains == 2


async def test_wake_while_draining_is_not_lost(temporal_client: Client) -> None:
    """A wake-up while a drain runs makes another one follow, since the first may have looked too early."""
    release = asyncio.Event()

    async def answer(number: int) -> DrainResult:
        if number == 1:
            await release.wait()
        return NOTHING_LEFT

    steps = FakeWebhooks(answer)
    async with worker(temporal_client, steps):
        handle = await start(temporal_client, uuid4())
        await steps.drained(1)
        await handle.signal(Signal.WAKE)
        release.set()
        await result(handle)
    assert steps.drains == 2


async def test_wake_at_the_end_is_not_lost(temporal_client: Client) -> None:
    """However close to its end a wake-up comes, a drain follows it: in this run or in the one it starts."""
    subscription_id = uuid4()
    steps = FakeWebhooks(lambda _: NOTHING_LEFT)
    async with worker(temporal_client, steps):
        await start(temporal_client, subscription_id, lingerS=0)
        for wakes in range(30):
            await steps.drained(wakes + 1)
            before = steps.drains
            await temporal_client.start_workflow(
                WorkflowType.WEBHOOK_DELIVERY,
                {"subscriptionId": str(subscription_id), "lingerS": 0},
                id=webhook_workflow_id(subscription_id),
                task_queue=Queue.WEBHOOKS,
                start_signal=Signal.WAKE,
            )
            async with asyncio.timeout(10):
                await steps.drained(before + 1)
        await result(temporal_client.get_workflow_handle(webhook_workflow_id(subscription_id)))


async def test_disabled_subscription_ends(temporal_client: Client) -> None:
    """It ends at once when its subscription is disabled, whatever is due."""
    steps = FakeWebhooks(lambda _: DrainResult(disabled=True, next_due_in_s=0))
    async with worker(temporal_client, steps):
        assert (await result(await start(temporal_client, uuid4()))).disabled
    assert steps.drains == 1


async def test_continues_as_new_with_its_sums(temporal_client: Client) -> None:
    """It continues as new after so many drains and carries its sums over."""
    steps = FakeWebhooks(lambda number: DrainResult(delivered=1, next_due_in_s=0 if number < 7 else None))
    async with worker(temporal_client, steps):
        handle = await start(temporal_client, uuid4(), drainsPerRun=3)
        assert (await result(handle)).delivered == 7
    described = await temporal_client.get_workflow_handle(handle.id, run_id=handle.result_run_id).describe()
    assert described.status == WorkflowExecutionStatus.CONTINUED_AS_NEW


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["not an object"],
        [{"subscriptionId": "no uuid"}],
        [{}],
        [None],
        [{"subscriptionId": "00000000-0000-0000-0000-000000000001", "drainsPerRun": 0}],
        [{"subscriptionId": "00000000-0000-0000-0000-000000000002"}],
    ],
)
async def test_bad_input_ends_with_invalid_input(temporal_client: Client, given: list[Any]) -> None:
    """Input that can't be decoded, or that is another subscription's, ends with INVALID_INPUT and drains nothing."""
    steps = FakeWebhooks(lambda _: NOTHING_LEFT)
    async with worker(temporal_client, steps):
        handle = await temporal_client.start_workflow(
            WorkflowType.WEBHOOK_DELIVERY, args=given, id=webhook_workflow_id(uuid4()), task_queue=Queue.WEBHOOKS
        )
        error = await failure(handle)
    assert (error.type, error.non_retryable, steps.drains) == ("INVALID_INPUT", True, 0)


async def test_what_the_drain_ended_with_ends_it(temporal_client: Client) -> None:
    """An error that isn't retried ends the workflow; the sweep starts it again."""

    async def answer(_: int) -> DrainResult:
        raise ApplicationError("no such subscription", type="NOT_FOUND", non_retryable=True)

    async with worker(temporal_client, FakeWebhooks(answer)):
        handle = await start(temporal_client, uuid4())
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    cause = caught.value.cause.__cause__
    assert isinstance(cause, ApplicationError)
    assert cause.type == "NOT_FOUND"


async def test_defect_raises_an_alert(temporal_client: Client) -> None:
    """A defect of the drain is told to a person, and ends the workflow."""
    alerts = FakeAlerts()

    async def answer(_: int) -> DrainResult:
        raise ApplicationError("KeyError: 'x'", type="DEFECT", non_retryable=True)

    transfers = Worker(temporal_client, task_queue=Queue.TRANSFERS, activities=[alerts.raise_alert], build_id="test")
    async with worker(temporal_client, FakeWebhooks(answer)), transfers:
        handle = await start(temporal_client, uuid4())
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert [(alert.kind, alert.subject, alert.message) for alert in alerts.raised] == [
        (AlertKind.DEFECT, handle.id, "KeyError: 'x'")
    ]


async def test_recorded_history_replays(temporal_client: Client) -> None:
    """A history with a sleep, a wake-up and an end replays without a difference."""
    steps = FakeWebhooks(lambda number: DrainResult(next_due_in_s=LONG_S) if number == 1 else NOTHING_LEFT)
    async with worker(temporal_client, steps):
        handle = await start(temporal_client, uuid4())
        await steps.drained(1)
        await handle.signal(Signal.WAKE)
        await result(handle)
    history = await handle.fetch_history()
    await Replayer(workflows=[WebhookDelivery], data_converter=pydantic_data_converter).replay_workflow(history)
