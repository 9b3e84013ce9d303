"""Statements over a slice: the pair of each, and what the one for items that had a try reads of a wide range."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from ledger.queries import load
from ledger.ranges import over_range
from tests.books import Books, slice_of

BATCH = UUID(int=1)
SIZE, WAITING = 2_000, (700, 1_400)
WHOLE, AGAIN = slice_of(BATCH, 1, SIZE), slice_of(BATCH, 1, SIZE, retries_only=True)
STATEMENTS: Mapping[str, str] = {**load("transfers"), **load("chain")}
PAIRS = sorted(name.removesuffix("_retried") for name in STATEMENTS if name.endswith("_retried"))


def test_a_slice_of_retries_has_statements_of_its_own() -> None:
    """Every statement over a slice is a pair."""
    assert PAIRS == ["due_again", "items_to_create", "open_transactions_of_items", "transfers_to_bind"]
    for name in PAIRS:
        assert over_range(STATEMENTS, name, WHOLE) == (STATEMENTS[name], BATCH, 1, SIZE)
        assert over_range(STATEMENTS, name, AGAIN) == (STATEMENTS[f"{name}_retried"], BATCH, 1, SIZE)


@pytest.mark.parametrize("name", PAIRS)
def test_the_two_of_a_pair_differ_in_nothing_but_the_items(name: str) -> None:
    """What is changed in one of them is changed in the other."""
    plain, retried = STATEMENTS[name], STATEMENTS[f"{name}_retried"]
    assert retried.count(" AND i.next_try_at IS NOT NULL") == 1
    assert retried.replace(" AND i.next_try_at IS NOT NULL", "") == plain


@pytest.mark.parametrize("name", PAIRS)
async def test_a_kept_plan_reads_the_waiting_items_alone(books: Books, name: str) -> None:
    """Of a wide range in which few items had a try, the plan kept for any arguments reads those few by their index."""
    await books.plain_batch(SIZE, batch_id=BATCH)
    await books.creation.create(WHOLE)
    statement = "UPDATE batch_transfer_items SET next_try_at = now() WHERE item_no = ANY ($1::int[])"
    await books.pool.execute(statement, WAITING)
    await books.pool.execute("VACUUM ANALYZE batch_transfer_items, ticket_transfers")
    [items] = [node for node in await kept_plan(books, f"{name}_retried") if node.get("Alias") == "i"]
    assert items["Index Name"] == "batch_transfer_items_retried"
    assert items["Shared Hit Blocks"] + items["Shared Read Blocks"] < 10


async def kept_plan(books: Books, name: str) -> list[dict[str, Any]]:
    """The nodes of the statement's generic plan, as run over the whole batch."""
    async with books.pool.acquire() as connection:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE kept (uuid, int, int) AS {STATEMENTS[name]}")
        [told] = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) EXECUTE kept ('{BATCH}', 1, {SIZE})")
    return nodes_of(json.loads(told[0])[0]["Plan"])


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for below in plan.get("Plans", []) for node in nodes_of(below))]
