"""Submitting, confirming and tending on a real node: run twice, broken off, by two workers at once, in bad luck."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from chain.abi import encode_set_operator
from tests.breaking_pool import BreakingPool
from tests.crew import Crew, fault_of, slice_from
from workflows.interface.batch import LaneWork
from workflows.interface.codes import ErrorCode, Settlement
from workflows.interface.names import lane_workflow_id
from workflows.interface.options import BatchOptions

SIZE = 6


async def check_moved_once(crew: Crew, transactions: int) -> None:
    """Every ticket is where it belongs, moved once, with no nonce open or unused."""
    assert await crew.differences() == []
    row = await crew.books.pool.fetchrow(
        "SELECT count(*), count(settled_at), count(DISTINCT nonce), max(nonce) + 1 FROM chain_transactions"
    )
    assert tuple(row or ()) == (transactions,) * 4
    assert await crew.books.pool.fetchval("SELECT count(*) FROM tickets WHERE owner_user_id <> 'bob'") == 0


async def test_a_slice_is_bound_sent_and_settled(crew: Crew) -> None:
    """Submit binds and broadcasts, confirm waits for a block, and then all agrees with the chain."""
    await crew.world()
    work = slice_from(await crew.batch(SIZE), SIZE)
    submitted = await crew.do(crew.blockchain.submit_transfers, work)
    assert (submitted.left, submitted.stopped) == (0, False)
    assert await fault_of(crew.do(crew.blockchain.confirm_transfers, work)) == ErrorCode.NOT_YET
    await crew.chain.mine()
    confirmed = await crew.do(crew.blockchain.confirm_transfers, work)
    assert (confirmed.counts.completed, confirmed.due_again) == (SIZE, None)
    await check_moved_once(crew, 1)


async def test_steps_run_twice_move_once(crew: Crew) -> None:
    """A second go finds the work done."""
    await crew.world()
    work = slice_from(await crew.batch(SIZE), SIZE)
    for attempt in (1, 2):
        await crew.do(crew.blockchain.submit_transfers, work, attempt=attempt)
    for _ in range(2):
        await crew.confirm(work)
    await check_moved_once(crew, 1)


async def test_two_workers_at_the_same_slice_move_once(crew: Crew) -> None:
    """Both copies end well; each nonce has one set of bytes, and each ticket one move."""
    await crew.world()
    work = slice_from(await crew.batch(40), 40)
    crews = [crew, crew.on(crew.books.pool), crew.on(crew.books.pool)]
    await asyncio.gather(*(one.do(one.blockchain.submit_transfers, work, attempt=n) for n, one in enumerate(crews, 1)))
    await crew.chain.mine()
    results = await asyncio.gather(*(one.do(one.blockchain.confirm_transfers, work) for one in crews))
    assert {result.counts.completed for result in results} == {40}
    assert await crew.books.pool.fetchval("SELECT count(*) FROM chain_attempts WHERE attempt_no > 1") == 0
    await check_moved_once(crew, 1)


async def broken_at(crew: Crew, statement: int, settlement: Settlement) -> bool:
    """A batch whose submitting breaks at the statement and is tried again; False where it never got so far."""
    broken = crew.on(BreakingPool(crew.books.pool, statement).as_pool())
    batch_id = await crew.batch(2)
    if settlement is Settlement.SINGLE:
        await crew.books.pool.execute("UPDATE ticket_transfers SET settlement = 'single' WHERE batch_id = $1", batch_id)
    work = slice_from(batch_id, 2)
    fault = await fault_of(broken.do(broken.blockchain.submit_transfers, work))
    assert fault in (None, ErrorCode.INFRASTRUCTURE)
    if fault:
        await crew.do(crew.blockchain.submit_transfers, work, attempt=2)
    await broken.waker.close()
    await crew.confirm(work)
    assert await crew.books.statuses(batch_id) == "CC"
    return fault is not None


@pytest.mark.parametrize("settlement", Settlement)
async def test_a_submit_broken_off_anywhere_is_finished_by_the_next_go(crew: Crew, settlement: Settlement) -> None:
    """Before the nonce, between nonce and bytes, between bytes and broadcast, after it: nothing is lost or doubled."""
    await crew.world()
    statement = 1
    while await broken_at(crew, statement, settlement):
        statement += 1
    assert statement > 10
    await check_moved_once(crew, statement * (1 if settlement is Settlement.BATCHED else 2))


async def test_a_confirm_broken_off_anywhere_is_finished_by_the_next_go(crew: Crew) -> None:
    """What settling had not committed is settled by the next go, once."""
    await crew.world()
    work = slice_from(await crew.batch(SIZE), SIZE)
    await crew.do(crew.blockchain.submit_transfers, work)
    await crew.chain.mine()
    fault: str | None = ErrorCode.INFRASTRUCTURE
    statement = 0
    while fault:
        statement += 1
        broken = crew.on(BreakingPool(crew.books.pool, statement).as_pool())
        fault = await fault_of(broken.do(broken.blockchain.confirm_transfers, work))
        assert fault in (None, ErrorCode.INFRASTRUCTURE)
    assert statement > 10
    await crew.confirm(work)
    await check_moved_once(crew, 1)
    assert (await crew.books.events())["transfer.completed"] == SIZE


async def test_a_full_lane_takes_the_rest_when_there_is_room(crew: Crew) -> None:
    """Submit says what is left, and not yet where nothing could be bound at all."""
    await crew.world()
    batch_id = await crew.batch(3)
    await crew.books.pool.execute("UPDATE chain_lanes SET max_in_flight = 3")
    await crew.books.pool.execute("UPDATE ticket_transfers SET settlement = 'single'")
    work = slice_from(batch_id, 3)
    assert (await crew.do(crew.blockchain.submit_transfers, work)).left == 1
    assert await fault_of(crew.do(crew.blockchain.submit_transfers, work)) == ErrorCode.NOT_YET
    await crew.confirm(work)
    assert (await crew.do(crew.blockchain.submit_transfers, work)).left == 0
    await crew.confirm(work)
    await check_moved_once(crew, 3)


async def test_a_paused_batch_submits_nothing(crew: Crew) -> None:
    """Submit answers that the batch is stopped, and how much is left."""
    await crew.world()
    batch_id = await crew.batch(SIZE)
    await crew.books.runs.set_paused(batch_id, 1, paused=True)
    result = await crew.do(crew.blockchain.submit_transfers, slice_from(batch_id, SIZE))
    assert (result.stopped, result.left) == (True, SIZE)
    assert await crew.books.pool.fetchval("SELECT count(*) FROM chain_transactions") == 0


@pytest.mark.parametrize("settlement", Settlement)
async def test_what_the_chain_refuses_fails_alone(crew: Crew, settlement: Settlement) -> None:
    """A recipient that takes no tickets, and a ticket that its holder moved elsewhere, fail; the others move."""
    await crew.world()
    refusing = await crew.chain.deploy("test/NotAReceiver")
    numbers = await crew.world_tickets(4)
    lines = [(numbers[0], "bob"), (numbers[1], "0x" + refusing.hex()), (numbers[2], "bob"), (numbers[3], "bob")]
    batch_id = await crew.books.batch(lines, options=BatchOptions(settlement))
    work = slice_from(batch_id, 4)
    await crew.books.creation.create(work)
    await crew.move_away(numbers[2])
    await crew.do(crew.blockchain.submit_transfers, work)
    await crew.confirm(work)
    assert await crew.books.items(batch_id) == {
        1: ("COMPLETED", None),
        2: ("FAILED", "RECIPIENT_REFUSED"),
        3: ("FAILED", "NOT_OWNER_ON_CHAIN"),
        4: ("COMPLETED", None),
    }
    rows = await crew.books.pool.fetch("SELECT error_code FROM failed_blockchain_transfers ORDER BY 1")
    assert [row[0] for row in rows] == ["NOT_OWNER_ON_CHAIN", "RECIPIENT_REFUSED"]


def lane_work(crew: Crew) -> LaneWork:
    return LaneWork(chain_id=crew.lane.chain_id, signer=crew.lane.address)


async def tend(crew: Crew) -> bool:
    """One round; whether nothing is open any more."""
    fault = await fault_of(crew.do(crew.blockchain.tend_lane, lane_work(crew)))
    assert fault in (None, ErrorCode.NOT_YET)
    return fault is None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper takes over at once."""
    monkeypatch.setattr("activities.blockchain.STALE_AFTER", timedelta(0))


@pytest.mark.usefixtures("impatient")
async def test_a_nonce_whose_worker_is_gone_is_sent_and_settled_by_the_keeper(crew: Crew) -> None:
    """Bound, never signed, and its slice never comes back: the lane moves on all the same."""
    await crew.world()
    batch_id = await crew.batch(SIZE)
    await crew.books.bind(slice_from(batch_id, SIZE), per_transaction=3)
    assert not await tend(crew)
    await crew.chain.mine()
    assert not await tend(crew)
    assert await tend(crew)
    assert await crew.books.statuses(batch_id) == "C" * SIZE
    await check_moved_once(crew, 2)


@pytest.mark.usefixtures("impatient")
async def test_what_the_node_dropped_is_sent_again_with_the_same_bytes(crew: Crew) -> None:
    """A node may forget what it had accepted; the nonce keeps its one attempt."""
    await crew.world()
    work = slice_from(await crew.batch(SIZE), SIZE)
    await crew.do(crew.blockchain.submit_transfers, work)
    await crew.chain.rpc.call("anvil_dropAllTransactions")
    await crew.chain.mine()
    assert await fault_of(crew.do(crew.blockchain.confirm_transfers, work)) == ErrorCode.NOT_YET
    assert not await tend(crew)
    await crew.confirm(work)
    assert await crew.books.pool.fetchval("SELECT count(*) FROM chain_attempts") == 1
    await check_moved_once(crew, 1)


@pytest.mark.usefixtures("impatient")
async def test_keeper_and_slice_at_once_settle_once(crew: Crew) -> None:
    """Whoever is quicker: the other finds it done."""
    await crew.world()
    work = slice_from(await crew.batch(SIZE), SIZE)
    await crew.do(crew.blockchain.submit_transfers, work)
    await crew.chain.mine()
    steps = [crew.do(crew.blockchain.confirm_transfers, work) for _ in range(2)]
    results, _, _ = await asyncio.gather(asyncio.gather(*steps), tend(crew), tend(crew))
    assert {result.counts.completed for result in results} == {SIZE}
    await check_moved_once(crew, 1)
    assert (await crew.books.events())["transfer.completed"] == SIZE


async def test_every_binding_wakes_the_lanes_keeper(crew: Crew) -> None:
    """Signal-with-start follows the commit, also in a second go that binds nothing."""
    await crew.world()
    work = slice_from(await crew.batch(SIZE), SIZE)
    keeper = crew.waker_client.get_workflow_handle(lane_workflow_id(crew.lane.chain_id, crew.lane.address))
    for attempt in (1, 2):
        await crew.do(crew.blockchain.submit_transfers, work, attempt=attempt)
        assert (await keeper.describe()).status is not None
        await keeper.terminate()


async def test_a_lane_without_funds_alerts_and_fails_no_item(crew: Crew) -> None:
    """A person must mend it; then the same bytes go out."""
    await crew.world()
    batch_id = await crew.batch(SIZE)
    work = slice_from(batch_id, SIZE)
    await crew.chain.fund(crew.lane.signer, 0)
    await crew.do(crew.blockchain.submit_transfers, work)
    alert = await crew.books.pool.fetchrow("SELECT kind, subject, message FROM alerts")
    assert alert is not None
    assert (alert["kind"], alert["subject"]) == ("LANE_CONDITION", f"lane/{crew.lane.chain_id}/{crew.lane.address}")
    assert alert["message"].startswith("FUNDS")
    assert await crew.books.statuses(batch_id) == "P" * SIZE
    await crew.chain.fund(crew.lane.signer, 10**20)
    await crew.do(crew.blockchain.submit_transfers, work, attempt=2)
    await crew.confirm(work)
    await check_moved_once(crew, 1)


async def test_a_lane_that_lost_its_right_reverts_as_a_whole_and_costs_no_item_a_try(crew: Crew) -> None:
    """The items are to be tried again, in smaller transactions; they aren't to blame."""
    await crew.world()
    batch_id = await crew.batch(SIZE)
    work = slice_from(batch_id, SIZE)
    await crew.chain.transact(crew.chain.router, encode_set_operator(crew.lane.signer, allowed=False))
    await crew.do(crew.blockchain.submit_transfers, work)
    await crew.chain.mine()
    result = await crew.do(crew.blockchain.confirm_transfers, work)
    assert result.due_again is not None
    row = await crew.books.pool.fetchrow(
        "SELECT max(i.tries), max(pack_limit) FROM batch_transfer_items i JOIN ticket_transfers USING (transfer_id)"
    )
    assert tuple(row or ()) == (0, SIZE // 2)
