"""A batch through all real parts, undisturbed and with the worker killed on the way."""

from __future__ import annotations

import base64

import pytest

from ledger.webhooks import NewSubscription, WebhookLedger
from tests.e2e.conftest import System, batch_id_of
from tests.webhooks.receiver import Receiver
from workflows.interface.deliveries import RetryPolicy

pytestmark = pytest.mark.usefixtures("blocks")


async def check_nothing_lost_or_doubled(system: System, moved: int) -> None:
    """Postgres equals the chain, every nonce is settled, and no lane has a gap."""
    assert await system.crew.differences() == []
    count = "SELECT count(*) FROM {} WHERE {}"
    completed = count.format("ticket_transfers", "status = 'COMPLETED'")
    assert await system.pool.fetchval(completed) == moved
    assert await system.pool.fetchval(count.format("chain_transactions", "settled_at IS NULL")) == 0
    lanes = await system.pool.fetch(
        "SELECT l.next_nonce, count(x.nonce), min(x.nonce), max(x.nonce) FROM chain_lanes l"
        " LEFT JOIN chain_transactions x USING (chain_id, signer) GROUP BY l.signer, l.next_nonce"
    )
    for next_nonce, used, first, last in lanes:
        assert used == 0 or (last + 1, last - first + 1) == (next_nonce, used)


async def test_a_batch_with_bad_items_runs_through_all_real_parts(system: System, receiver: Receiver) -> None:
    """Good items move on the chain, bad ones fail with their codes, and the webhooks tell of each."""
    await system.worker.start()
    refusing = "0x" + (await system.crew.chain.deploy("test/NotAReceiver")).hex()
    secret = bytes(range(32))
    subscription = await WebhookLedger(system.pool).create_subscription(
        NewSubscription(
            receiver.url, secret, "alice", ("transfer.completed", "transfer.failed", "batch.*"), RetryPolicy()
        )
    )
    tickets = await system.crew.world_tickets(60)
    await system.crew.move_away(tickets[55])
    bad = [(99_999_999, "bob"), (tickets[51], "nobody"), (tickets[52], "0x12"), (tickets[0], "carol")]
    bad += [(tickets[53], refusing), (tickets[54], "0x" + "0" * 40), (tickets[55], "bob")]
    handle = await system.start_batch([*((n, "bob") for n in tickets[:51]), *bad])
    result = await handle.result()
    assert (result["status"], result["completed"], result["failed"]) == ("COMPLETED_WITH_FAILURES", 51, 7)
    items = await system.crew.books.items(batch_id_of(handle))
    assert [items[n][1] for n in range(52, 59)] == [
        "UNKNOWN_TICKET",
        "UNKNOWN_USER",
        "INVALID_ADDRESS",
        "DUPLICATE_IN_BATCH",
        "RECIPIENT_REFUSED",
        "ZERO_ADDRESS",
        "NOT_OWNER_ON_CHAIN",
    ]
    await receiver.came(59)
    await system.until("NOT EXISTS (SELECT FROM webhook_deliveries WHERE status = 'PENDING')")
    rows = await system.pool.fetch(
        "SELECT event_id::text FROM webhook_deliveries WHERE subscription_id = $1", subscription.subscription_id
    )
    assert dict(receiver.ids) == {row[0]: 1 for row in rows}
    receiver.verify_all("whsec_" + base64.b64encode(secret).decode())
    assert await system.worker.stop() == 0
    differences = await system.crew.differences()
    # The ticket that its holder moved elsewhere is the one difference, and not ours.
    assert {line.split(":")[0] for line in differences} == {f"ticket {tickets[55]}"}


KILL_POINTS = {
    "once the batch is written": "EXISTS (SELECT FROM batch_transfer_items)",
    "between nonce and send": "EXISTS (SELECT FROM chain_bindings)",
    "once bytes are stored": "EXISTS (SELECT FROM chain_attempts)",
    "once the first items are moved": "EXISTS (SELECT FROM chain_outcomes)",
    "in the middle": "(SELECT count(*) > 60 FROM chain_outcomes)",
}


@pytest.mark.parametrize("settlement", ["batched", "single"])
async def test_a_worker_killed_again_and_again_loses_and_doubles_nothing(system: System, settlement: str) -> None:
    """SIGKILL at five points of one batch: it ends as if nothing had happened."""
    tickets = await system.crew.world_tickets(120)
    handle = await system.start_batch([(n, "bob") for n in tickets], settlement=settlement)
    for condition in KILL_POINTS.values():
        await system.worker.start()
        await system.until(condition)
        await system.worker.kill()
    await system.worker.start()
    result = await handle.result()
    assert (result["status"], result["completed"]) == ("COMPLETED", 120)
    await check_nothing_lost_or_doubled(system, 120)
    assert await system.pool.fetchval("SELECT count(*) FROM events WHERE type = 'batch.completed'") == 1
    assert await system.pool.fetchval("SELECT count(*) FROM events WHERE type = 'transfer.completed'") == 120


async def test_a_batch_cancelled_on_its_way_ends_with_every_ticket_accounted_for(system: System) -> None:
    """What was bound moves, the rest stays with its sender and is free again."""
    await system.worker.start()
    tickets = await system.crew.world_tickets(200)
    handle = await system.start_batch([(n, "bob") for n in tickets])
    await system.until("EXISTS (SELECT FROM chain_bindings)")
    await handle.signal("cancel-batch", {"reason": "sold out"})
    result = await handle.result()
    assert result["status"] == "CANCELLED"
    assert result["completed"] + result["cancelled"] == 200
    await check_nothing_lost_or_doubled(system, result["completed"])
    again = await system.start_batch([(n, "carol") for n in tickets])
    assert (await again.result())["completed"] == result["cancelled"]
    assert await system.crew.differences() == []
