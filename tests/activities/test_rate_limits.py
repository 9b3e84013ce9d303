"""Rate limits as the steps meet them: they do what tokens there are for, and the rest is not yet."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from temporalio.exceptions import ApplicationError

from activities.chain_limits import ChainLimits
from activities.rate_gate import KNOWN_FOR_S, LATEST_S, RateGate, RateLimitedError
from chain.rpc import Call, JsonRpc
from ledger.pool import Pool
from ledger.rate_limits import RateLimit, RateLimits
from tests.books import SENDER
from tests.crew import Crew, fault_of, slice_from
from tests.rate_buckets import fill, level
from tests.real_chain import RealChain
from workflows.interface.batch import LaneWork, Slice
from workflows.interface.codes import ErrorCode
from workflows.interface.rates import RateName
from workflows.interface.transfer import OpenTransfer, TransferInput, TransferWork

SIZE = 6
TRANSFERS, TRANSACTIONS, RPC = RateName.TRANSFERS, RateName.CHAIN_TRANSACTIONS, RateName.CHAIN_RPC


class CountedLimits(RateLimits):
    """Counts how often the limits are read."""

    reads = 0

    async def limits(self) -> list[RateLimit]:
        self.reads += 1
        return await super().limits()


async def limit(pool: Pool, name: RateName, rate: float, tokens: float) -> None:
    """Sets a limit with so many tokens in its bucket."""
    await RateLimits(pool).set_limit(name, rate, "test")
    await fill(pool, name, tokens)


async def singly(crew: Crew) -> Slice:
    """A batch with a chain transaction for each item, ready to be submitted."""
    batch_id = await crew.batch(SIZE)
    await crew.books.pool.execute("UPDATE ticket_transfers SET settlement = 'single'")
    return slice_from(batch_id, SIZE)


async def count(crew: Crew, what: str) -> int:
    found: int = await crew.books.pool.fetchval(f"SELECT count({what}) FROM chain_transactions")
    return found


async def test_which_limits_there_are_is_read_once_a_second(pool: Pool) -> None:
    """Steps without a limit ask the database nothing; one that was set a second ago is known."""
    now = 0.0
    limits = CountedLimits(pool)
    gate = RateGate(limits, clock=lambda: now)
    assert await asyncio.gather(*(gate.take(TRANSFERS, 700) for _ in range(20))) == [700] * 20
    await limits.set_limit(TRANSFERS, 5, "test")
    await gate.give_back(TRANSFERS, 5)
    assert limits.reads == 1
    assert await pool.fetchval("SELECT count(*) FROM rate_buckets") == 0
    now = KNOWN_FOR_S
    with pytest.raises(RateLimitedError) as caught:
        await gate.take(TRANSFERS, 700)
    assert caught.value.type == ErrorCode.NOT_YET
    assert caught.value.next_retry_delay
    assert caught.value.next_retry_delay.total_seconds() <= LATEST_S
    assert limits.reads == 2


async def test_a_submit_binds_what_there_are_tokens_for(crew: Crew) -> None:
    """Two of six items are bound and four are left; without tokens it's not yet, and no item is charged a try."""
    await crew.world()
    batch_id = await crew.batch(SIZE)
    work, pool = slice_from(batch_id, SIZE), crew.books.pool
    await limit(pool, TRANSFERS, 2, 2)
    assert (await crew.do(crew.blockchain.submit_transfers, work)).left == 4
    assert await pool.fetchval("SELECT count(*) FROM chain_bindings") == 2
    await fill(pool, TRANSFERS, 0)
    with pytest.raises(ApplicationError, match="rate limit transfers"):
        await crew.do(crew.blockchain.submit_transfers, work)
    await RateLimits(pool).set_limit(TRANSFERS, 1000, "test")
    await fill(pool, TRANSFERS, 1000)
    assert (await crew.do(crew.blockchain.submit_transfers, work)).left == 0
    await crew.confirm(work)
    assert await crew.books.statuses(batch_id) == "C" * SIZE
    assert await pool.fetchval("SELECT sum(tries) FROM batch_transfer_items") == 0
    assert await pool.fetchval("SELECT count(*) FROM alerts") == 0


async def test_chain_transactions_are_limited_by_their_number(crew: Crew) -> None:
    """Of six transactions two are bound; the item tokens of the others are given back."""
    await crew.world()
    work = await singly(crew)
    await limit(crew.books.pool, TRANSFERS, 50, 50)
    await limit(crew.books.pool, TRANSACTIONS, 2, 2)
    assert (await crew.do(crew.blockchain.submit_transfers, work)).left == 4
    assert await count(crew, "*") == 2
    assert await level(crew.books.pool, TRANSFERS) > 47


@pytest.mark.parametrize("obstacle", ["paused", "halted", "no transactions"])
async def test_tokens_that_were_not_used_are_given_back(crew: Crew, obstacle: str) -> None:
    """Where a pause, a lane or another limit keeps items from being bound, their tokens are there again."""
    await crew.world()
    batch_id = await crew.batch(SIZE)
    await limit(crew.books.pool, TRANSFERS, 10, 10)
    if obstacle == "paused":
        await crew.books.runs.set_paused(batch_id, 1, paused=True)
    elif obstacle == "halted":
        await crew.books.pool.execute("UPDATE chain_lanes SET halted_reason = 'test'")
    else:
        await limit(crew.books.pool, TRANSACTIONS, 0.01, 0)
    await fault_of(crew.do(crew.blockchain.submit_transfers, slice_from(batch_id, SIZE)))
    assert await count(crew, "*") == 0
    assert await level(crew.books.pool, TRANSFERS) == 10


async def test_a_single_transfer_overtakes_a_drained_bucket(crew: Crew) -> None:
    """Where a batch gets nothing, a single transfer is bound at once, on the bucket's debt."""
    await crew.world()
    pool, work = crew.books.pool, slice_from(await crew.batch(SIZE), SIZE)
    for name in (TRANSFERS, TRANSACTIONS, RPC):
        await limit(pool, name, 5, -1)
    assert await fault_of(crew.do(crew.blockchain.submit_transfers, work)) == ErrorCode.NOT_YET
    single = await made_single(crew)
    await crew.do(crew.chain_singles.submit_transfer, TransferWork(transfer_id=single))
    assert await count(crew, "*") == 1
    assert await level(pool, TRANSFERS) < 0


async def made_single(crew: Crew) -> UUID:
    ticket, transfer_id = (await crew.world_tickets(1))[0], uuid4()
    fields = {"transfer_id": transfer_id, "from_user_id": SENDER, "ticket_id": str(ticket), "to": "bob"}
    await crew.do(crew.singles.open_transfer, OpenTransfer(request=TransferInput.model_validate(fields)))
    return transfer_id


async def test_calls_beyond_a_grant_are_charged_to_the_next(crew: Crew) -> None:
    """A slow limit affords no submit, so one transfer goes on debt, and the debt is what the node was asked."""
    await crew.world()
    work = await singly(crew)
    await limit(crew.books.pool, RPC, 0.01, 1)
    before = crew.chain.rpc.meter.sent
    assert (await crew.do(crew.blockchain.submit_transfers, work)).left == SIZE - 1
    made = crew.chain.rpc.meter.sent - before
    assert made == 3
    assert await fault_of(crew.do(crew.blockchain.submit_transfers, work)) == ErrorCode.NOT_YET
    assert crew.chain.rpc.meter.sent == before + made
    assert await level(crew.books.pool, RPC) == pytest.approx(1 - made, abs=0.1)


async def test_calls_that_were_not_made_are_given_back(pool: Pool, real_chain: RealChain) -> None:
    """A step that makes five of thirty calls leaves twenty-five to the next; what runs beside it isn't its own."""
    limits, rpc = ChainLimits(RateGate(RateLimits(pool)), real_chain.rpc.meter), real_chain.rpc
    await limit(pool, RPC, 40, 40)
    with limits.calls(urgent=False) as calls:
        assert await calls.take(30) == 30
        await called(rpc, 5)
        await in_another_step(rpc, limits)
    await fill(pool, RPC, 0)
    with limits.calls(urgent=False) as calls:
        assert await calls.take(100) == 25


async def called(rpc: JsonRpc, times: int) -> None:
    await asyncio.create_task(rpc.batch([Call("eth_chainId")] * (times - 1)))
    await rpc.call("eth_chainId")


async def in_another_step(rpc: JsonRpc, limits: ChainLimits) -> None:
    """Calls of a step that no limit was known to."""

    async def step() -> None:
        with limits.calls(urgent=False):
            await called(rpc, 7)

    await asyncio.create_task(step())


async def test_a_limited_confirm_settles_a_part_and_comes_back(crew: Crew) -> None:
    """With calls for two receipts two transactions are settled at a time, and in the end all of them."""
    await crew.world()
    work, pool = await singly(crew), crew.books.pool
    await crew.do(crew.blockchain.submit_transfers, work)
    await crew.chain.mine()
    await RateLimits(pool).set_limit(RPC, 5, "test")
    late = crew.on(pool)
    for settled in (2, 4):
        await fill(pool, RPC, 5 + late.limits.owed)
        assert await fault_of(late.do(late.blockchain.confirm_transfers, work)) == ErrorCode.NOT_YET
        assert await count(crew, "settled_at") == settled
    await RateLimits(pool).clear_limit(RPC)
    await late.do(late.blockchain.confirm_transfers, work)
    assert await count(crew, "settled_at") == SIZE


async def test_a_limited_keeper_tends_a_part(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """With calls for two nonces the keeper sends the two lowest, and asks nothing once its calls are used up."""
    monkeypatch.setattr("activities.blockchain.STALE_AFTER", timedelta(0))
    await crew.world()
    work = await singly(crew)
    await crew.books.bind(work, per_transaction=1)
    keeper = LaneWork(chain_id=crew.lane.chain_id, signer=crew.lane.address)
    await limit(crew.books.pool, RPC, 8, 0)
    assert await fault_of(crew.do(crew.blockchain.tend_lane, keeper)) == ErrorCode.NOT_YET
    assert await crew.books.pool.fetchval("SELECT count(*) FROM chain_attempts") == 2
    await fill(crew.books.pool, RPC, -8)
    before = crew.chain.rpc.meter.sent
    assert await fault_of(crew.do(crew.blockchain.tend_lane, keeper)) == ErrorCode.NOT_YET
    assert crew.chain.rpc.meter.sent == before
