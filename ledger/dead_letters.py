"""Dead letters: written where the last try fails, closed where it goes through after all or a person decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from workflows.interface.codes import DeadLetterAction, DeadLetterKind, DeadLetterStatus, FailureCode
from workflows.interface.dead_letters import ZERO_ID, LetterFilter, LetterSelection
from workflows.interface.tries import MAX_SCHEDULED_RETRIES

DISCARD_PAGE = 1_000

_SQL = load("dead_letters")
_RETRYABLE = [code.value for code in FailureCode if code.retryable]


class DeadLetter(NamedTuple):
    """A dead letter as it stands."""

    dead_letter_id: UUID
    kind: DeadLetterKind
    status: DeadLetterStatus
    transfer_id: UUID | None
    batch_id: UUID | None
    item_no: int | None
    subscription_id: UUID | None
    event_id: UUID | None
    job: str | None
    code: str
    reason: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    payload_ref: str
    closed_at: datetime | None
    closed_by: str | None

    @property
    def only_by_force(self) -> bool:
        """A transfer whose code says that trying again unchanged can't help."""
        return self.transfer_id is not None and self.code not in _RETRYABLE


class OpenLetter(NamedTuple):
    """A letter held for its replay."""

    letter: DeadLetter
    from_user_id: str | None
    """The sender of its transfer."""


class Action(NamedTuple):
    """What somebody did about a letter."""

    action: DeadLetterAction
    by: str
    at: datetime
    replay_id: UUID | None
    note: str | None


class Signature(NamedTuple):
    """Who acts, and why."""

    by: str
    note: str | None = None
    replay_id: UUID | None = None


class OpenCount(NamedTuple):
    """How many open letters a selection has."""

    open: int
    forced_only: int
    """Of them, those that only a forced replay takes."""


class Stretch(NamedTuple):
    """What a replay has done between two letters, in whichever go."""

    replayed: int
    subscription_ids: frozenset[UUID]
    """Endpoints whose deliveries are due again."""


TakenUp = Callable[[Collection[UUID]], Awaitable[frozenset[UUID]]]
"""Which of these transfers are failed no more."""
CarryOut = Callable[[Sequence[OpenLetter], TakenUp], Awaitable[Collection[UUID]]]
"""Gives letters of transfers and jobs another go, and returns which of them were given one. It asks on the connection
that holds the letters: for a second one it might have to wait, with the rows held."""


async def bury_transfers(connection: Connection, transfer_ids: Collection[UUID]) -> None:
    """Call it in the transaction that ends transfers FAILED: those that nothing tries again by itself get a letter.

    Also where a person's replay couldn't reopen one. A letter that is open counts on.
    """
    if transfer_ids:
        await connection.execute(_SQL["bury_transfers"], list(transfer_ids), _RETRYABLE, MAX_SCHEDULED_RETRIES)


async def resolve_transfers(connection: Connection, transfer_ids: Collection[UUID]) -> None:
    """Call it in the transaction that reopens failed transfers: their letters, if they have any, are closed.

    Not where they complete: every settlement would have to look for letters that all but none of them has.
    """
    if transfer_ids:
        await connection.execute(_SQL["resolve_transfers"], list(transfer_ids))


class DeadLetters:
    """The tables `dead_letters` and `dead_letter_actions`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    # Reading --------------------------------------------------------------------------------------------------------

    async def select(self, wanted: LetterFilter) -> LetterSelection:
        """The filter at this moment: letters that fail later don't belong to it."""
        older, newer = (None if s is None else timedelta(seconds=s) for s in (wanted.older_than_s, wanted.newer_than_s))
        [row] = await self._pool.fetch(_SQL["bounds"], older, newer)
        kept = wanted.model_dump(by_alias=False, exclude={"older_than_s", "newer_than_s"})
        return LetterSelection(**kept, failed_by=row["failed_by"], failed_after=row["failed_after"])

    async def count(self, selection: LetterSelection) -> OpenCount:
        """How many open letters are selected."""
        [row] = await self._pool.fetch(_SQL["count_open"], *_arguments(selection), _RETRYABLE)
        return OpenCount(*row)

    async def open_page(self, selection: LetterSelection, after: UUID, most: int) -> list[UUID]:
        """The next open letters, oldest first."""
        rows = await self._pool.fetch(_SQL["open_page"], *_arguments(selection), after, most)
        return [row[0] for row in rows]

    async def list_page(
        self, selection: LetterSelection, status: DeadLetterStatus | None, after: UUID | None, most: int
    ) -> list[DeadLetter]:
        """The next letters of a status, or of any, oldest first."""
        arguments = (*_arguments(selection), after or ZERO_ID, most, status)
        return [_letter(row) for row in await self._pool.fetch(_SQL["list_page"], *arguments)]

    async def letters(self, dead_letter_ids: Sequence[UUID]) -> list[DeadLetter]:
        """Those of the letters that exist."""
        return [_letter(row) for row in await self._pool.fetch(_SQL["letters"], dead_letter_ids)]

    async def actions(self, dead_letter_id: UUID) -> list[Action]:
        """What people did about a letter, in order."""
        rows = await self._pool.fetch(_SQL["actions"], dead_letter_id)
        return [Action(DeadLetterAction(row["action"]), *list(row.values())[1:]) for row in rows]

    # Jobs -----------------------------------------------------------------------------------------------------------

    async def bury_job(self, job: str, code: str, reason: str, execution: str) -> None:
        """A run of a scheduled job failed for good; the same run again changes nothing."""
        await self._pool.execute(_SQL["bury_job"], job, code, reason, execution)

    async def bury_cancelled_page(self, batch_id: UUID, after_item: int, page_size: int) -> int | None:
        """Buries the next items that failed before their batch was cancelled; where to go on (None: done)."""
        async with transaction(self._pool) as connection:
            rows = await connection.fetch(
                _SQL["failed_before_cancel"], batch_id, after_item, page_size, _RETRYABLE, MAX_SCHEDULED_RETRIES
            )
            await bury_transfers(connection, [row["transfer_id"] for row in rows])
        return rows[-1]["item_no"] if len(rows) == page_size else None

    # Replaying and discarding ---------------------------------------------------------------------------------------

    async def replay(
        self, dead_letter_ids: Sequence[UUID], signature: Signature, carry_out: CarryOut
    ) -> frozenset[UUID]:
        """Gives those that are open another go and marks them; returns which.

        The rows are held meanwhile: of two replays the second finds them closed. A crash between the go and the
        commit leaves them open: `carry_out` is then asked again, and must not mind.
        """
        async with transaction(self._pool) as connection:
            await connection.fetch(_SQL["hold_failed_deliveries"], dead_letter_ids)
            rows = await connection.fetch(_SQL["hold_letters"], dead_letter_ids)
            held = [OpenLetter(_letter(row), row["from_user_id"]) for row in rows]
            ids = [one.letter.dead_letter_id for one in held if one.letter.kind is DeadLetterKind.DELIVERY]
            renewed = await connection.fetch(_SQL["renew_deliveries"], ids)
            done = {row["dead_letter_id"] for row in renewed}
            others = [one for one in held if one.letter.kind is not DeadLetterKind.DELIVERY]
            done |= set(await carry_out(others, partial(_taken_up, connection)))
            await _close(connection, sorted(done), DeadLetterStatus.REPLAYED, DeadLetterAction.REPLAY, signature)
        return frozenset(done)

    async def replayed(self, replay_id: UUID, after: UUID, last: UUID) -> Stretch:
        """What the replay has done behind one letter and up to another."""
        [row] = await self._pool.fetch(_SQL["replayed_between"], replay_id, after, last)
        return Stretch(row["replayed"], frozenset(row["subscription_ids"]))

    async def discard(self, selection: LetterSelection, signature: Signature) -> int:
        """Closes the open letters that are selected, in pages; returns how many."""
        discarded, after = 0, ZERO_ID
        while ids := await self.open_page(selection, after, DISCARD_PAGE):
            async with transaction(self._pool) as connection:
                held = await connection.fetch(_SQL["hold_letters"], ids)
                closed = [row["dead_letter_id"] for row in held]
                await _close(connection, closed, DeadLetterStatus.DISCARDED, DeadLetterAction.DISCARD, signature)
            discarded, after = discarded + len(closed), ids[-1]
        return discarded


async def _taken_up(connection: Connection, transfer_ids: Collection[UUID]) -> frozenset[UUID]:
    rows = await connection.fetch(_SQL["taken_up"], list(transfer_ids))
    return frozenset(row[0] for row in rows)


async def _close(
    connection: Connection,
    ids: Sequence[UUID],
    status: DeadLetterStatus,
    action: DeadLetterAction,
    signature: Signature,
) -> None:
    """Closes letters that are held, with an entry each of who did it."""
    await connection.execute(_SQL["close_letters"], ids, status, signature.by)
    await connection.execute(_SQL["record_actions"], ids, action, signature.by, signature.replay_id, signature.note)


def _arguments(selection: LetterSelection) -> tuple[Any, ...]:
    ids = selection.dead_letter_ids
    return (
        None if ids is None else list(ids),
        selection.kind,
        selection.code,
        selection.batch_id,
        selection.subscription_id,
        selection.failed_by,
        selection.failed_after,
    )


def _letter(row: asyncpg.Record) -> DeadLetter:
    values = {name: row[name] for name in DeadLetter._fields}
    return DeadLetter(**values | {"kind": DeadLetterKind(row["kind"]), "status": DeadLetterStatus(row["status"])})
