"""What makes one batch item acceptable: the pure rule, given what the database knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from workflows.interface.addresses import InvalidAddressError, Keccak, is_address_text, parse_address
from workflows.interface.codes import FailureCode


class QueuedItem(NamedTuple):
    """A batch item that has no transfer yet."""

    item_no: int
    transfer_id: UUID
    ticket_id: str
    recipient: str
    tries: int


class Ticket(NamedTuple):
    """A ticket as the database knows it."""

    token: bytes
    holder: bytes
    owner_user_id: str | None


class Accepted(NamedTuple):
    """An item that may become a live transfer."""

    item: QueuedItem
    ticket: Ticket
    to_user_id: str | None
    to: bytes


class Rejected(NamedTuple):
    """An item that fails at once, and why."""

    item: QueuedItem
    code: FailureCode
    reason: str


class Known(NamedTuple):
    """What the database knows that bears on a slice's items."""

    from_user_id: str
    tickets: Mapping[str, Ticket]
    wallet_of: Mapping[str, bytes]
    user_of: Mapping[bytes, str]
    own_contracts: frozenset[bytes]
    """Contracts of this service: a ticket sent there would be stuck."""


def judge(item: QueuedItem, known: Known, keccak256: Keccak) -> Accepted | Rejected:
    """Accepts the item or says why not."""
    try:
        to = _recipient(item, known, keccak256)
    except InvalidAddressError as error:
        return _rejected(item, error.code, item.recipient)
    if to is None:
        return _rejected(item, FailureCode.UNKNOWN_USER, item.recipient)
    return _judge_ticket(item, known, to)


def judge_gift(verdict: Accepted | Rejected) -> Accepted | Rejected:
    """An accepted item as a gift: only a user of this service can accept one."""
    if isinstance(verdict, Rejected) or verdict.to_user_id is not None:
        return verdict
    return _rejected(verdict.item, FailureCode.GIFT_NEEDS_USER, verdict.item.recipient)


def _judge_ticket(item: QueuedItem, known: Known, to: bytes) -> Accepted | Rejected:
    ticket = known.tickets.get(item.ticket_id)
    if ticket is None:
        return _rejected(item, FailureCode.UNKNOWN_TICKET, f"ticket {item.ticket_id}")
    if ticket.owner_user_id != known.from_user_id:
        return _rejected(item, FailureCode.NOT_TICKET_OWNER, f"ticket {item.ticket_id}")
    if to == ticket.holder:
        return _rejected(item, FailureCode.RECIPIENT_IS_SENDER, item.recipient)
    if to in known.own_contracts:
        return _rejected(item, FailureCode.RECIPIENT_NOT_ALLOWED, item.recipient)
    return Accepted(item, ticket, known.user_of.get(to), to)


def _recipient(item: QueuedItem, known: Known, keccak256: Keccak) -> bytes | None:
    if is_address_text(item.recipient):
        return parse_address(item.recipient, keccak256)
    return known.wallet_of.get(item.recipient)


def _rejected(item: QueuedItem, code: FailureCode, evidence: str) -> Rejected:
    return Rejected(item, code, f"{code.meaning} ({evidence})")
