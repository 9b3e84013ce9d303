"""Creating the transfers of a slice: tickets held, items judged, rows written, events and counters with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from ledger.counters import Change, count
from ledger.dead_letters import bury_transfers
from ledger.events import emit_transfer_events
from ledger.pool import Connection, Pool, transaction
from ledger.queries import load
from ledger.ranges import over_range
from workflows.interface.addresses import is_address_text
from workflows.interface.batch import Slice
from workflows.interface.codes import EventType, FailureCode, TransferKind
from workflows.interface.options import GIFT_LIFETIME
from workflows.interface.tries import Verdict, after_failure
from workflows.interface.validation import Accepted, Known, QueuedItem, Rejected, Ticket, judge_gift

_SQL = load("transfers")

Judge = Callable[[QueuedItem, Known], Accepted | Rejected]


class StoppedError(Exception):
    """The batch was cancelled, or paused where that matters: the transaction is rolled back."""


class Created(NamedTuple):
    """What creating did: whom to wake, and whether it was stopped by the batch's cut."""

    subscription_ids: frozenset[UUID]
    stopped: bool = False


class BatchHead(NamedTuple):
    """What creating and reopening need to know of a batch."""

    batch_id: UUID
    from_user_id: str
    settlement: str
    kind: TransferKind
    expires_at: datetime | None

    def judged(self, verdict: Accepted | Rejected) -> Accepted | Rejected:
        """The verdict on an item of this batch."""
        return judge_gift(verdict) if self.kind is TransferKind.GIFT else verdict


class _Sorted(NamedTuple):
    """A slice's items, sorted by what became of them."""

    all: Sequence[QueuedItem]
    live: set[UUID]
    failed: set[UUID]
    rejected: Sequence[Rejected]
    waiting: Sequence[QueuedItem]


class TransferCreation:
    """Creates the transfers of slices. `judge` is the pure rule with what it needs of the chain bound to it."""

    def __init__(self, pool: Pool, judge: Judge, own_contracts: frozenset[bytes]) -> None:
        self._pool = pool
        self._judge = judge
        self._own_contracts = own_contracts

    async def create(self, work: Slice) -> Created:
        """Creates what is missing in the range. Run twice, or by two at once, it does it once."""
        try:
            async with transaction(self._pool) as connection:
                created, hopeless = await self._create(connection, work)
            if hopeless:
                # Apart, for the order of locks: another copy, which found the ticket free, may be inserting the same
                # transfer live, and in ticket order among its others.
                async with transaction(self._pool) as connection:
                    given_up = await self._give_up(connection, work.batch_id, hopeless)
                created = Created(created.subscription_ids | given_up.subscription_ids)
        except StoppedError:
            return Created(frozenset(), stopped=True)
        return created

    async def _create(self, connection: Connection, work: Slice) -> tuple[Created, list[QueuedItem]]:
        """With the items whose ticket was locked at their last try."""
        rows = await connection.fetch(*over_range(_SQL, "items_to_create", work))
        if not rows:
            return Created(frozenset()), []
        batch = await head_of(connection, work.batch_id)
        items = [QueuedItem(*row.values()) for row in rows]
        known = await known_of(connection, _SQL["lock_tickets"], batch.from_user_id, items, self._own_contracts)
        verdicts = [batch.judged(self._judge(item, known)) for item in items]
        accepted = [verdict for verdict in verdicts if isinstance(verdict, Accepted)]
        rejected = [verdict for verdict in verdicts if isinstance(verdict, Rejected)]
        live = await self._insert_accepted(connection, batch, accepted)
        locked = await self._locked(connection, [a for a in accepted if a.item.transfer_id not in live])
        waiting = [item for item in locked if _locked_verdict(item).delay is not None]
        failed = await self._insert_failed(connection, batch, rejected)
        created = await self._take_up(connection, batch, _Sorted(items, live, failed, rejected, waiting))
        return created, [item for item in locked if _locked_verdict(item).delay is None]

    async def _give_up(self, connection: Connection, batch_id: UUID, items: Sequence[QueuedItem]) -> Created:
        rejected = [_gives_up(item) for item in items]
        batch = await head_of(connection, batch_id)
        failed = await self._insert_failed(connection, batch, rejected)
        return await self._take_up(connection, batch, _Sorted(items, set(), failed, rejected, ()))

    async def _take_up(self, connection: Connection, batch: BatchHead, items: _Sorted) -> Created:
        """Items, the cut, events and counters, in that order of locks."""
        batch_id = batch.batch_id
        begun = items.live | items.failed | {item.transfer_id for item in items.waiting}
        numbers = [item.item_no for item in items.all if item.transfer_id in begun]
        await connection.execute(_SQL["hold_items"], batch_id, numbers)
        taken = await connection.fetch(_SQL["take_up_items"], batch_id, numbers)
        ended = await fail_items(
            connection, batch_id, [r for r in items.rejected if r.item.transfer_id in items.failed]
        )
        await postpone_items(connection, batch_id, [(i.item_no, *_locked_verdict(i)[1:]) for i in items.waiting])
        given = await self._complete_gifts(connection, batch, items)
        await hold_uncancelled(connection, batch_id)
        woken = await emit_transfer_events(connection, items.live, EventType.TRANSFER_CREATED)
        woken |= await emit_transfer_events(connection, items.failed, EventType.TRANSFER_FAILED)
        await bury_transfers(connection, items.failed)
        change = Change(queued=-len(taken), processing=len(taken) - ended - given, failed=ended, completed=given)
        await count(connection, batch_id, change)
        return Created(woken)

    async def _complete_gifts(self, connection: Connection, batch: BatchHead, items: _Sorted) -> int:
        """A gift's item has nothing left to do once the gift waits. Answers how many this call completed."""
        if batch.kind is not TransferKind.GIFT or not items.live:
            return 0
        numbers = [item.item_no for item in items.all if item.transfer_id in items.live]
        return len(await connection.fetch(_SQL["complete_gift_items"], batch.batch_id, numbers))

    async def _insert_accepted(
        self, connection: Connection, batch: BatchHead, accepted: Sequence[Accepted]
    ) -> set[UUID]:
        rows = await connection.fetch(
            _SQL["insert_accepted"],
            batch.batch_id,
            batch.from_user_id,
            batch.settlement,
            [a.item.transfer_id for a in accepted],
            [a.item.item_no for a in accepted],
            [a.item.ticket_id for a in accepted],
            *columns_of(accepted),
            batch.kind,
            batch.expires_at,
            GIFT_LIFETIME,
        )
        return {row[0] for row in rows}

    async def _locked(self, connection: Connection, left_out: Sequence[Accepted]) -> list[QueuedItem]:
        """Of the transfers that weren't inserted: those whose ticket another live transfer holds."""
        if not left_out:
            return []
        ids = [a.item.transfer_id for a in left_out]
        theirs = {row[0] for row in await connection.fetch(_SQL["existing_transfers"], ids)}
        return [a.item for a in left_out if a.item.transfer_id not in theirs]

    async def _insert_failed(self, connection: Connection, batch: BatchHead, rejected: Sequence[Rejected]) -> set[UUID]:
        if not rejected:
            return set()
        rows = await connection.fetch(
            _SQL["insert_failed"],
            batch.batch_id,
            batch.from_user_id,
            batch.settlement,
            [r.item.transfer_id for r in rejected],
            [r.item.item_no for r in rejected],
            [r.item.ticket_id for r in rejected],
            [r.code.value for r in rejected],
            [r.reason for r in rejected],
            batch.kind,
        )
        return {row[0] for row in rows}


async def head_of(connection: Connection, batch_id: UUID) -> BatchHead:
    """What creating and reopening need to know of the batch."""
    row = await connection.fetchrow(_SQL["batch_head"], batch_id)
    if row is None:
        raise LookupError(f"batch {batch_id} isn't in the database")
    return BatchHead(batch_id, row["from_user_id"], row["settlement"], TransferKind(row["kind"]), row["expires_at"])


async def known_of(
    connection: Connection,
    lock_statement: str,
    from_user_id: str,
    items: Sequence[QueuedItem],
    own_contracts: frozenset[bytes],
) -> Known:
    """Holds the items' tickets and reads what judging needs."""
    tickets = await connection.fetch(lock_statement, [item.ticket_id for item in items])
    names = [item.recipient for item in items if not is_address_text(item.recipient)]
    addresses = [a for a in (address_bytes(item.recipient) for item in items) if a is not None]
    wallets = await connection.fetch(_SQL["known_wallets"], names, addresses)
    return Known(
        from_user_id,
        {row["ticket_id"]: Ticket(row["token"], row["holder"], row["owner_user_id"]) for row in tickets},
        {row["user_id"]: row["address"] for row in wallets},
        {row["address"]: row["user_id"] for row in wallets},
        own_contracts,
    )


async def hold_uncancelled(connection: Connection, batch_id: UUID) -> None:
    """Holds the batch's control row until commit.

    Raises:
        StoppedError: the batch is cancelled.
    """
    row = await connection.fetchrow(_SQL["hold_control"], batch_id)
    if row is None or row["cancelled"]:
        raise StoppedError(f"batch {batch_id} is cancelled")


async def fail_items(connection: Connection, batch_id: UUID, rejected: Sequence[Rejected]) -> int:
    """Fails items in work and returns how many this call failed."""
    if not rejected:
        return 0
    rows = await connection.fetch(
        _SQL["fail_items"],
        batch_id,
        [r.item.item_no for r in rejected],
        [r.code.value for r in rejected],
        [r.reason for r in rejected],
        [r.item.tries for r in rejected],
    )
    return len(rows)


async def postpone_items(
    connection: Connection, batch_id: UUID, items: Sequence[tuple[int, int, timedelta | None]]
) -> None:
    """Lets items (number, tries, delay) wait for another try."""
    if items:
        numbers, tries, delays = (list(column) for column in zip(*items, strict=True))
        await connection.execute(_SQL["postpone_items"], batch_id, numbers, tries, delays)


def columns_of(accepted: Sequence[Accepted]) -> tuple[list[str | None], list[bytes], list[bytes], list[bytes]]:
    """Receiving user, token, holder and recipient of accepted items, as columns."""
    return (
        [a.to_user_id for a in accepted],
        [a.ticket.token for a in accepted],
        [a.ticket.holder for a in accepted],
        [a.to for a in accepted],
    )


def address_bytes(recipient: str) -> bytes | None:
    """The 20 bytes of an address as text, whatever its checksum; None where it is no address."""
    if not is_address_text(recipient) or len(recipient) != 42:
        return None
    try:
        return bytes.fromhex(recipient[2:])
    except ValueError:
        return None


def _locked_verdict(item: QueuedItem) -> Verdict:
    return after_failure(FailureCode.TICKET_LOCKED, costs_try=True, tries=item.tries, cancelled=False)


def _gives_up(item: QueuedItem) -> Rejected:
    code = FailureCode.TICKET_LOCKED
    return Rejected(item._replace(tries=item.tries + 1), code, f"{code.meaning} (ticket {item.ticket_id})")
