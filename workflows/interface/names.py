"""Every name a caller can depend on: task queues, workflow types, ids (built and parsed here), signals, attributes."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from uuid import UUID, uuid5

BATCH_NAMESPACE = UUID("6f1c1d52-8c0e-5d7b-9a1e-2f5f1f1a7c10")
"""Published namespace: batch id = uuid5(this, fromUserId + "\\n" + idempotency key)."""


class Queue(StrEnum):
    """Task queues; one activity class each."""

    TRANSFERS = "transfers"
    BLOCKCHAIN = "blockchain"
    WEBHOOKS = "webhooks"
    MAINTENANCE = "maintenance"


class WorkflowType(StrEnum):
    """Workflow types a client may start by name."""

    BATCH_TRANSFER = "BatchTransfer"
    TRANSFER = "Transfer"
    LANE_KEEPER = "LaneKeeper"
    WEBHOOK_DELIVERY = "WebhookDelivery"
    SWEEP_WEBHOOK_DELIVERIES = "SweepWebhookDeliveries"
    EXPIRE_TRANSFERS = "ExpireTransfers"
    RETRY_FAILED_BLOCKCHAIN_TRANSFERS = "RetryFailedBlockchainTransfers"
    ARCHIVE_WEBHOOK_DELIVERIES = "ArchiveWebhookDeliveries"
    CLEAN_STALE_BATCHES = "CleanStaleBatches"
    CHECK_ALERTS = "CheckAlerts"
    REPLAY_DEAD_LETTERS = "ReplayDeadLetters"


class Signal(StrEnum):
    """Signals of the workflows."""

    CANCEL_BATCH = "cancel-batch"
    PAUSE_BATCH = "pause-batch"
    RESUME_BATCH = "resume-batch"
    WAKE = "wake"


class Update(StrEnum):
    """Updates of the workflows: signals with an answer."""

    ACCEPT_GIFT = "accept-gift"
    DECLINE_GIFT = "decline-gift"
    CANCEL_GIFT = "cancel-gift"


class Query(StrEnum):
    """Queries of the workflows."""

    PROGRESS = "progress"


class PriorityKey(IntEnum):
    """Temporal priority keys: 1 is served first."""

    SINGLE_TRANSFER = 1
    BATCH = 3
    MAINTENANCE = 5


class SearchAttribute(StrEnum):
    """Search attributes registered at set-up."""

    BATCH_STATUS = "BatchStatus"
    FROM_USER_ID = "FromUserId"
    ITEM_COUNT = "ItemCount"
    FAILED_COUNT = "FailedCount"


class MemoKey(StrEnum):
    """Memo fields of a batch workflow."""

    REQUEST_SHA256 = "requestSha256"


class ScheduleId(StrEnum):
    """Temporal Schedules."""

    EXPIRE_TRANSFERS = "expire-transfers"
    RETRY_FAILED_BLOCKCHAIN_TRANSFERS = "retry-failed-blockchain-transfers"
    ARCHIVE_WEBHOOK_DELIVERIES = "archive-webhook-deliveries"
    CLEAN_STALE_BATCHES = "clean-stale-batches"
    CHECK_ALERTS = "check-alerts"
    SWEEP_WEBHOOK_DELIVERIES = "sweep-webhook-deliveries"


def batch_id_for(from_user_id: str, idempotency_key: str) -> UUID:
    """The batch id that belongs to an idempotency key of one sender."""
    return uuid5(BATCH_NAMESPACE, f"{from_user_id}\n{idempotency_key}")


def transfer_id_for_key(from_user_id: str, idempotency_key: str) -> UUID:
    """The id of a single transfer that belongs to an idempotency key of one sender."""
    return uuid5(BATCH_NAMESPACE, f"transfer\n{from_user_id}\n{idempotency_key}")


def transfer_id_for(batch_id: UUID, item_no: int) -> UUID:
    """The one transfer of a batch item, for ever."""
    return uuid5(batch_id, str(item_no))


def batch_workflow_id(batch_id: UUID) -> str:
    """Workflow id of a batch."""
    return f"batch/{batch_id}"


def batch_id_of(workflow_id: str) -> UUID:
    """Inverse of `batch_workflow_id`.

    Raises:
        ValueError: the workflow id isn't one of a batch.
    """
    return _id_after("batch", workflow_id)


def transfer_workflow_id(transfer_id: UUID) -> str:
    """Workflow id of a single transfer, and of every retry of a transfer."""
    return f"transfer/{transfer_id}"


def transfer_id_of(workflow_id: str) -> UUID:
    """Inverse of `transfer_workflow_id`.

    Raises:
        ValueError: the workflow id isn't one of a transfer.
    """
    return _id_after("transfer", workflow_id)


def replay_workflow_id(replay_id: UUID) -> str:
    """Workflow id of one replay of dead letters."""
    return f"dead-letters/{replay_id}"


def lane_workflow_id(chain_id: int, signer: str) -> str:
    """Workflow id of a lane's keeper; `signer` is the 0x address."""
    return f"lane/{chain_id}/{signer.lower()}"


def webhook_workflow_id(subscription_id: UUID) -> str:
    """Workflow id of the one drain of a subscription."""
    return f"webhook/{subscription_id}"


def _id_after(kind: str, workflow_id: str) -> UUID:
    found, _, key = workflow_id.partition("/")
    parsed = UUID(key) if found == kind else None
    if parsed is None or f"{kind}/{parsed}" != workflow_id:
        raise ValueError(f"workflow id {workflow_id!r} isn't of the form {kind}/<uuid in lower case>")
    return parsed
