"""Writes a batch with all its items in one transaction, from a stream, whatever its size.

Both ways in use it: the starter for big batches, the first step of `BatchTransfer` for inline ones.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from struct import Struct
from typing import NamedTuple
from uuid import UUID

import asyncpg

from ledger import queries
from ledger.fingerprint import StagedItem, add_item
from ledger.pool import Connection, Pool, transaction
from workflows.interface.batch import MAX_ITEMS
from workflows.interface.codes import BatchStatus, ErrorCode, FailureCode
from workflows.interface.errors import RequestError
from workflows.interface.options import BatchOptions, canonical_time
from workflows.interface.requests import RequestFingerprint

WRITE_TIMEOUT_S = 600.0
"""For one statement: a million lines take seconds, and their stream may be slow."""
COPY_CHUNK_BYTES = 256 * 1024
"""Rows are handed to the driver in pieces of about this size."""
DUPLICATES_PAGE = 2_000
ITEMS_PER_TURN = 1_000
"""A few milliseconds of reading and encoding."""
_COLUMNS = ("batch_id", "item_no", "ticket_id", "recipient", "transfer_id")

# Postgres' binary COPY format ("File Formats" under COPY in its manual): header, rows, trailer.
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER = b"\xff\xff"
_LENGTH = Struct(">i")
_ITEM_NO = Struct(">ii")
_UUID_LENGTH = _LENGTH.pack(16)

ItemStream = Iterable[StagedItem] | AsyncIterable[StagedItem]
BeforeCommit = Callable[[UUID, bytes], Awaitable[None]]
"""Is told the id and the request's fingerprint of a batch about to be committed; by raising it forbids that."""


class BatchHeader(NamedTuple):
    """A batch request without its items."""

    batch_id: UUID
    from_user_id: str
    options: BatchOptions = BatchOptions()


class StoredBatch(NamedTuple):
    """What stands in Postgres under the batch id after a write."""

    batch_id: UUID
    from_user_id: str
    status: BatchStatus
    item_count: int
    request_sha256: bytes
    written: bool
    """True where this very call wrote it; False where the same request was stored before."""
    wake: tuple[UUID, ...] = ()
    """Webhook subscriptions that got deliveries (of items that failed at once)."""


class BatchWriter:
    """Writes batches; safe to call twice, also at the same time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = queries.load("batches")

    async def write(
        self, header: BatchHeader, items: ItemStream, before_commit: BeforeCommit | None = None
    ) -> StoredBatch:
        """Writes the batch, or finds that the same request is stored already.

        `before_commit` is asked once all rows are in. Whatever it or `items` raises rolls everything back. Memory
        doesn't grow with the number of items.

        Raises:
            RequestError: INVALID_INPUT (unknown sender, no items, too many, gifts that have expired), or
                BATCH_CONTENT_DIFFERS.
        """
        async with transaction(self._pool) as connection:
            # A second writer of the same id waits for the first, however long its stream is.
            await connection.execute("SET LOCAL lock_timeout = 0")
            await self._require_wallet(connection, header.from_user_id)
            stream = _FingerprintedItems(header, items)
            if await self._claim(connection, header):
                stored = await self._fill(connection, header, stream)
                if before_commit is not None:
                    await before_commit(stored.batch_id, stored.request_sha256)
                return stored
            await stream.read_to_end()
            return await self._compare(connection, header, stream)

    async def _require_wallet(self, connection: Connection, user_id: str) -> None:
        if not await connection.fetchval(self._sql["has_wallet"], user_id):
            raise RequestError(
                ErrorCode.INVALID_INPUT, f"unknown sender {user_id!r}: no user of this name has a wallet"
            )

    async def _claim(self, connection: Connection, header: BatchHeader) -> bool:
        settlement, kind, expires_at, order = header.options
        expired = await connection.fetchval(
            self._sql["claim_batch_id"],
            header.batch_id,
            header.from_user_id,
            settlement,
            kind,
            expires_at,
            order,
            timeout=WRITE_TIMEOUT_S,
        )
        if expired and expires_at is not None:
            raise RequestError(
                ErrorCode.INVALID_INPUT, f"expiresAt must lie in the future, {canonical_time(expires_at)} is past"
            )
        return expired is not None

    async def _fill(self, connection: Connection, header: BatchHeader, stream: _FingerprintedItems) -> StoredBatch:
        batch_id, sql = header.batch_id, self._sql
        await connection.copy_to_table(
            "batch_transfer_items",
            source=stream.copy_chunks(),
            columns=_COLUMNS,
            format="binary",
            timeout=WRITE_TIMEOUT_S,
        )
        sha256 = stream.sha256()
        failed, wake = await self._fail_duplicates(connection, batch_id)
        await connection.execute(sql["seal_batch"], batch_id, stream.count, sha256)
        await connection.execute(sql["insert_controls"], batch_id)
        await connection.execute(sql["insert_counters"], batch_id, stream.count, failed)
        return StoredBatch(batch_id, header.from_user_id, BatchStatus.QUEUED, stream.count, sha256, True, tuple(wake))

    async def _fail_duplicates(self, connection: Connection, batch_id: UUID) -> tuple[int, set[UUID]]:
        """The lowest item number of a ticket stands. Answers how many failed, and whom to wake."""
        failed, wake = 0, set[UUID]()
        duplicates = await connection.cursor(self._sql["duplicate_items"], batch_id, timeout=WRITE_TIMEOUT_S)
        while page := await duplicates.fetch(DUPLICATES_PAGE, timeout=WRITE_TIMEOUT_S):
            wake |= await self._fail_page(connection, batch_id, page)
            failed += len(page)
        return failed, wake

    async def _fail_page(self, connection: Connection, batch_id: UUID, page: list[asyncpg.Record]) -> set[UUID]:
        code = FailureCode.DUPLICATE_IN_BATCH
        numbers, first_numbers = [row["item_no"] for row in page], [row["first_no"] for row in page]
        failed = await connection.fetch(
            self._sql["fail_duplicates"], batch_id, numbers, first_numbers, code, code.meaning
        )
        woken = await connection.fetch(self._sql["emit_failed_events"], [row["transfer_id"] for row in failed])
        return {row[0] for row in woken}

    async def _compare(self, connection: Connection, header: BatchHeader, stream: _FingerprintedItems) -> StoredBatch:
        row = await connection.fetchrow(self._sql["stored_batch"], header.batch_id)
        if row is None or row["request_sha256"] != stream.sha256():
            raise RequestError(
                ErrorCode.BATCH_CONTENT_DIFFERS,
                f"batch {header.batch_id} holds another request: use a new batch id or idempotency key for this one",
            )
        return StoredBatch(
            header.batch_id,
            row["from_user_id"],
            BatchStatus(row["status"]),
            row["item_count"],
            row["request_sha256"],
            written=False,
        )


class _FingerprintedItems:
    """The request's items, counted and fingerprinted on their way through."""

    def __init__(self, header: BatchHeader, items: ItemStream) -> None:
        self._header = header
        self._items = _as_async(items)
        self._fingerprint = RequestFingerprint(header.from_user_id)
        self.count = 0

    def sha256(self) -> bytes:
        """The request's fingerprint, once the stream has been read."""
        return self._fingerprint.digest(self._header.options)

    async def read_to_end(self) -> None:
        """Reads what a stored batch is compared with."""
        async for item in self._items:
            self._take(item)
        self._require_items()

    async def copy_chunks(self) -> AsyncIterator[bytes]:
        """The items as pieces of a binary COPY."""
        rows = _CopyRows(self._header.batch_id)
        pieces, size = [_COPY_HEADER], 0
        async for item in self._items:
            self._take(item)
            row = rows.encode(self.count, item)
            pieces.append(row)
            size += len(row)
            if size >= COPY_CHUNK_BYTES:
                yield b"".join(pieces)
                pieces, size = [], 0
        self._require_items()
        pieces.append(_COPY_TRAILER)
        yield b"".join(pieces)

    def _take(self, item: StagedItem) -> None:
        self.count += 1
        if self.count > MAX_ITEMS:
            raise RequestError(ErrorCode.INVALID_INPUT, f"more than {MAX_ITEMS:,} items: split the batch")
        add_item(self._fingerprint, item)

    def _require_items(self) -> None:
        if self.count == 0:
            raise RequestError(ErrorCode.INVALID_INPUT, "no items: a batch has at least one item")


class _CopyRows:
    """Encodes the rows of `batch_transfer_items` by hand: a quarter of the driver's time for records."""

    def __init__(self, batch_id: UUID) -> None:
        self._prefix = len(_COLUMNS).to_bytes(2, "big") + _UUID_LENGTH + batch_id.bytes
        self._transfer_ids = hashlib.sha1(batch_id.bytes, usedforsecurity=False)

    def encode(self, item_no: int, item: StagedItem) -> bytes:
        """One row; its transfer id is `transfer_id_for(batch_id, item_no)`."""
        ticket, to = item.ticket_id.encode(), item.to.encode()
        return b"".join(
            (
                self._prefix,
                _ITEM_NO.pack(4, item_no),
                _LENGTH.pack(len(ticket)),
                ticket,
                _LENGTH.pack(len(to)),
                to,
                _UUID_LENGTH,
                self._transfer_id(item_no),
            )
        )

    def _transfer_id(self, item_no: int) -> bytes:
        """The 16 bytes of uuid5 (RFC 9562, section 5.5), a fifth of the time that `uuid.uuid5` takes."""
        digest = self._transfer_ids.copy()
        digest.update(b"%d" % item_no)
        value = bytearray(digest.digest()[:16])
        value[6] = value[6] & 0x0F | 0x50
        value[8] = value[8] & 0x3F | 0x80
        return bytes(value)


async def _as_async(items: ItemStream) -> AsyncIterator[StagedItem]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    for number, item in enumerate(items, 1):
        if number % ITEMS_PER_TURN == 0:
            # Where Postgres keeps up, nothing below ever waits: signals and other tasks get their turn here.
            await asyncio.sleep(0)
        yield item
