"""Drains on real Postgres against a real receiver: retries, crash windows, two copies, slow and dead endpoints."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from ledger.pool import Pool
from ledger.webhooks import WebhookLedger
from starter.webhooks import secret_text
from tests.webhooks.conftest import SECRET, Subscriptions
from tests.webhooks.receiver import Receiver
from webhooks.drain import Drain, DrainLimits, Tally, Window
from webhooks.sender import Sender
from workflows.interface.deliveries import Endpoint, RetryPolicy

LIMITS = DrainLimits()


async def drain(ledger: WebhookLedger, sender: Sender, endpoint: Endpoint, limits: DrainLimits = LIMITS) -> Tally:
    return await Drain(ledger, sender, endpoint, limits=limits, stopping=lambda: False).run()


async def drain_until_done(ledger: WebhookLedger, sender: Sender, endpoint: Endpoint) -> list[Tally]:
    tallies: list[Tally] = []
    async with asyncio.timeout(30):
        while await ledger.next_due_in_s(endpoint.subscription_id) is not None:
            tallies.append(await drain(ledger, sender, endpoint))
    return tallies


async def statuses(pool: Pool) -> Counter[tuple[str, int]]:
    rows = await pool.fetch("SELECT status, attempts FROM webhook_deliveries")
    return Counter((row[0], row[1]) for row in rows)


async def attempts(pool: Pool) -> list[Any]:
    return await pool.fetch("SELECT * FROM webhook_attempts ORDER BY event_id, attempt_no, started_at")


async def test_everything_due_is_delivered_once(
    pool: Pool, ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """A drain over several pages delivers each event once, signed, and logs each attempt."""
    endpoint = await subscriptions.create(receiver.url, due=230)
    tally = await drain(ledger, sender, endpoint, LIMITS._replace(page_size=50))
    assert tally == Tally(delivered=230)
    assert len(receiver.ids) == len(receiver.requests) == 230
    receiver.verify_all(secret_text(SECRET))
    assert await statuses(pool) == {("DELIVERED", 1): 230}
    assert {row["http_status"] for row in await attempts(pool)} == {204}
    assert await ledger.next_due_in_s(endpoint.subscription_id) is None


async def test_failed_deliveries_are_retried_with_the_same_id(
    pool: Pool, ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """A delivery that fails twice is delivered by the third attempt, all under one `webhook-id`."""
    endpoint = await subscriptions.create(receiver.url, due=1)
    receiver.answer = lambda _: web.Response(status=500 if len(receiver.requests) < 3 else 200)
    tallies = await drain_until_done(ledger, sender, endpoint)
    assert sum(tally.failed_attempts for tally in tallies) == 2
    assert list(receiver.ids.values()) == [3]
    assert await statuses(pool) == {("DELIVERED", 3): 1}
    assert [row["http_status"] for row in await attempts(pool)] == [500, 500, 200]
    assert not (await subscriptions.endpoint(endpoint.subscription_id)).failing


async def test_attempts_end_with_the_policy(
    pool: Pool, ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """After the policy's last attempt a delivery is FAILED, keeps its error, and is never sent again."""
    endpoint = await subscriptions.create(receiver.url, due=2)
    receiver.answer = lambda _: web.Response(status=503)
    tallies = await drain_until_done(ledger, sender, endpoint)
    assert sum(tally.dead for tally in tallies) == 2
    assert list(receiver.ids.values()) == [5, 5]
    assert await statuses(pool) == {("FAILED", 5): 2}
    assert await pool.fetchval("SELECT DISTINCT last_error FROM webhook_deliveries") == "HTTP 503"
    assert (await subscriptions.endpoint(endpoint.subscription_id)).failing


def test_delays_grow_to_the_cap() -> None:
    """Delays are exponential from the first, up to the longest."""
    policy = RetryPolicy(max_attempts=100, first_delay_s=1, delay_coefficient=2, max_delay_s=10)
    assert [policy.delay_s(attempts) for attempts in (1, 2, 3, 4, 5, 99)] == [1, 2, 4, 8, 10, 10]


async def test_delay_is_kept(
    pool: Pool, ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """A failed delivery isn't due before its delay is over."""
    policy = RetryPolicy(max_attempts=5, first_delay_s=60, delay_coefficient=2, max_delay_s=600)
    endpoint = await subscriptions.create(receiver.url, due=1, retry=policy)
    receiver.answer = lambda _: web.Response(status=500)
    assert (await drain(ledger, sender, endpoint)).failed_attempts == 1
    assert (await drain(ledger, sender, endpoint)).failed_attempts == 0
    due_in_s = await ledger.next_due_in_s(endpoint.subscription_id)
    assert due_in_s is not None
    assert 50 < due_in_s <= 60


async def test_gone_disables(
    pool: Pool, ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """410 Gone fails that delivery at once and disables the subscription; the other deliveries stay pending."""
    endpoint = await subscriptions.create(receiver.url, due=3)
    receiver.answer = lambda _: web.Response(status=410)
    tally = await drain(ledger, sender, endpoint)
    assert tally.disabled
    assert len(receiver.requests) == 1
    assert await statuses(pool) == {("FAILED", 1): 1, ("PENDING", 0): 2}
    assert (await subscriptions.endpoint(endpoint.subscription_id)).disabled


async def test_event_without_body_fails_alone(
    pool: Pool, ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """An event without a stored body fails at once, and the others are delivered."""
    endpoint = await subscriptions.create(receiver.url, due=3)
    await pool.execute("UPDATE events SET body = NULL WHERE event_id = (SELECT event_id FROM events LIMIT 1)")
    tally = await drain(ledger, sender, endpoint)
    assert (tally.delivered, tally.dead) == (2, 1)
    assert await pool.fetchval("SELECT last_error FROM webhook_deliveries WHERE status = 'FAILED'") == "NO_BODY"


async def test_drain_again_after_the_end_changes_nothing(
    pool: Pool, ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """A second run over a drained subscription sends nothing."""
    endpoint = await subscriptions.create(receiver.url, due=20)
    await drain(ledger, sender, endpoint)
    assert await drain(ledger, sender, endpoint) == Tally()
    assert len(receiver.requests) == 20


async def test_cancelled_drain_records_what_was_answered(
    pool: Pool, ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """A drain cancelled half-way has recorded the answered ones; the next sends the open ones again, and only those."""
    endpoint = await subscriptions.create(receiver.url, due=40)

    async def hang_after_25(_: web.Request) -> web.Response:
        if len(receiver.requests) > 25:
            await receiver.release.wait()
        return web.Response(status=204)

    receiver.answer = hang_after_25
    first = asyncio.create_task(drain(ledger, sender, endpoint))
    await receiver.came(30)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    recorded = (await statuses(pool))["DELIVERED", 1]
    assert recorded == 25
    receiver.release.set()
    await drain(ledger, sender, endpoint)
    assert await statuses(pool) == {("DELIVERED", 1): 40}
    assert Counter(receiver.ids.values())[1] >= 25
    assert max(receiver.ids.values()) == 2


async def test_crash_before_recording_sends_again(
    pool: Pool, ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """Where the record was lost the delivery is sent again under the same id, and counts one attempt."""
    endpoint = await subscriptions.create(receiver.url, due=10)

    class Broken(WebhookLedger):
        async def record_attempts(self, *_: Any) -> None:
            raise OSError("the database is gone")

    with pytest.raises(OSError, match="gone"):
        await drain(Broken(pool), sender, endpoint)
    assert await statuses(pool) == {("PENDING", 0): 10}
    await drain(ledger, sender, endpoint)
    assert await statuses(pool) == {("DELIVERED", 1): 10}
    assert max(receiver.ids.values()) == 2


async def test_two_copies_at_once_lose_and_double_nothing(
    pool: Pool, ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """Two copies at once, failing now and then, deliver everything; an attempt number counts once."""
    endpoint = await subscriptions.create(receiver.url, due=150)
    receiver.answer = lambda _: web.Response(status=500 if len(receiver.requests) % 3 == 0 else 204)
    async with asyncio.timeout(30):
        while await ledger.next_due_in_s(endpoint.subscription_id) is not None:
            await asyncio.gather(*(drain(ledger, sender, endpoint) for _ in range(2)))
    states = await statuses(pool)
    assert sum(states.values()) == 150
    assert all(status == "DELIVERED" or tried == 5 for status, tried in states)
    logged = await attempts(pool)
    assert len(logged) == len(receiver.requests)
    # A copy may have made one more attempt before it heard of the other's success: logged, but nothing to count.
    highest = {row["event_id"]: row["attempt_no"] for row in logged}
    counted = await pool.fetch("SELECT event_id, attempts FROM webhook_deliveries")
    assert all(1 <= row["attempts"] <= highest[row["event_id"]] for row in counted)


async def test_free_places_are_fed_while_slow_ones_are_open(
    ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """One slow request holds up nothing: all others, and those that become due meanwhile, are sent beside it."""
    endpoint = await subscriptions.create(receiver.url, due=30)

    async def fifth_is_slow(_: web.Request) -> web.Response:
        if len(receiver.requests) == 5:
            await receiver.release.wait()
        return web.Response(status=204)

    receiver.answer = fifth_is_slow
    running = asyncio.create_task(drain(ledger, sender, endpoint, LIMITS._replace(feed_s=60)))
    await receiver.came(30)
    await subscriptions.add_due(endpoint.subscription_id, 3)
    await receiver.came(33)
    receiver.release.set()
    assert (await running).delivered == 33


async def test_no_new_request_after_the_feeding_time(
    ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """After the feeding time nothing new is taken, and the drain ends with its open requests."""
    endpoint = await subscriptions.create(receiver.url, due=100)
    now = [0.0]

    def answer(_: web.Request) -> web.Response:
        now[0] += 0.1
        return web.Response(status=204)

    receiver.answer = answer
    tally = await Drain(ledger, sender, endpoint, limits=LIMITS, stopping=lambda: False, clock=lambda: now[0]).run()
    assert 20 <= tally.delivered < 60
    assert tally.delivered == len(receiver.requests)


async def test_stopping_worker_takes_nothing_new(
    ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """A worker that stops ends its drains after the open requests, recorded."""
    endpoint = await subscriptions.create(receiver.url, due=50)
    tally = await Drain(ledger, sender, endpoint, limits=LIMITS, stopping=lambda: len(receiver.requests) >= 10).run()
    assert 10 <= tally.delivered < 50
    assert await drain(ledger, sender, endpoint) == Tally(delivered=50 - tally.delivered)


async def test_failing_endpoint_gets_one_request_at_a_time(
    ledger: WebhookLedger, sender: Sender, receiver: Receiver, subscriptions: Subscriptions
) -> None:
    """An endpoint that only fails never has two requests open, and its drain gives up after a number of them."""
    endpoint = await subscriptions.create(receiver.url, due=100)
    receiver.answer = lambda _: web.Response(status=500)
    tally = await drain(ledger, sender, endpoint, LIMITS._replace(most_failures_in_row=20))
    assert receiver.most_open == 1
    assert tally == Tally(failed_attempts=20, gave_up=True)


def test_window_opens_with_successes_and_closes_with_a_failure() -> None:
    """The window grows by one with each success up to its limit; one failure brings it back to one."""
    window = Window(most=3)
    sizes = []
    for good in (True, True, True, False, True):
        window.succeeded() if good else window.failed()
        sizes.append(window.size)
    assert sizes == [2, 3, 3, 1, 2]
    assert replace(window).failures_in_row == 0
