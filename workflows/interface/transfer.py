"""Single transfers: the messages of the `Transfer` workflow and the steps it may ask for.

The same workflow makes a direct transfer, creates a gift, decides it (by updates), and retries a failed transfer: its
id is the lock of everything that happens to one transfer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, model_validator
from temporalio import activity

from workflows.interface.batch import Recipient, TicketId, UserId
from workflows.interface.codes import FailureCode, Settlement, TransferKind, TransferStatus
from workflows.interface.message import Message, Request
from workflows.interface.options import BatchOptions
from workflows.interface.requests import plain_reason

Reason = Annotated[str, AfterValidator(plain_reason)]


class ReopenedBy(StrEnum):
    """Who reopens a failed transfer: the schedule grants one try and counts it, an operator grants three."""

    SCHEDULE = "schedule"
    OPERATOR = "operator"


class Reopening(Request):
    """Asks for a failed transfer to be reopened."""

    by: ReopenedBy
    force: bool = False
    """Also where the failure's code says that trying again unchanged can't help."""


class TransferInput(Request):
    """Input of `Transfer`. With a ticket it's a new transfer; without, the one that stands under this id goes on."""

    transfer_id: UUID
    from_user_id: UserId | None = None
    ticket_id: TicketId | None = None
    to: Recipient | None = None
    kind: TransferKind | None = None
    settlement: Settlement | None = None
    expires_at: AwareDatetime | None = None
    """Of a gift: until when it can be accepted; a week from its creation where it's left out."""
    reopen: Reopening | None = None

    @property
    def is_new(self) -> bool:
        """Whether it's a request for a transfer, and not word about one that was made before."""
        return self.ticket_id is not None

    @model_validator(mode="after")
    def _whole(self) -> TransferInput:
        request = {"fromUserId": self.from_user_id, "ticketId": self.ticket_id, "to": self.to}
        missing = [name for name, value in request.items() if value is None]
        if 0 < len(missing) < len(request):
            raise ValueError(f"{' and '.join(missing)} is needed with the others of fromUserId, ticketId and to")
        if missing and (self.kind or self.settlement or self.expires_at):
            raise ValueError("kind, settlement and expiresAt go with fromUserId, ticketId and to")
        if not missing and self.reopen:
            raise ValueError("reopen goes without fromUserId, ticketId and to: it's about a transfer that exists")
        fault = BatchOptions(kind=self.kind or TransferKind.DIRECT, expires_at=self.expires_at).fault
        if fault is not None:
            raise ValueError(fault)
        return self


class OpenTransfer(Message):
    """Input of the first step."""

    request: TransferInput
    tries: int = 0
    """Tries used up while the ticket was locked by another transfer; nothing is written before the last."""


class TransferState(Message):
    """A transfer as it stands: result of `Transfer`, answer to its query `progress` and to its updates."""

    transfer_id: UUID
    status: TransferStatus
    kind: TransferKind
    ticket_id: str
    from_user_id: str
    to_user_id: str | None = None
    to_address: str | None = None
    batch_id: UUID | None = None
    item_no: int | None = None
    code: FailureCode | None = None
    reason: str | None = None
    transaction_hash: str | None = None
    expires_at: datetime | None = None


class TransferStep(Message):
    """What a step of a single transfer found."""

    state: TransferState | None = None
    """None where the ticket is held by another transfer, so that nothing was written (`OpenTransfer.tries`)."""
    works_for: UUID | None = None
    """The batch whose failed item is retried."""
    next_try_in_s: float | None = None
    """Until it may be tried again; None where it's due."""
    subscription_ids: tuple[UUID, ...] = ()
    """Webhook subscriptions that got deliveries."""


class TransferWork(Message):
    """Input of the chain steps: which transfer."""

    transfer_id: UUID
    batch_id: UUID | None = None
    """Of a batch item that is retried alone: its batch's pause and cancel hold for it."""


class GiftWord(StrEnum):
    """What may be said of a gift that waits."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"


class GiftUpdate(Request):
    """Argument of the updates `accept-gift`, `decline-gift` (by the recipient) and `cancel-gift` (by the sender)."""

    user_id: UserId
    reason: Reason | None = None


class GiftDecision(Message):
    """Input of the step that decides a gift."""

    transfer_id: UUID
    word: GiftWord
    user_id: str
    said: str
    """Tells this word from every other: a step whose answer was lost finds by it that it has done its work."""
    reason: str | None = None


class SingleTransferActivities(ABC):
    """Steps of the queue `transfers` for one transfer."""

    @activity.defn(name="open_transfer")
    @abstractmethod
    async def open_transfer(self, request: OpenTransfer) -> TransferStep:
        """Writes a new transfer, finds one that stands, or reopens it; the same again changes nothing.

        Raises (as ApplicationError): NOT_FOUND, TRANSFER_CONTENT_DIFFERS.
        """

    @activity.defn(name="decide_gift")
    @abstractmethod
    async def decide_gift(self, decision: GiftDecision) -> TransferStep:
        """Accepts, declines or cancels a gift that waits.

        Raises (as ApplicationError): NOT_ALLOWED with the reason (decided before, expired, somebody else's).
        """

    @activity.defn(name="mend_batch")
    @abstractmethod
    async def mend_batch(self, work: TransferWork) -> None:
        """After a retried item: its batch is COMPLETED once nothing in it is failed any more."""


class ChainTransferActivities(ABC):
    """Steps of the queue `blockchain` for one transfer."""

    @activity.defn(name="submit_transfer")
    @abstractmethod
    async def submit_transfer(self, work: TransferWork) -> TransferStep:
        """Binds the transfer where a lane has room, signs and broadcasts it; NOT_YET where none has."""

    @activity.defn(name="confirm_transfer")
    @abstractmethod
    async def confirm_transfer(self, work: TransferWork) -> TransferStep:
        """Settles the transfer once a block at depth decides; NOT_YET before."""
