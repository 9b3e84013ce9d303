"""Attempts of nonces: the first one stands, whoever signs; replies are kept."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from hashlib import sha256
from uuid import UUID

import pytest

from tests.books import Books, slice_of
from workflows.interface.chain import Attempt, BoundTransaction, SendClass, SendResult
from workflows.interface.codes import AttemptKind

BATCH = UUID(int=1)
WHOLE = slice_of(BATCH, 1, 1000)
COPIES = 6


@pytest.fixture
async def bound(books: Books) -> list[BoundTransaction]:
    await books.plain_batch(40, batch_id=BATCH)
    await books.creation.create(WHOLE)
    return await books.bind(WHOLE, per_transaction=1)


def signed(bound: list[BoundTransaction], salt: str, kind: AttemptKind = AttemptKind.PAYLOAD) -> list[Attempt]:
    """Attempts; the same salt makes the same bytes."""
    return [
        Attempt(b.transaction_id, sha256(f"{salt}{b.nonce}".encode()).digest(), salt.encode(), kind, 10, 1)
        for b in bound
    ]


async def open_connections(books: Books) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(COPIES):
            await stack.enter_async_context(books.pool.acquire())


@pytest.mark.parametrize("salts", [["same"] * COPIES, [f"copy {n}" for n in range(COPIES)]])
async def test_copies_that_sign_at_once_all_send_the_bytes_that_stand(
    books: Books, bound: list[BoundTransaction], salts: list[str]
) -> None:
    """Whether their bytes are equal or not, every copy gets the same first attempt of each nonce."""
    await open_connections(books)
    standing = await asyncio.gather(*(books.attempts.store_first_attempts(signed(bound, salt)) for salt in salts))
    assert all([a.tx_hash for a in one] == [a.tx_hash for a in standing[0]] for one in standing)
    assert [a.transaction_id for a in standing[0]] == [b.transaction_id for b in bound]
    assert await books.pool.fetchval("SELECT count(*) FROM chain_attempts") == len(bound)


async def test_a_next_attempt_needs_one_that_was_refused_for_good(books: Books, bound: list[BoundTransaction]) -> None:
    """Without a refusal, or after a delivery, the nonce keeps its bytes; asked twice, it gets one, told as standing."""
    first, cancel = signed(bound[:3], "first"), signed(bound[:3], "cancel", AttemptKind.CANCEL)
    await books.attempts.store_first_attempts(first)
    classes = (SendClass.FATAL, SendClass.ACCEPTED)
    replies = [SendResult(a.transaction_id, a.tx_hash, c, "told") for a, c in zip(first, classes, strict=False)]
    await books.attempts.record_sends(replies)
    for _ in range(2):
        assert await books.attempts.store_next_attempts(cancel) == cancel[:1]
    kinds = {b.transaction_id: b.attempts for b in await books.attempts.bound(ids(bound[:3]), with_raw=True)}
    assert [[a.kind for a in kinds[b.transaction_id]] for b in bound[:3]] == [
        [AttemptKind.PAYLOAD, AttemptKind.CANCEL],
        [AttemptKind.PAYLOAD],
        [AttemptKind.PAYLOAD],
    ]


def ids(bound: list[BoundTransaction]) -> list[int]:
    return [b.transaction_id for b in bound]


@pytest.mark.parametrize("later", [SendClass.UNKNOWN, SendClass.NONCE_USED, SendClass.FATAL, SendClass.KNOWN])
async def test_a_delivered_attempt_stays_delivered(
    books: Books, bound: list[BoundTransaction], later: SendClass
) -> None:
    """No later reply takes back that a node had the bytes."""
    [first] = await books.attempts.store_first_attempts(signed(bound[:1], "first"))
    for reply in (SendClass.ACCEPTED, later):
        await books.attempts.record_sends([SendResult(first.transaction_id, first.tx_hash, reply)])
    [stored] = await books.attempts.bound(ids(bound[:1]), with_raw=True)
    assert stored.attempts == (first._replace(send_class=SendClass.ACCEPTED),)


async def test_a_bound_transaction_is_read_as_it_was_bound(books: Books, bound: list[BoundTransaction]) -> None:
    """Another process finds the same nonces, keys and transfers in the same order, with the attempts."""
    read = await books.attempts.bound(ids(bound), with_raw=True)
    # How its next chain transaction is packed is no matter of this one.
    assert read == [b._replace(transfers=tuple(t._replace(pack_limit=None) for t in b.transfers)) for b in bound]
    attempts = await books.attempts.store_first_attempts(signed(bound, "x"))
    assert [s.tx_hashes for s in await books.attempts.sent(ids(bound))] == [(a.tx_hash,) for a in attempts]


async def test_settled_nonces_are_open_no_more(books: Books, bound: list[BoundTransaction]) -> None:
    """Neither the slice nor the lane asks for what is settled."""
    await books.settle(bound[:30])
    still = ids(bound[30:])
    assert sorted(await books.attempts.open_of_items(WHOLE)) == still
    assert [b.transaction_id for b in await books.attempts.open_bound(ids(bound))] == still
