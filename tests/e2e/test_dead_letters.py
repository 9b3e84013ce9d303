"""Dead letters through all real parts: buried by the worker, replayed by the command, settled on the chain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.books import wallet_of
from tests.e2e.conftest import System
from tests.starter.commands import Transfers

pytestmark = pytest.mark.usefixtures("blocks")
_COMMAND_SETTINGS = ("DATABASE_URL", "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE")


async def test_a_mended_item_is_replayed_and_one_that_is_not_comes_back(system: System, tmp_path: Path) -> None:
    """Replayed by force, the item whose cause was mended moves and mends its batch; the other is a new dead letter."""
    await system.worker.start()
    first, second, third = await system.crew.world_tickets(3)
    batch = await system.start_batch([(first, "bob"), (second, "dora"), (third, "eric")])
    assert (await batch.result())["failed"] == 2
    await system.pool.execute("INSERT INTO wallets VALUES ('dora', $1)", wallet_of("dora"))
    command = Transfers(tmp_path, {name: system.environment[name] for name in _COMMAND_SETTINGS})
    buried = (await command("dead-letters", "list", "--batch", batch.id.removeprefix("batch/"), "--json")).json
    assert [(one["kind"], one["itemNo"], one["code"]) for one in buried] in (
        [("item", 2, "UNKNOWN_USER"), ("item", 3, "UNKNOWN_USER")],
        [("item", 3, "UNKNOWN_USER"), ("item", 2, "UNKNOWN_USER")],
    )
    replayed = await command("dead-letters", "replay", "--all", "--force", "--yes", "--wait", "--by", "olga", "--json")
    assert (replayed.code, replayed.json["replayed"], replayed.json["skipped"]) == (0, 2, 0)
    async with asyncio.timeout(60):
        await system.until("count(*) = 2 FROM batch_transfer_items WHERE status = 'COMPLETED'")
        await system.until("count(*) = 1 FROM dead_letters WHERE status = 'OPEN' AND item_no = 3")
    assert await system.pool.fetchval("SELECT owner_user_id FROM tickets WHERE ticket_id = $1", str(second)) == "dora"
    rows = await system.pool.fetch("SELECT item_no, status::text FROM dead_letters ORDER BY item_no, dead_letter_id")
    assert [tuple(row) for row in rows] == [(2, "REPLAYED"), (3, "REPLAYED"), (3, "OPEN")], json.dumps(buried)
