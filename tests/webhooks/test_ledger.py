"""The ledger's webhook tables on real Postgres: filters, idempotent records, invariants, and every statement."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from ledger.pool import Pool
from ledger.queries import load
from ledger.webhooks import NewSubscription, WebhookLedger
from tests.webhooks.conftest import QUICK, SECRET, Subscriptions
from workflows.interface.codes import DeliveryStatus
from workflows.interface.deliveries import Attempt, AttemptError, PageMark, RetryPolicy

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "http://127.0.0.1:9/hooks"


def failed(event_id: UUID, attempt_no: int, status: DeliveryStatus = DeliveryStatus.PENDING) -> Attempt:
    """A failed attempt; the next is due in a minute."""
    when = NOW + timedelta(seconds=attempt_no)
    return Attempt(event_id, attempt_no, status, 60.0, when, 12, 500, AttemptError.HTTP_STATUS, "no")


def succeeded(event_id: UUID, attempt_no: int) -> Attempt:
    """An attempt that delivered, made by another copy."""
    when = NOW + timedelta(seconds=attempt_no, milliseconds=1)
    return Attempt(event_id, attempt_no, DeliveryStatus.DELIVERED, 0.0, when, 3, 204, None, "")


async def one_delivery(pool: Pool) -> Any:
    return await pool.fetchrow("SELECT * FROM webhook_deliveries")


async def write_transfer(pool: Pool, from_user_id: str) -> UUID:
    transfer_id = uuid4()
    await pool.execute(
        "INSERT INTO ticket_transfers"
        " (transfer_id, ticket_id, from_user_id, settlement, status, failure_code, ended_at)"
        " VALUES ($1, '7', $2, 'batched', 'FAILED', 'UNKNOWN_TICKET', now())",
        transfer_id,
        from_user_id,
    )
    return transfer_id


@pytest.mark.parametrize("name", sorted(load("webhooks")))
async def test_statement_prepares(pool: Pool, name: str) -> None:
    """Every named statement prepares against the real schema."""
    async with pool.acquire() as connection:
        await connection.prepare(load("webhooks")[name])


async def test_events_reach_those_who_want_them(pool: Pool, subscriptions: Subscriptions) -> None:
    """An event goes to active subscriptions that name its type, its family or all, of its sender or of everybody."""
    wanted = [
        await subscriptions.create(URL, event_types=("transfer.failed",)),
        await subscriptions.create(URL, event_types=("batch.completed", "transfer.*")),
        await subscriptions.create(URL, user_id="seller"),
    ]
    await subscriptions.create(URL, user_id="somebody else")
    await subscriptions.create(URL, event_types=("batch.*", "transfer.completed"))
    disabled = await subscriptions.create(URL)
    await WebhookLedger(pool).disable_subscription(disabled.subscription_id, "test")
    transfer_id = await write_transfer(pool, "seller")
    rows = await pool.fetch("SELECT emit_transfer_events($1::uuid[], 'transfer.failed')", [transfer_id])
    assert {row[0] for row in rows} == {endpoint.subscription_id for endpoint in wanted}
    delivered = await pool.fetch("SELECT subscription_id FROM webhook_deliveries")
    assert {row[0] for row in delivered} == {endpoint.subscription_id for endpoint in wanted}


async def test_due_pages_follow_each_other(ledger: WebhookLedger, pool: Pool, subscriptions: Subscriptions) -> None:
    """Pages are in order of the due time and together hold every due delivery once, equal times included."""
    endpoint = await subscriptions.create(URL, due=25)
    await subscriptions.create(URL, due=5)
    seen: list[UUID] = []
    mark: PageMark | None = None
    while page := await ledger.due_page(endpoint.subscription_id, mark, 10):
        assert all(row.body is not None for row in page)
        seen += [row.event_id for row in page]
        mark = PageMark(page[-1].due_at, page[-1].event_id)
    assert len(seen) == len(set(seen)) == 25


async def test_recording_twice_changes_nothing(ledger: WebhookLedger, pool: Pool, subscriptions: Subscriptions) -> None:
    """The same attempt recorded again (the first answer was lost) neither counts nor is logged twice."""
    endpoint = await subscriptions.create(URL, due=1)
    event_id = (await one_delivery(pool))["event_id"]
    for _ in range(2):
        await ledger.record_attempts(endpoint.subscription_id, [failed(event_id, 1)])
    row = await one_delivery(pool)
    assert (row["status"], row["attempts"], row["last_error"]) == ("PENDING", 1, "HTTP 500")
    assert await pool.fetchval("SELECT count(*) FROM webhook_attempts") == 1


async def test_success_counts_whenever_it_comes(
    ledger: WebhookLedger, pool: Pool, subscriptions: Subscriptions
) -> None:
    """A success of one copy wins over the other's failure, also when that was the last attempt; never the reverse."""
    endpoint = await subscriptions.create(URL, due=1, retry=QUICK._replace(max_attempts=1))
    event_id = (await one_delivery(pool))["event_id"]
    await ledger.record_attempts(endpoint.subscription_id, [failed(event_id, 1, DeliveryStatus.FAILED)])
    assert (await one_delivery(pool))["status"] == "FAILED"
    await ledger.record_attempts(endpoint.subscription_id, [succeeded(event_id, 1)])
    await ledger.record_attempts(endpoint.subscription_id, [failed(event_id, 2, DeliveryStatus.FAILED)])
    row = await one_delivery(pool)
    assert (row["status"], row["attempts"], row["last_error"]) == ("DELIVERED", 1, None)
    assert await pool.fetchval("SELECT count(*) FROM webhook_attempts") == 3


async def test_last_attempt_decides_whether_an_endpoint_fails(
    ledger: WebhookLedger, pool: Pool, subscriptions: Subscriptions
) -> None:
    """`failing_since` is set with a failed last attempt, keeps its time over more failures, and goes with a success."""
    endpoint = await subscriptions.create(URL, due=2)
    ids = [row[0] for row in await pool.fetch("SELECT event_id FROM webhook_deliveries")]
    await ledger.record_attempts(endpoint.subscription_id, [succeeded(ids[0], 1), failed(ids[1], 1)])
    since = await pool.fetchval("SELECT failing_since FROM webhook_subscriptions")
    await ledger.record_attempts(endpoint.subscription_id, [failed(ids[1], 2)])
    assert since is not None
    assert await pool.fetchval("SELECT failing_since FROM webhook_subscriptions") == since
    await ledger.record_attempts(endpoint.subscription_id, [failed(ids[1], 3), succeeded(ids[1], 4)])
    assert await pool.fetchval("SELECT failing_since FROM webhook_subscriptions") is None


async def test_due_subscriptions_are_found(ledger: WebhookLedger, pool: Pool, subscriptions: Subscriptions) -> None:
    """The sweep sees subscriptions with due deliveries: not those with later ones, none, or disabled ones."""
    due = await subscriptions.create(URL, due=3)
    await subscriptions.create(URL)
    later = await subscriptions.create(URL, due=1)
    await pool.execute(
        "UPDATE webhook_deliveries SET next_attempt_at = now() + interval '1 hour' WHERE subscription_id = $1",
        later.subscription_id,
    )
    disabled = await subscriptions.create(URL, due=1)
    await ledger.disable_subscription(disabled.subscription_id, "test")
    assert await ledger.due_subscriptions() == [due.subscription_id]


async def test_disabling_keeps_the_first_reason(ledger: WebhookLedger, subscriptions: Subscriptions) -> None:
    """Disabling again changes nothing, and a disabled subscription is listed only if asked for."""
    endpoint = await subscriptions.create(URL, due=2)
    assert await ledger.disable_subscription(endpoint.subscription_id, "first")
    assert not await ledger.disable_subscription(endpoint.subscription_id, "second")
    assert not await ledger.disable_subscription(uuid4(), "unknown")
    assert await ledger.list_subscriptions(with_disabled=False) == []
    listed = (await ledger.list_subscriptions(with_disabled=True))[0]
    assert (listed.disabled_reason, listed.pending) == ("first", 2)


@pytest.mark.parametrize(
    "bad",
    [
        NewSubscription(URL, b"short", None, ("*",), QUICK),
        NewSubscription("", SECRET, None, ("*",), QUICK),
        NewSubscription(URL, SECRET, "", ("*",), QUICK),
        NewSubscription(URL, SECRET, None, (), QUICK),
        NewSubscription(URL, SECRET, None, ("*",), RetryPolicy(0)),
        NewSubscription(URL, SECRET, None, ("*",), RetryPolicy(5, float("nan"), 2, 10)),
        NewSubscription(URL, SECRET, None, ("*",), RetryPolicy(5, 10, 2, 1)),
        NewSubscription(URL, SECRET, None, ("*",), RetryPolicy(5, 1, 0.5, 10)),
    ],
)
async def test_schema_refuses_bad_subscriptions(ledger: WebhookLedger, bad: NewSubscription) -> None:
    """The schema refuses a short secret, no URL, an empty user, no event types, and impossible retry policies."""
    with pytest.raises(asyncpg.CheckViolationError):
        await ledger.create_subscription(bad)


async def test_secret_is_not_in_reprs(subscriptions: Subscriptions) -> None:
    """A secret doesn't show where a row is printed."""
    endpoint = await subscriptions.create(URL)
    assert repr(SECRET) not in repr(endpoint)
    assert repr(SECRET) not in repr(NewSubscription(URL, SECRET, None, ("*",), QUICK))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE webhook_deliveries SET status = 'DELIVERED'",
        "UPDATE webhook_deliveries SET next_attempt_at = NULL",
        "UPDATE webhook_deliveries SET attempts = -1",
        "UPDATE webhook_subscriptions SET disabled_at = now()",
    ],
)
async def test_schema_refuses_impossible_states(pool: Pool, subscriptions: Subscriptions, change: str) -> None:
    """A pending delivery has a due time, an ended one none and an end; a disabled subscription has a reason."""
    await subscriptions.create(URL, due=1)
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(change)
