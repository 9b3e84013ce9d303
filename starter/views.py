"""What the command line prints: batches and items as JSON models (camelCase) and the lines made of them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from ledger.batch_reports import BatchReport, ItemReport
from workflows.interface.codes import BatchStatus, ItemOrder, ItemStatus, Settlement, TransferKind
from workflows.interface.message import Message


class BatchView(Message):
    """A batch as Postgres has it. Times are UTC; `items_per_second` counts completed items since the start."""

    batch_id: UUID
    from_user_id: str
    settlement: Settlement
    kind: TransferKind
    expires_at: datetime | None
    order: ItemOrder
    status: BatchStatus
    run_no: int
    reason: str | None
    item_count: int
    queued: int
    processing: int
    completed: int
    failed: int
    cancelled: int
    paused: bool
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    items_per_second: float | None


class ItemView(Message):
    """An item as Postgres has it."""

    item_no: int
    ticket_id: str
    to: str
    status: ItemStatus
    tries: int
    code: str | None
    reason: str | None
    transfer_id: UUID
    transaction_hash: str | None
    next_try_at: datetime | None
    ended_at: datetime | None


class BatchDetails(BatchView):
    """A batch with what failed in it: how many by code, and the first of them."""

    failures_by_code: dict[str, int]
    failures: tuple[ItemView, ...]


def batch_view(report: BatchReport) -> BatchView:
    """The batch as it's printed."""
    counts = report.counts.model_dump(by_alias=False)
    return BatchView.model_validate({**report._asdict(), **counts, "items_per_second": items_per_second(report)})


def item_view(report: ItemReport) -> ItemView:
    """The item as it's printed."""
    return ItemView.model_validate(
        {
            **report._asdict(),
            "to": report.recipient,
            "code": report.failure_code,
            "reason": report.failure_reason,
            "transaction_hash": None if report.final_tx_hash is None else "0x" + report.final_tx_hash.hex(),
        }
    )


def items_per_second(report: BatchReport) -> float | None:
    """Completed items per second from the batch's start to its end, or until now."""
    if report.started_at is None:
        return None
    seconds = ((report.ended_at or report.seen_at) - report.started_at).total_seconds()
    return round(report.counts.completed / seconds, 1) if seconds > 0 else None


def details_view(view: BatchView, failures_by_code: dict[str, int], failures: list[ItemView]) -> BatchDetails:
    """The batch with what failed in it."""
    return BatchDetails.model_validate(
        {**view.model_dump(by_alias=False), "failures_by_code": failures_by_code, "failures": failures}
    )
