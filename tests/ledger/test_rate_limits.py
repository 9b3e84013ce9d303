"""Token buckets in Postgres: the rate is held by all takers together, whoever they are."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import asyncpg
import pytest

from ledger.pool import Pool, transaction
from ledger.rate_limits import Grant, RateLimits
from tests.rate_buckets import fill, level
from tests.servers import open_pool
from workflows.interface.rates import RateName, endpoint_rate_name

TRANSFERS, RPC = RateName.TRANSFERS.value, RateName.CHAIN_RPC.value
WINDOW_S = 10.0


@pytest.fixture
def limits(pool: Pool) -> RateLimits:
    return RateLimits(pool)


async def taken(limits: RateLimits, begins: float, ends: float) -> int:
    """Takes as a step does, waiting as it's told; tokens granted between the two times of the clock."""
    count = 0
    while time.monotonic() < ends:
        grant = await limits.take(TRANSFERS, 50, least_s=0.1)
        count += grant.tokens if begins <= time.monotonic() < ends else 0
        await asyncio.sleep(grant.wait_s)
    return count


@pytest.mark.parametrize("rate", [37.0, 900.0])
async def test_takers_in_several_pools_hold_the_rate_together(database_url: str, rate: float) -> None:
    """Over ten seconds that follow the first, eight takers of two processes' pools get the rate within 5%."""
    async with await open_pool(database_url) as one, await open_pool(database_url) as other:
        await RateLimits(one).set_limit(TRANSFERS, rate, "test")
        begins = time.monotonic() + 1.0
        takers = [RateLimits(pool) for pool in (one, other) for _ in range(4)]
        counts = await asyncio.gather(*(taken(limits, begins, begins + WINDOW_S) for limits in takers))
    assert sum(counts) == pytest.approx(rate * WINDOW_S, rel=0.05)


async def test_without_a_limit_all_is_granted(limits: RateLimits, pool: Pool) -> None:
    """A bucket nobody limits has no row, and grants what is wanted."""
    assert await limits.take(TRANSFERS, 10**6, charge=7) == Grant(10**6, 0)
    assert await pool.fetchval("SELECT count(*) FROM rate_buckets") == 0


async def test_a_limit_starts_empty_and_fills_to_one_seconds_worth(limits: RateLimits, pool: Pool) -> None:
    """A new limit has nothing to give; after a long rest it gives one second's worth and no more."""
    await limits.set_limit(TRANSFERS, 10, "test")
    fresh = await limits.take(TRANSFERS, 100)
    assert fresh.tokens == 0
    assert 0.05 < fresh.wait_s <= 0.1
    await pool.execute("UPDATE rate_buckets SET refilled_at = refilled_at - interval '1 hour'")
    assert (await limits.take(TRANSFERS, 100)).tokens == 10
    assert (await limits.take(TRANSFERS, 100)).tokens == 0


async def test_a_slow_limit_holds_one_token(limits: RateLimits, pool: Pool) -> None:
    """Below one per second the bucket still comes to a whole token, and to no second one."""
    await limits.set_limit(TRANSFERS, 0.1, "test")
    await fill(pool, TRANSFERS, 0)
    assert (await limits.take(TRANSFERS, 5)).wait_s == pytest.approx(10, abs=0.1)
    await pool.execute("UPDATE rate_buckets SET refilled_at = refilled_at - interval '1 hour'")
    assert (await limits.take(TRANSFERS, 5)).tokens == 1
    assert (await limits.take(TRANSFERS, 5)).tokens == 0


async def test_less_than_a_share_is_granted_only_where_less_is_wanted(limits: RateLimits, pool: Pool) -> None:
    """A taker who wants many waits for a useful number; one who wants two gets two."""
    await limits.set_limit(TRANSFERS, 100, "test")
    await fill(pool, TRANSFERS, 10)
    waiting = await limits.take(TRANSFERS, 500, least_s=0.25)
    assert waiting.tokens == 0
    assert waiting.wait_s == pytest.approx(0.15, abs=0.03)
    assert (await limits.take(TRANSFERS, 2, least_s=0.25)).tokens == 2


async def test_what_was_used_beyond_a_grant_is_paid_back(limits: RateLimits, pool: Pool) -> None:
    """A charge leaves the bucket in debt, which delays the next grant; what is given back is there again."""
    await limits.set_limit(RPC, 10, "test")
    await fill(pool, RPC, 10)
    assert (await limits.take(RPC, 1, charge=30)).tokens == 0
    assert await level(pool, RPC) == pytest.approx(-20, abs=0.5)
    assert (await limits.take(RPC, 1)).wait_s == pytest.approx(2.1, abs=0.1)
    await limits.take(RPC, 0, charge=-25)
    assert (await limits.take(RPC, 5)).tokens == 5


async def test_a_charge_is_taken_off_a_full_bucket(limits: RateLimits, pool: Pool) -> None:
    """A bucket that has long been full owes what was used all the same."""
    await limits.set_limit(RPC, 10, "test")
    await fill(pool, RPC, 10)
    await pool.execute("UPDATE rate_buckets SET refilled_at = refilled_at - interval '1 hour'")
    assert (await limits.take(RPC, 100, charge=4)).tokens == 6


async def test_the_time_a_taker_waited_for_its_turn_counts(limits: RateLimits, pool: Pool) -> None:
    """A bucket is filled up to the moment its row is held, not up to when the taker began to wait for it."""
    await limits.set_limit(RPC, 10, "test")
    await fill(pool, RPC, 0)
    async with transaction(pool) as other:
        await other.execute("SELECT FROM rate_buckets FOR UPDATE")
        waiting = asyncio.create_task(limits.take(RPC, 100))
        while not await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
    assert (await waiting).tokens >= 5


async def test_giving_back_never_fills_beyond_one_seconds_worth(limits: RateLimits, pool: Pool) -> None:
    """Tokens that come back to a full bucket are gone."""
    await limits.set_limit(RPC, 10, "test")
    await limits.take(RPC, 0)
    await limits.take(RPC, 0, charge=-1000)
    assert await level(pool, RPC) == 10


async def test_urgent_work_overtakes_on_debt_of_one_seconds_worth(limits: RateLimits, pool: Pool) -> None:
    """A drained bucket still serves what is urgent, until it owes a second's worth."""
    await limits.set_limit(TRANSFERS, 10, "test")
    await fill(pool, TRANSFERS, 0)
    granted = [(await limits.take(TRANSFERS, 1, urgent=urgent)).tokens for urgent in [False] + [True] * 12]
    assert granted[0] == 0
    assert 10 <= sum(granted) <= 11
    assert granted[-1] == 0
    assert await level(pool, TRANSFERS) >= -10


async def test_a_changed_limit_holds_at_once(limits: RateLimits, pool: Pool) -> None:
    """The next take goes by the new rate, from an empty bucket, whatever was saved or owed."""
    await limits.set_limit(TRANSFERS, 10, "test")
    await fill(pool, TRANSFERS, -500)
    await limits.set_limit(TRANSFERS, 1000, "somebody")
    grant = await limits.take(TRANSFERS, 5000, least_s=0.25)
    assert grant.tokens == 0
    assert grant.wait_s <= 0.25
    assert [limit[:2] + limit[3:] for limit in await limits.limits()] == [(TRANSFERS, 1000.0, "somebody")]
    assert await limits.clear_limit(TRANSFERS)
    assert not await limits.clear_limit(TRANSFERS)
    assert (await limits.take(TRANSFERS, 5000)).tokens == 5000


async def test_each_endpoint_has_a_bucket_under_the_default(limits: RateLimits, pool: Pool) -> None:
    """One endpoint's requests take nothing from another's, and a limit of its own goes before the default."""
    default, (one, other) = RateName.WEBHOOKS.value, (endpoint_rate_name(uuid4()) for _ in range(2))
    await limits.set_limit(default, 4, "test")
    await pool.execute("UPDATE rate_limits SET changed_at = changed_at - interval '1 hour'")
    assert [(await limits.take(one, 9, default_limit=default)).tokens for _ in range(2)] == [4, 0]
    assert (await limits.take(other, 9, default_limit=default)).tokens == 4
    await limits.set_limit(one, 1000, "test")
    await fill(pool, one, 500)
    assert (await limits.take(one, 300, default_limit=default)).tokens == 300
    await fill(pool, other, -90)
    await limits.set_limit(default, 8, "test")
    assert await level(pool, other) == 0
    assert await level(pool, one) > 100


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 0.0001, 2e6])
async def test_the_schema_refuses_a_rate_that_cant_be_held(limits: RateLimits, rate: float) -> None:
    """No program can set a rate that is zero, negative, infinite or no number."""
    with pytest.raises(asyncpg.CheckViolationError, match="usable_rate"):
        await limits.set_limit(TRANSFERS, rate, "test")


@pytest.mark.parametrize("name", ["", "transfer", "webhooks/", "webhooks/1", "chain-rpc/0"])
async def test_the_schema_refuses_an_unknown_name(limits: RateLimits, name: str) -> None:
    """A limit that nothing asks for can't be set."""
    with pytest.raises(asyncpg.CheckViolationError, match="known_rate_limit"):
        await limits.set_limit(name, 5, "test")
