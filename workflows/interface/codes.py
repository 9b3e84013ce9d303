"""Statuses and codes: every word that is stored in a status or code column, and what may follow from it."""

from __future__ import annotations

from enum import StrEnum


class TransferStatus(StrEnum):
    """States of a transfer (edges: docs/architecture.md)."""

    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    SUBMITTED = "SUBMITTED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    DECLINED = "DECLINED"


class ItemStatus(StrEnum):
    """States of a batch item."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class BatchStatus(StrEnum):
    """States of a batch."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    COMPLETED_WITH_FAILURES = "COMPLETED_WITH_FAILURES"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the batch by itself."""
        return self not in (BatchStatus.QUEUED, BatchStatus.PROCESSING, BatchStatus.PAUSED)


class Settlement(StrEnum):
    """How transfers reach the chain: many per chain transaction through TransferRouter, or one each."""

    BATCHED = "batched"
    SINGLE = "single"


class TransferKind(StrEnum):
    """A direct transfer goes to the chain at once; a gift waits for the recipient's acceptance."""

    DIRECT = "direct"
    GIFT = "gift"


class ItemOrder(StrEnum):
    """How a batch's items follow each other: side by side, or one at a time in their order."""

    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"


class DeadLetterKind(StrEnum):
    """What used up its retries."""

    ITEM = "item"
    TRANSFER = "transfer"
    """The chain refused it; an item's failure before the chain is an `item`."""
    DELIVERY = "delivery"
    JOB = "job"


class DeadLetterStatus(StrEnum):
    """States of a dead letter; all but the first are final."""

    OPEN = "OPEN"
    REPLAYED = "REPLAYED"
    """Given another go; if that fails as well, there is a new letter."""
    RESOLVED = "RESOLVED"
    """It went through after all, without a replay."""
    DISCARDED = "DISCARDED"


class DeadLetterAction(StrEnum):
    """What a person can do about a dead letter."""

    REPLAY = "replay"
    DISCARD = "discard"


class Outcome(StrEnum):
    """Final outcome of a binding."""

    MOVED = "moved"
    FAILED = "failed"
    SKIPPED = "skipped"


class AttemptKind(StrEnum):
    """What a chain attempt carries: the transfers, or nothing (a self-send that frees the nonce)."""

    PAYLOAD = "payload"
    CANCEL = "cancel"


class EventType(StrEnum):
    """Types of the events that webhooks carry."""

    TRANSFER_CREATED = "transfer.created"
    TRANSFER_ACCEPTED = "transfer.accepted"
    TRANSFER_SUBMITTED = "transfer.submitted"
    TRANSFER_COMPLETED = "transfer.completed"
    TRANSFER_FAILED = "transfer.failed"
    TRANSFER_EXPIRED = "transfer.expired"
    TRANSFER_DECLINED = "transfer.declined"
    TRANSFER_CANCELLED = "transfer.cancelled"
    BATCH_COMPLETED = "batch.completed"
    BATCH_CANCELLED = "batch.cancelled"
    BATCH_FAILED = "batch.failed"


class DeliveryStatus(StrEnum):
    """States of a webhook delivery."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"


class FailureCode(StrEnum):
    """Why an item or transfer failed. `retryable` tells whether another try can help."""

    INVALID_ADDRESS = "INVALID_ADDRESS"
    ADDRESS_CHECKSUM = "ADDRESS_CHECKSUM"
    ZERO_ADDRESS = "ZERO_ADDRESS"
    UNKNOWN_USER = "UNKNOWN_USER"
    UNKNOWN_TICKET = "UNKNOWN_TICKET"
    NOT_TICKET_OWNER = "NOT_TICKET_OWNER"
    DUPLICATE_IN_BATCH = "DUPLICATE_IN_BATCH"
    RECIPIENT_IS_SENDER = "RECIPIENT_IS_SENDER"
    RECIPIENT_NOT_ALLOWED = "RECIPIENT_NOT_ALLOWED"
    TICKET_LOCKED = "TICKET_LOCKED"
    GIFT_NEEDS_USER = "GIFT_NEEDS_USER"
    NOT_APPROVED = "NOT_APPROVED"
    RECIPIENT_REFUSED = "RECIPIENT_REFUSED"
    NOT_OWNER_ON_CHAIN = "NOT_OWNER_ON_CHAIN"
    OUT_OF_GAS = "OUT_OF_GAS"
    REVERTED = "REVERTED"
    NOT_MOVED = "NOT_MOVED"
    SEND_REFUSED = "SEND_REFUSED"
    INTERNAL = "INTERNAL"

    @property
    def retryable(self) -> bool:
        """Whether trying again, unchanged, may succeed."""
        return self in _RETRYABLE

    @property
    def meaning(self) -> str:
        """The sentence for people; evidence (an address, a reason from the chain) is added to it."""
        return _MEANINGS[self]


_RETRYABLE = frozenset(
    {
        FailureCode.TICKET_LOCKED,
        FailureCode.OUT_OF_GAS,
        FailureCode.REVERTED,
        FailureCode.NOT_MOVED,
        FailureCode.SEND_REFUSED,
    }
)

_MEANINGS: dict[FailureCode, str] = {
    FailureCode.INVALID_ADDRESS: "the recipient isn't an address: 0x and 40 hexadecimal digits are needed",
    FailureCode.ADDRESS_CHECKSUM: "the recipient's mixed-case checksum is wrong (EIP-55): a digit was mistyped",
    FailureCode.ZERO_ADDRESS: "the recipient is the zero address: the ticket would be lost",
    FailureCode.UNKNOWN_USER: "no user of this name has a wallet",
    FailureCode.UNKNOWN_TICKET: "there is no such ticket",
    FailureCode.NOT_TICKET_OWNER: "the ticket belongs to somebody else",
    FailureCode.DUPLICATE_IN_BATCH: "the ticket is named by an earlier item of this batch",
    FailureCode.RECIPIENT_IS_SENDER: "the recipient is the wallet that holds the ticket",
    FailureCode.RECIPIENT_NOT_ALLOWED: "the recipient is a contract of this service",
    FailureCode.TICKET_LOCKED: "another transfer of this ticket is under way",
    FailureCode.GIFT_NEEDS_USER: ("a gift needs a recipient who is a user of this service: nobody else can accept it"),
    FailureCode.NOT_APPROVED: "the holder hasn't approved this service for the ticket's contract",
    FailureCode.RECIPIENT_REFUSED: "the recipient contract refuses ERC-721 tokens",
    FailureCode.NOT_OWNER_ON_CHAIN: "the chain says that the sender doesn't hold the ticket",
    FailureCode.OUT_OF_GAS: "the recipient contract used all the gas an item may use",
    FailureCode.REVERTED: "the chain refused the transfer",
    FailureCode.NOT_MOVED: "the chain transaction succeeded without moving the ticket",
    FailureCode.SEND_REFUSED: "the chain refused the transaction's bytes for good",
    FailureCode.INTERNAL: "a defect of this service; its operators are alerted",
}


class ErrorCode(StrEnum):
    """Codes of whole-request errors: the type of a failed workflow or of a client's error."""

    INVALID_INPUT = "INVALID_INPUT"
    BATCH_CONTENT_DIFFERS = "BATCH_CONTENT_DIFFERS"
    TRANSFER_CONTENT_DIFFERS = "TRANSFER_CONTENT_DIFFERS"
    NOT_FOUND = "NOT_FOUND"
    NOT_ALLOWED = "NOT_ALLOWED"
    DEFECT = "DEFECT"
    INFRASTRUCTURE = "INFRASTRUCTURE"
    NOT_YET = "NOT_YET"


class AlertKind(StrEnum):
    """Conditions that a person must see."""

    DEFECT = "DEFECT"
    REPEATED_DEFECT = "REPEATED_DEFECT"
    LANE_CONDITION = "LANE_CONDITION"
    FOREIGN_NONCE = "FOREIGN_NONCE"
    DATABASE_CONDITION = "DATABASE_CONDITION"
    STALE_BATCH = "STALE_BATCH"
    STALE_TRANSFER = "STALE_TRANSFER"
    QUEUE_DEPTH = "QUEUE_DEPTH"
    QUEUE_AGE = "QUEUE_AGE"
    NO_WORKER = "NO_WORKER"
    SCHEDULE_MISSED = "SCHEDULE_MISSED"
    FAILURE_RATE = "FAILURE_RATE"
    DEAD_LETTERS = "DEAD_LETTERS"
    SIGNER_BALANCE = "SIGNER_BALANCE"
    LANE_STUCK = "LANE_STUCK"
    ENDPOINT_DISABLED = "ENDPOINT_DISABLED"
    NOT_MEASURED = "NOT_MEASURED"
    """A check couldn't look at one of these: what it measures is unknown, not sound."""


class AlertSeverity(StrEnum):
    """How soon somebody must look."""

    WARNING = "warning"
    CRITICAL = "critical"


class AlertNotice(StrEnum):
    """What a message about an alert tells."""

    OPENED = "opened"
    REPEATED = "repeated"
    CLOSED = "closed"


class AlertChannel(StrEnum):
    """Where messages about alerts go."""

    LOG = "log"
    WEBHOOK = "webhook"
    SLACK = "slack"
