"""Every condition opens one alert, isn't told twice, and closes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.service import RPCError, RPCStatusCode

from ledger.queries import load
from tests.alerts.conftest import World
from workflows.interface.alerts import ScheduleState
from workflows.interface.codes import AlertKind

LANE = "lane/31337/0x" + "11" * 20
FAILED_DELIVERY = (
    "INSERT INTO webhook_deliveries (subscription_id, event_id, status, attempts, next_attempt_at, last_error,"
    " ended_at) SELECT subscription_id, gen_random_uuid(), 'FAILED', 5, NULL, 'TIMEOUT', now()"
    " FROM webhook_subscriptions"
)


async def add_lane(world: World) -> None:
    await world.pool.execute(
        "INSERT INTO chain_lanes (chain_id, signer, next_nonce, max_in_flight)"
        " VALUES (31337, decode(repeat('11', 20), 'hex'), 8, 16)"
    )


async def add_endpoint(world: World) -> None:
    await world.pool.execute(
        "INSERT INTO webhook_subscriptions (url, secret, event_types) VALUES ('http://a.test/', sha256('k'), '{*}')"
    )


async def deep(world: World) -> None:
    world.queues[0] = world.queues[0]._replace(depth=99_999)


async def old(world: World) -> None:
    world.queues[0] = world.queues[0]._replace(depth=1, oldest_age_s=9_999.0)


async def unserved(world: World) -> None:
    world.queues[0] = world.queues[0]._replace(last_poll_age_s=None)


async def served(world: World) -> None:
    world.queues[0] = world.queues[0]._replace(depth=0, oldest_age_s=0.0, last_poll_age_s=1.0)


async def unscheduled(world: World) -> None:
    world.schedules[0] = ScheduleState(world.schedules[0].schedule_id, exists=False)


async def scheduled(world: World) -> None:
    world.schedules[0] = ScheduleState(world.schedules[0].schedule_id, interval_s=60)


async def failing(world: World) -> None:
    await add_endpoint(world)
    await world.pool.execute(FAILED_DELIVERY)
    await world.pool.execute(FAILED_DELIVERY)


async def failed_long_ago(world: World) -> None:
    await world.pool.execute("UPDATE webhook_deliveries SET ended_at = ended_at - interval '1 hour'")


async def buried(world: World) -> None:
    await world.pool.execute(
        "INSERT INTO dead_letters (kind, job, code, reason, attempts, first_failed_at, payload_ref)"
        " VALUES ('job', 'a', 'DEFECT', 'x', 1, now(), 'run'), ('job', 'b', 'DEFECT', 'x', 1, now(), 'run')"
    )


async def discarded(world: World) -> None:
    await world.pool.execute("UPDATE dead_letters SET status = 'DISCARDED', closed_at = now(), closed_by = 'ops'")


async def poor(world: World) -> None:
    await add_lane(world)
    world.balance_wei = 1


async def rich(world: World) -> None:
    world.balance_wei = 10**18


async def stuck(world: World) -> None:
    await add_lane(world)
    await world.pool.execute(
        "INSERT INTO chain_transactions (chain_id, signer, nonce, settlement, gas_limit, bound_at)"
        " SELECT chain_id, signer, 7, 'single', 21000, now() - interval '10 min' FROM chain_lanes"
    )


async def settled(world: World) -> None:
    await world.pool.execute(
        "UPDATE chain_transactions SET final_tx_hash = sha256('a'), final_block_number = 1,"
        " final_block_hash = sha256('b'), succeeded = true, gas_used = 1, fee_wei = 1, settled_at = now()"
    )


async def disabled(world: World) -> None:
    await add_endpoint(world)
    await world.pool.execute("UPDATE webhook_subscriptions SET disabled_at = now(), disabled_reason = 'gone'")


async def enabled(world: World) -> None:
    await world.pool.execute("UPDATE webhook_subscriptions SET disabled_at = NULL, disabled_reason = NULL")


async def unmeasured(world: World) -> None:
    world.fault = RPCError("away", RPCStatusCode.UNAVAILABLE, b"")


async def measured(world: World) -> None:
    world.fault = None


Change = Callable[[World], Awaitable[None]]


@pytest.mark.parametrize(
    ("begin", "end", "kind", "subject"),
    [
        (deep, served, AlertKind.QUEUE_DEPTH, "transfers"),
        (old, served, AlertKind.QUEUE_AGE, "transfers"),
        (unserved, served, AlertKind.NO_WORKER, "transfers"),
        (unscheduled, scheduled, AlertKind.SCHEDULE_MISSED, "expire-transfers"),
        (failing, failed_long_ago, AlertKind.FAILURE_RATE, "delivery"),
        (buried, discarded, AlertKind.DEAD_LETTERS, "job"),
        (poor, rich, AlertKind.SIGNER_BALANCE, LANE),
        (stuck, settled, AlertKind.LANE_STUCK, LANE),
        (disabled, enabled, AlertKind.ENDPOINT_DISABLED, None),
        (unmeasured, measured, AlertKind.NOT_MEASURED, "task queues"),
    ],
)
async def test_a_condition_opens_one_alert_that_closes_by_itself(
    world: World, begin: Change, end: Change, kind: AlertKind, subject: str | None
) -> None:
    """It opens once, later checks only count it, nothing more is told, and the end of the condition closes it."""
    assert (await world.check()).conditions == 0
    await begin(world)
    first = await world.check()
    assert (first.opened, first.open) == (1, 1)
    [(found, about, _)] = await world.alerts()
    assert found == kind
    assert subject in (about, None)
    again = await world.check()
    assert (again.conditions, again.opened, again.open) == (1, 0, 1)
    assert await world.pool.fetchval("SELECT seen FROM alerts") == 2
    assert await world.pool.fetchval("SELECT array_agg(DISTINCT kind) FROM alert_notices") == ["opened"]
    await end(world)
    over = await world.check()
    assert (over.conditions, over.closed, over.open) == (0, 1, 0)
    assert await world.pool.fetchval("SELECT close_message FROM alerts") == "the condition is over"
    assert (await world.check()).closed == 0


async def test_accepted_gifts_count_among_the_failures(world: World) -> None:
    """Also those of a batch, whose items had ended before; an item whose gift was never made counts as the item."""
    await world.pool.execute(
        "INSERT INTO ticket_transfers (transfer_id, batch_id, item_no, kind, ticket_id, from_user_id, settlement,"
        " status, failure_code, accepted_at, ended_at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), 1, 'gift', n::text, 'alice', 'batched',"
        " 'FAILED', 'REVERTED', CASE WHEN n <= 2 THEN now() END, now() FROM generate_series(1, 3) n"
    )
    assert (await world.check()).opened == 1
    [message] = [row[0] for row in await world.pool.fetch("SELECT message FROM alerts WHERE subject = 'transfer'")]
    assert message.startswith("2 of 2 jobs of type transfer")


async def test_two_checks_at_once_open_one(world: World) -> None:
    """Checks that run side by side open one alert and write one message per channel."""
    await unserved(world)
    results = await asyncio.gather(*(world.check() for _ in range(4)))
    assert sum(result.opened for result in results) == 1
    assert await world.alerts() == [("NO_WORKER", "transfers", True)]
    assert await world.pool.fetchval("SELECT count(*) FROM alert_notices") == 3
    assert await world.pool.fetchval("SELECT seen FROM alerts") == 4


async def test_a_check_waits_for_one_that_records(world: World) -> None:
    """Checks take turns, also where no condition's row makes them: else both would tell what a step raised."""
    await world.steps.database._raise_alert(AlertKind.DEFECT, "lane/1", "KeyError")
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with world.pool.acquire() as other, other.transaction():
        await other.execute(load("alerts")["begin_check"])
        check = asyncio.create_task(world.check())
        async with asyncio.timeout(20):
            while not await world.pool.fetchval(waiting):
                await asyncio.sleep(0.01)
        assert await world.pool.fetchval("SELECT count(*) FROM alert_notices") == 0
    assert (await check).opened == 1


async def test_what_could_not_be_measured_stays_open(world: World) -> None:
    """An alert doesn't close because its measurement failed."""
    await unserved(world)
    await world.check()
    await unmeasured(world)
    assert (await world.check()).not_measured == ("task queues",)
    assert ("NO_WORKER", "transfers", True) in await world.alerts()


async def test_an_alert_raised_by_a_step_is_told_and_closes_when_not_met_again(world: World) -> None:
    """It goes the same way, and stays open while it's met again within the time."""
    raise_alert = world.steps.database._raise_alert
    await raise_alert(AlertKind.DEFECT, "batch/1 item 2", "KeyError: 'x'")
    assert (await world.check()).opened == 1
    await world.let_pass(timedelta(minutes=119))
    await raise_alert(AlertKind.DEFECT, "batch/1 item 2", "KeyError: 'y'")
    await world.let_pass(timedelta(minutes=119))
    assert (await world.check()).closed == 0
    await world.let_pass(timedelta(minutes=2))
    assert (await world.check()).closed == 1
    message = await world.pool.fetchval("SELECT close_message FROM alerts")
    assert message.startswith("not met again since 2")


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        (AlertKind.STALE_BATCH, "batch/1"),
        (AlertKind.STALE_TRANSFER, "transfer/1"),
        (AlertKind.DEFECT, "schedule/clean-stale-batches"),
    ],
)
async def test_what_a_jobs_next_run_closes_stays_open_till_then(world: World, kind: AlertKind, subject: str) -> None:
    """A job may run once a day: the silence since its last run doesn't mean that it's mended."""
    await world.steps.database._raise_alert(kind, subject, "still so")
    await world.check()
    await world.let_pass(timedelta(hours=23))
    assert (await world.check()).closed == 0


async def test_a_lanes_condition_closes_within_minutes(world: World) -> None:
    """A lane's refusal is met every few seconds while it lasts, so its silence means its end."""
    await world.steps.database._raise_alert(AlertKind.LANE_CONDITION, LANE, "FUNDS: none")
    await world.check()
    await world.let_pass(timedelta(minutes=11))
    assert (await world.check()).closed == 1


async def test_an_alert_nobody_was_told_of_is_told_before_it_closes(world: World) -> None:
    """Where no check ran for long, what was raised meanwhile is told, and closes at the next check."""
    await world.steps.database._raise_alert(AlertKind.DEFECT, "lane/1", "KeyError")
    await world.let_pass(timedelta(days=1))
    first = await world.check()
    assert (first.opened, first.closed, first.open) == (1, 0, 1)
    assert (await world.check()).closed == 1


async def test_a_paused_batchs_alert_waits_for_a_person(world: World) -> None:
    """An alert of a batch that a defect paused closes once the batch goes on."""
    batch_id = uuid4()
    await world.pool.execute(
        "INSERT INTO batch_transfers (batch_id, from_user_id, settlement, status, run_no)"
        " VALUES ($1, 'a', 'batched', 'PAUSED', 1)",
        batch_id,
    )
    await world.steps.database._raise_alert(AlertKind.REPEATED_DEFECT, f"batch/{batch_id}", "batch paused")
    await world.check()
    await world.let_pass(timedelta(days=1))
    assert (await world.check()).closed == 0
    await world.pool.execute("UPDATE batch_transfers SET status = 'PROCESSING'")
    assert (await world.check()).closed == 1
