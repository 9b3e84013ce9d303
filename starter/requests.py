"""What callers may write: batch ids, idempotency keys and inline items, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID, uuid4

from pydantic import ValidationError

from ledger.fingerprint import StagedItem
from starter.counting import counted
from workflows.interface.batch import BatchInput, BatchItem
from workflows.interface.codes import BatchStatus, ErrorCode
from workflows.interface.errors import RequestError
from workflows.interface.faults import told
from workflows.interface.message import Message
from workflows.interface.names import batch_id_for
from workflows.interface.options import BatchOptions
from workflows.interface.requests import MAX_IDEMPOTENCY_KEY_BYTES, plain_user_id


class BatchStarted(Message):
    """Answer to a start: the batch that now stands under the id."""

    batch_id: UUID
    status: BatchStatus
    item_count: int


class BatchLabel(NamedTuple):
    """What a start tells of the batch for people and for comparison; all of it optional."""

    from_user_id: str | None = None
    item_count: int | None = None
    sha256: str | None = None

    @property
    def summary(self) -> str:
        """The static summary of the workflow."""
        count = "batch" if self.item_count is None else counted(self.item_count, "ticket")
        return count if self.from_user_id is None else f"{count} of {self.from_user_id}"


def chosen_batch_id(from_user_id: str, batch_id: UUID | None, idempotency_key: str | None) -> UUID:
    """The caller's own id, or the one that belongs to the idempotency key, or a new one.

    Raises:
        RequestError: INVALID_INPUT, both were given, or the key is empty or too long.
    """
    if batch_id is not None and idempotency_key is not None:
        raise _invalid("a batch id and an idempotency key exclude each other: give one")
    if idempotency_key is None:
        return batch_id or uuid4()
    return batch_id_for(from_user_id.strip(), checked_key(idempotency_key))


def checked_key(idempotency_key: str) -> str:
    """The idempotency key, unchanged.

    Raises:
        RequestError: INVALID_INPUT, empty or too long.
    """
    size = _bytes_of("idempotency key", idempotency_key)
    if not 0 < size <= MAX_IDEMPOTENCY_KEY_BYTES:
        raise _invalid(f"the idempotency key must be 1 to {MAX_IDEMPOTENCY_KEY_BYTES} bytes of UTF-8, this has {size}")
    return idempotency_key


def checked_user_id(user_id: str) -> str:
    """The user id without surrounding blanks.

    Raises:
        RequestError: INVALID_INPUT, empty, too long, or with control characters.
    """
    try:
        return plain_user_id(user_id)
    except ValueError as error:
        raise _invalid(f"a user id {error}") from error


def checked_reason(reason: str) -> str:
    """The reason of a cancel or a disabling, unchanged.

    Raises:
        RequestError: INVALID_INPUT, control characters or what isn't UTF-8.
    """
    if not reason.isprintable():
        raise _invalid("a reason can't hold control characters or bytes that aren't UTF-8")
    return reason


def inline_request(from_user_id: str, items: Iterable[BatchItem], batch_id: UUID, options: BatchOptions) -> BatchInput:
    """The input of `BatchTransfer` with its items.

    Raises:
        RequestError: INVALID_INPUT, naming the fields.
    """
    checked_options(options)
    try:
        return BatchInput.model_validate(
            {"batch_id": batch_id, "from_user_id": from_user_id, "items": tuple(items), **options.chosen}
        )
    except ValidationError as error:
        raise _invalid(told(error)) from error


def checked_options(options: BatchOptions) -> BatchOptions:
    """The options, unchanged.

    Raises:
        RequestError: INVALID_INPUT, they don't go together.
    """
    if options.fault:
        raise _invalid(options.fault)
    return options


def staged_items(request: BatchInput) -> list[StagedItem]:
    """The request's items as the ledger takes them."""
    return [StagedItem(item.ticket_id, item.to) for item in request.items or ()]


def _bytes_of(what: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise _invalid(f"the {what} isn't UTF-8") from error


def _invalid(message: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_INPUT, message)
