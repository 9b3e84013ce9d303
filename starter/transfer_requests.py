"""What callers may write about a single transfer or gift, checked before it's sent, and when two requests are one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from pydantic import ValidationError

from ledger.fingerprint import keccak256, transfer_sha256
from starter.requests import checked_key, checked_reason
from workflows.interface.addresses import canonical_recipient, is_address_text
from workflows.interface.codes import ErrorCode, TransferKind
from workflows.interface.errors import RequestError
from workflows.interface.faults import told
from workflows.interface.message import Message
from workflows.interface.names import transfer_id_for_key
from workflows.interface.transfer import GiftUpdate, TransferInput, TransferState


class TransferStarted(Message):
    """Answer to a start: the transfer that now stands under the id."""

    transfer_id: UUID
    repeated: bool
    """The same request had been started before: it's the first transfer."""


def chosen_transfer_id(from_user_id: str, transfer_id: UUID | None, idempotency_key: str | None) -> UUID:
    """The caller's own id, or the one that belongs to the idempotency key, or a new one.

    Raises:
        RequestError: INVALID_INPUT, both were given, or the key is empty or too long.
    """
    if transfer_id is not None and idempotency_key is not None:
        raise _invalid("a transfer id and an idempotency key exclude each other: give one")
    if idempotency_key is None:
        return transfer_id or uuid4()
    return transfer_id_for_key(from_user_id.strip(), checked_key(idempotency_key))


def new_transfer(**fields: Any) -> TransferInput:
    """The input of `Transfer` for a new transfer or gift.

    Raises:
        RequestError: INVALID_INPUT, naming the fields.
    """
    try:
        return TransferInput(**fields)
    except ValidationError as error:
        raise _invalid(told(error)) from error


def chosen_expiry(expires_at: datetime | None, expires_in: timedelta | None) -> datetime | None:
    """Until when a gift waits; None leaves it to the service (a week).

    Raises:
        RequestError: INVALID_INPUT, both were given, a time without zone, or a span that isn't positive.
    """
    if expires_at is not None and expires_in is not None:
        raise _invalid("expiresAt and expiresIn exclude each other: give one")
    if expires_at is not None and expires_at.tzinfo is None:
        raise _invalid("expiresAt has no time zone: add one, for example +00:00")
    if expires_in is None:
        return expires_at
    if expires_in <= timedelta():
        raise _invalid("expiresIn must be more than nothing: how long the gift waits for its recipient")
    try:
        return datetime.now(UTC) + expires_in
    except OverflowError as error:
        raise _invalid("expiresIn lies beyond the year 9999: give a shorter one") from error


def gift_update(user_id: str, reason: str | None = None) -> GiftUpdate:
    """The argument of the updates that decide a gift.

    Raises:
        RequestError: INVALID_INPUT, naming the fields.
    """
    try:
        return GiftUpdate(user_id=user_id, reason=None if reason is None else checked_reason(reason))
    except ValidationError as error:
        raise _invalid(told(error)) from error


def require_same_request(own: TransferInput, first: TransferInput) -> None:
    """Lets the same request pass.

    Raises:
        RequestError: TRANSFER_CONTENT_DIFFERS, the id belongs to another request.
    """
    if transfer_sha256(own) != transfer_sha256(first):
        raise _differs(own.transfer_id)


def require_same_transfer(own: TransferInput, state: TransferState, *, expiry_matters: bool) -> None:
    """The same, where only the transfer that was made is known, and not the request.

    Raises:
        RequestError: TRANSFER_CONTENT_DIFFERS, the id belongs to another request.
    """
    asked = (own.from_user_id, own.ticket_id, own.kind or TransferKind.DIRECT)
    same = asked == (state.from_user_id, state.ticket_id, state.kind) and _is_to(state, own.to or "")
    if not same or (expiry_matters and own.expires_at != state.expires_at):
        raise _differs(own.transfer_id)


def _differs(transfer_id: UUID) -> RequestError:
    return RequestError(
        ErrorCode.TRANSFER_CONTENT_DIFFERS,
        f"transfer {transfer_id} holds another request: use a new transfer id or idempotency key for this one",
    )


def _is_to(state: TransferState, to: str) -> bool:
    if state.to_user_id is None and state.to_address is None:
        # It failed before its recipient was known.
        return True
    if is_address_text(to):
        return canonical_recipient(to, keccak256) == (state.to_address or "").lower()
    return to == state.to_user_id


def _invalid(message: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_INPUT, message)
