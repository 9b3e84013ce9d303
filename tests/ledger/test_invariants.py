"""What the schema itself guarantees: each violation is rejected, whatever code may do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.books import Books, failed, final, slice_of
from tests.servers import Postgres, open_pool
from workflows.interface.chain import BoundTransaction
from workflows.interface.codes import FailureCode

BATCH = UUID(int=1)
WHOLE = slice_of(BATCH, 1, 1000)


@pytest.fixture
async def bound(books: Books) -> list[BoundTransaction]:
    """Four transfers of one batch, bound in two chain transactions."""
    return await bound_batch(books)


async def bound_batch(books: Books) -> list[BoundTransaction]:
    await books.plain_batch(4, batch_id=BATCH)
    await books.creation.create(WHOLE)
    return await books.bind(WHOLE)


@pytest.fixture(scope="module")
async def open_world(postgres: Postgres) -> AsyncIterator[Books]:
    """The same with open nonces, for tests that change nothing."""
    async with postgres.fresh_database() as url, await open_pool(url) as pool:
        await bound_batch(books := Books(pool))
        yield books


@pytest.fixture(scope="module")
async def settled_world(postgres: Postgres) -> AsyncIterator[Books]:
    """The same with settled nonces, for tests that change nothing."""
    async with postgres.fresh_database() as url, await open_pool(url) as pool:
        bound = await bound_batch(books := Books(pool))
        await store_attempt(books, bound[0].transaction_id, 1, b"\x01")
        await books.settle(bound)
        yield books


async def refused(books: Books, error: type[asyncpg.PostgresError], statement: str, *arguments: Any) -> str:
    """The statement is rejected with this error; its message."""
    with pytest.raises(error) as caught:
        await books.pool.execute(statement, *arguments)
    return str(caught.value)


async def test_a_ticket_has_one_live_transfer_at_most(books: Books, bound: list[BoundTransaction]) -> None:
    """A second live transfer of a ticket is rejected, and one that has ended isn't."""
    copy = (
        "INSERT INTO ticket_transfers (transfer_id, ticket_id, from_user_id, token, holder, recipient, settlement,"
        " status, failure_code, ended_at) SELECT $1, ticket_id, from_user_id, token, holder, recipient, settlement,"
        " $2::text::transfer_status, CASE $2 WHEN 'FAILED' THEN 'REVERTED' END, CASE $2 WHEN 'FAILED' THEN now() END"
        " FROM ticket_transfers WHERE item_no = 1"
    )
    for status in ("ACCEPTED", "PENDING"):
        message = await refused(books, asyncpg.UniqueViolationError, copy, uuid4(), status)
        assert "one_live_transfer_per_ticket" in message
    await books.pool.execute(copy, uuid4(), "FAILED")


async def test_an_ended_transfer_cannot_come_alive_beside_another(books: Books, bound: list[BoundTransaction]) -> None:
    """The lock also guards reopening."""
    await books.pool.execute(
        "INSERT INTO ticket_transfers (transfer_id, ticket_id, from_user_id, token, holder, recipient, settlement,"
        " status, failure_code, ended_at) SELECT $1, ticket_id, from_user_id, token, holder, recipient, settlement,"
        " 'FAILED', 'REVERTED', now() FROM ticket_transfers WHERE item_no = 1 AND batch_id = $2",
        dead := uuid4(),
        BATCH,
    )
    revive = (
        "UPDATE ticket_transfers SET status = 'ACCEPTED', failure_code = NULL, ended_at = NULL WHERE transfer_id = $1"
    )
    assert "one_live_transfer_per_ticket" in await refused(books, asyncpg.UniqueViolationError, revive, dead)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chain_bindings SET position = position + 7",
        "DELETE FROM chain_bindings",
        "UPDATE chain_outcomes SET reason = 'x'",
        "DELETE FROM chain_outcomes",
        "DELETE FROM chain_transactions",
        "UPDATE chain_transactions SET nonce = nonce + 100",
        "UPDATE chain_transactions SET router_key = sha256(router_key)",
        "UPDATE chain_transactions SET gas_limit = gas_limit + 1",
        "UPDATE chain_transactions SET bound_at = now() - interval '1 day'",
        "DELETE FROM chain_attempts",
        "UPDATE chain_attempts SET raw = '\\x01'",
        "UPDATE chain_attempts SET transaction_id = transaction_id + 1",
        "UPDATE chain_attempts SET max_fee_wei = max_fee_wei + 1",
    ],
)
async def test_what_was_said_to_the_chain_is_never_changed(settled_world: Books, statement: str) -> None:
    """Bindings, outcomes, nonces and signed bytes are insert-only."""
    assert "is insert-only" in await refused(settled_world, asyncpg.RestrictViolationError, statement)


async def test_a_nonce_is_settled_once(books: Books, bound: list[BoundTransaction]) -> None:
    """What a final block said of a nonce can't be said anew."""
    await books.settle(bound[:1])
    again = "UPDATE chain_transactions SET succeeded = NOT succeeded WHERE settled_at IS NOT NULL"
    assert "is insert-only" in await refused(books, asyncpg.RestrictViolationError, again)


async def test_a_nonce_belongs_to_one_chain_transaction(books: Books, bound: list[BoundTransaction]) -> None:
    """A lane hands out each nonce once."""
    twice = (
        "INSERT INTO chain_transactions (chain_id, signer, nonce, settlement, gas_limit)"
        " SELECT chain_id, signer, nonce, 'single', 21000 FROM chain_transactions LIMIT 1"
    )
    await refused(books, asyncpg.UniqueViolationError, twice)


async def test_a_router_key_is_bound_once(books: Books, bound: list[BoundTransaction]) -> None:
    """Two chain transactions never carry the same key: one would be a repetition of the other."""
    twice = (
        "INSERT INTO chain_transactions (chain_id, signer, nonce, settlement, gas_limit, router_key)"
        " SELECT chain_id, signer, 99, settlement, gas_limit, router_key FROM chain_transactions LIMIT 1"
    )
    assert "router_key" in await refused(books, asyncpg.UniqueViolationError, twice)


async def store_attempt(books: Books, transaction_id: int, number: int, tx_hash: bytes, **fields: Any) -> None:
    row = {"kind": "payload", "max_fee_wei": 10, "tip_wei": 1, "send_class": None, **fields}
    await books.pool.execute(
        "INSERT INTO chain_attempts (tx_hash, transaction_id, attempt_no, kind, max_fee_wei, tip_wei, raw, send_class,"
        " first_sent_at, last_sent_at) VALUES ($1, $2, $3, $4::text::attempt_kind, $5, $6, '\\x00', $7::text,"
        " CASE WHEN $7 IS NULL THEN NULL ELSE now() END, CASE WHEN $7 IS NULL THEN NULL ELSE now() END)",
        tx_hash.ljust(32, b"\0"),
        transaction_id,
        number,
        row["kind"],
        row["max_fee_wei"],
        row["tip_wei"],
        row["send_class"],
    )


async def test_a_nonce_has_one_first_attempt(books: Books, bound: list[BoundTransaction]) -> None:
    """Of two copies that sign, one's bytes stand."""
    await store_attempt(books, bound[0].transaction_id, 1, b"\x01", send_class="FATAL")
    with pytest.raises(asyncpg.UniqueViolationError):
        await store_attempt(books, bound[0].transaction_id, 1, b"\x02")


async def test_a_nonce_has_one_attempt_at_most_that_is_neither_sent_nor_refused(
    books: Books, bound: list[BoundTransaction]
) -> None:
    """A second attempt waits until the first one's fate is known."""
    await store_attempt(books, bound[0].transaction_id, 1, b"\x01")
    with pytest.raises(asyncpg.UniqueViolationError, match="one_unsent_attempt"):
        await store_attempt(books, bound[0].transaction_id, 2, b"\x02", kind="cancel")
    await books.pool.execute(
        "UPDATE chain_attempts SET send_class = 'FATAL', first_sent_at = now(), last_sent_at = now()"
    )
    await store_attempt(books, bound[0].transaction_id, 2, b"\x02", kind="cancel")


@pytest.mark.parametrize(
    "fields", [{"kind": "cancel"}, {"tip_wei": 11}, {"tip_wei": -1}, {"max_fee_wei": 0, "tip_wei": 0}]
)
async def test_an_attempt_that_makes_no_sense_is_rejected(
    books: Books, bound: list[BoundTransaction], fields: dict[str, Any]
) -> None:
    """A first attempt carries the transfers; the tip is at most the fee."""
    with pytest.raises(asyncpg.CheckViolationError):
        await store_attempt(books, bound[0].transaction_id, 1, b"\x01", **fields)


async def test_a_binding_has_one_final_outcome(books: Books, bound: list[BoundTransaction]) -> None:
    """A second outcome of a binding is rejected."""
    await books.settle(bound)
    twice = (
        "INSERT INTO chain_outcomes (transaction_id, position, outcome, code)"
        " SELECT transaction_id, position, 'failed', 'REVERTED' FROM chain_outcomes"
    )
    await refused(books, asyncpg.UniqueViolationError, twice)


async def test_an_outcome_belongs_to_a_binding(books: Books, bound: list[BoundTransaction]) -> None:
    """What was never bound has no outcome."""
    unbound = "INSERT INTO chain_outcomes SELECT transaction_id, position + 100, 'moved' FROM chain_bindings"
    await refused(books, asyncpg.ForeignKeyViolationError, unbound)


REBIND = (
    "INSERT INTO chain_bindings (transaction_id, position, transfer_id, binding_no)"
    " SELECT transaction_id, 100 + position, transfer_id, $1 FROM chain_bindings WHERE position = 0"
)


async def test_a_transfer_is_bound_again_only_after_a_final_outcome(
    books: Books, bound: list[BoundTransaction]
) -> None:
    """While a nonce is open its transfers can't go elsewhere."""
    assert "only after a final outcome" in await refused(books, asyncpg.RestrictViolationError, REBIND, 2)


async def test_a_moved_transfer_is_never_bound_again(books: Books, bound: list[BoundTransaction]) -> None:
    """A ticket doesn't move twice."""
    await books.settle(bound)
    assert "other than moved" in await refused(books, asyncpg.RestrictViolationError, REBIND, 2)


async def test_a_transfer_that_didnt_move_may_be_bound_again_with_the_next_number(
    books: Books, bound: list[BoundTransaction]
) -> None:
    """Binding numbers are consecutive: a later one can't jump over an open one."""
    await books.settle(bound, failed(FailureCode.REVERTED))
    await refused(books, asyncpg.RestrictViolationError, REBIND, 3)
    await refused(books, asyncpg.UniqueViolationError, REBIND, 1)
    await books.pool.execute(REBIND, 2)


async def test_a_place_in_a_chain_transaction_belongs_to_one_transfer(
    books: Books, bound: list[BoundTransaction]
) -> None:
    """The receipt's results are told apart by position."""
    await books.settle(bound, failed(FailureCode.REVERTED))
    same_place = (
        "INSERT INTO chain_bindings (transaction_id, position, transfer_id, binding_no)"
        " SELECT transaction_id, position, transfer_id, 2 FROM chain_bindings"
    )
    await refused(books, asyncpg.UniqueViolationError, same_place)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE batch_counters SET completed = completed + 1",
        "UPDATE batch_counters SET completed = completed + 5, processing = processing - 5",
        "UPDATE batch_transfer_items SET status = 'FAILED', ended_at = now()",
        "UPDATE batch_transfer_items SET failure_code = 'INTERNAL'",
        "UPDATE batch_transfer_items SET status = 'COMPLETED'",
        "UPDATE batch_transfer_items SET status = 'FAILED', ended_at = now(), failure_code = 'INTERNAL'",
        "UPDATE batch_transfer_items SET item_no = 0",
        "UPDATE batch_transfer_items SET recipient = ''",
        "UPDATE batch_transfer_items SET recipient = repeat('é', 33)",
        "UPDATE batch_transfer_items SET ticket_id = '017'",
        "UPDATE batch_transfer_items SET ticket_id = '-1'",
        "UPDATE batch_transfer_items SET tries = -1",
        "UPDATE ticket_transfers SET status = 'FAILED', ended_at = now()",
        "UPDATE ticket_transfers SET status = 'COMPLETED'",
        "UPDATE ticket_transfers SET ended_at = now()",
        "UPDATE ticket_transfers SET recipient = NULL",
        "UPDATE ticket_transfers SET holder = '\\x01'",
        "UPDATE ticket_transfers SET bindings = 0",
        "UPDATE ticket_transfers SET pack_limit = 0",
        "UPDATE ticket_transfers SET item_no = NULL",
        "UPDATE batch_transfers SET status = 'COMPLETED'",
        "UPDATE batch_transfers SET closed_run = run_no + 1",
        "UPDATE batch_transfers SET item_count = 1000001",
        "UPDATE batch_transfers SET status = 'PROCESSING', run_no = 0",
        "UPDATE batch_transfers SET from_user_id = repeat('a', 65)",
        "UPDATE chain_lanes SET max_in_flight = 0",
        "UPDATE chain_transactions SET succeeded = true",
        "INSERT INTO events (type) VALUES ('batch.completed')",
        "INSERT INTO events (type, batch_id, transfer_id) SELECT 'batch.failed', b, b FROM gen_random_uuid() b",
        "INSERT INTO wallets VALUES ('carol', '\\x01')",
        "INSERT INTO wallets SELECT 'carol', address FROM wallets LIMIT 1",
    ],
)
async def test_a_row_that_contradicts_itself_is_rejected(open_world: Books, statement: str) -> None:
    """Statuses, codes, times and counts of a row agree, and values are in their ranges."""
    with pytest.raises((asyncpg.CheckViolationError, asyncpg.UniqueViolationError)):
        await open_world.pool.execute(statement)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("ticket_transfers", "status"),
        ("batch_transfer_items", "status"),
        ("batch_transfers", "status"),
        ("chain_transactions", "settlement"),
    ],
)
async def test_a_word_that_is_no_status_is_rejected(open_world: Books, table: str, column: str) -> None:
    """Statuses are enums in the database as well."""
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await open_world.pool.execute(f"UPDATE {table} SET {column} = 'MAYBE'")  # names of this file


async def test_a_settled_nonce_is_told_whole(books: Books, bound: list[BoundTransaction]) -> None:
    """Hash, block, success, gas and fee of a settled nonce come together."""
    result = final(bound[0])
    some = "UPDATE chain_transactions SET final_tx_hash = $1, settled_at = now() WHERE transaction_id = $2"
    await refused(books, asyncpg.CheckViolationError, some, result.tx_hash, result.transaction_id)
