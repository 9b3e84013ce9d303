"""Batches: the messages of the `BatchTransfer` workflow and the steps it may ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, model_validator
from temporalio import activity

from workflows.interface.codes import AlertKind, BatchStatus, ItemOrder, Settlement, TransferKind
from workflows.interface.message import Message, Request
from workflows.interface.options import BatchOptions
from workflows.interface.requests import canonical_ticket_id, plain_recipient, plain_user_id
from workflows.interface.slices import ItemRange

MAX_INLINE_ITEMS = 2_000
"""Items a start may carry itself (Temporal refuses payloads over 2 MB); bigger batches are staged."""
MAX_ITEMS = 1_000_000

UserId = Annotated[str, AfterValidator(plain_user_id)]
Recipient = Annotated[str, AfterValidator(plain_recipient)]
TicketId = Annotated[str, AfterValidator(canonical_ticket_id)]


class BatchItem(Request):
    """One line of a batch: which ticket goes to whom (a user id or a 0x address)."""

    ticket_id: TicketId
    to: Recipient


class BatchInput(Request):
    """Input of `BatchTransfer`. With `items` the batch comes inline; without, it was staged under this id."""

    batch_id: UUID
    from_user_id: UserId | None = None
    items: Annotated[tuple[BatchItem, ...], Field(max_length=MAX_INLINE_ITEMS)] | None = None
    settlement: Settlement | None = None
    kind: TransferKind | None = None
    expires_at: AwareDatetime | None = None
    """Of gifts: until when they can be accepted; a week from their creation where it's left out."""
    order: ItemOrder | None = None
    retry_failed: bool = False
    resume: BatchCursor | None = None
    """Set by the workflow itself when it continues as new; callers leave it out."""

    @model_validator(mode="after")
    def _whole(self) -> BatchInput:
        if self.items is not None and self.from_user_id is None:
            raise ValueError("fromUserId is needed with items")
        if self.items is not None and not self.items:
            raise ValueError("items is empty: a batch has at least one item")
        options = {"settlement": self.settlement, "kind": self.kind, "expiresAt": self.expires_at, "order": self.order}
        given = next((name for name, value in options.items() if value is not None), None)
        if self.items is None and given:
            raise ValueError(f"{given} belongs to the request that wrote the items; leave it out here")
        if self.options.fault:
            raise ValueError(self.options.fault)
        if self.items is not None and self.retry_failed:
            raise ValueError("retryFailed goes without items")
        return self

    @property
    def options(self) -> BatchOptions:
        """The options, with the defaults of those that were left out."""
        return BatchOptions(
            self.settlement or Settlement.BATCHED,
            self.kind or TransferKind.DIRECT,
            self.expires_at,
            self.order or ItemOrder.PARALLEL,
        )


class BatchCounts(Message):
    """Items by where they stand. The five add up to `item_count`."""

    item_count: int = 0
    queued: int = 0
    processing: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def ended(self) -> int:
        """Items that are done with."""
        return self.completed + self.failed + self.cancelled


class BatchResult(Message):
    """Result of `BatchTransfer`, as of its end."""

    batch_id: UUID
    status: BatchStatus
    item_count: int
    completed: int
    failed: int
    cancelled: int


class BatchProgress(BatchResult):
    """Answer to the query `progress`."""

    queued: int
    processing: int


class CancelReason(Message):
    """Optional argument of `cancel-batch`."""

    reason: str | None = None


class BatchPlan(Message):
    """What the first step found or wrote: all the workflow has to know of the batch."""

    batch_id: UUID
    from_user_id: str
    item_count: int
    settlement: Settlement
    kind: TransferKind = TransferKind.DIRECT
    order: ItemOrder = ItemOrder.PARALLEL
    run_no: int
    status: BatchStatus
    counts: BatchCounts
    request_sha256: str
    slice_size: int
    window: int
    slices_per_run: int
    subscription_ids: tuple[UUID, ...] = ()
    """Webhook subscriptions that may want this batch's events."""
    cancelled: bool = False
    paused: bool = False
    reopening: bool = False
    """This run reopens what failed in the runs before it."""


class DueAgain(Message):
    """Items of a range that wait for another try."""

    range: ItemRange
    count: int
    due_at: datetime


class BatchCursor(Message):
    """What a batch workflow carries over continue-as-new."""

    plan: BatchPlan
    next_item: int
    counts: BatchCounts
    due_again: tuple[DueAgain, ...] = ()
    paused: bool = False
    """Whether the database forbids new bindings; what is wanted may be on its way."""
    pause_wanted: bool = False
    cancel_wanted: bool = False
    cancel_reason: str | None = None


class Slice(Message):
    """Input of the slice steps: a contiguous range of item numbers of one batch."""

    batch_id: UUID
    range: ItemRange
    retries_only: bool = False
    """Only items that had a try before (they are due again, across slices)."""
    settlement: Settlement = Settlement.BATCHED


class StepResult(Message):
    """What a step found when it ended. Counts are the database's, so a result that was lost costs nothing."""

    counts: BatchCounts
    left: int = 0
    """Items this step couldn't take yet (no room on a lane), to be asked for again."""
    due_again: DueAgain | None = None
    subscription_ids: tuple[UUID, ...] = ()
    """Webhook subscriptions that got deliveries."""
    stopped: bool = False
    """The batch is paused or cancelled: nothing new may be created or bound."""


class ReopenResult(Message):
    """What reopening left to do, in ranges of at most a slice's items each."""

    counts: BatchCounts
    due_again: tuple[DueAgain, ...] = ()


class ItemFault(Message):
    """A defect narrowed down to one item; `run_no` as in `ControlInput`."""

    batch_id: UUID
    run_no: int
    item_no: int
    message: str


class ControlInput(Message):
    """Pause, resume, cancel or close, for the database."""

    batch_id: UUID
    run_no: int
    """The run that says so: a late copy of the step must not touch a later run."""
    reason: str | None = None


class Alert(Message):
    """A condition that a person must see; `subject` is what it's about (`batch/<id>`, `lane/<…>`)."""

    kind: AlertKind
    subject: str
    message: str


class LaneWork(Message):
    """Input of `LaneKeeper` and of its one step."""

    chain_id: int
    signer: str


class LaneState(Message):
    """What a round over a lane left."""

    open: int


class TransferActivities(ABC):
    """Steps of the queue `transfers`: everything about a batch that needs Postgres only."""

    @activity.defn(name="open_batch")
    @abstractmethod
    async def open_batch(self, request: BatchInput) -> BatchPlan:
        """Writes an inline batch or finds a staged one, and marks it running.

        Raises (as ApplicationError): INVALID_INPUT, BATCH_CONTENT_DIFFERS.
        """

    @activity.defn(name="reopen_failed_items")
    @abstractmethod
    async def reopen_failed_items(self, plan: BatchPlan) -> ReopenResult:
        """Reopens, page by page, the items that failed before this run."""

    @activity.defn(name="create_transfers")
    @abstractmethod
    async def create_transfers(self, work: Slice) -> StepResult:
        """Validates the range's queued items, locks their tickets and creates their transfers."""

    @activity.defn(name="fail_item")
    @abstractmethod
    async def fail_item(self, fault: ItemFault) -> StepResult:
        """Fails one unbound item with INTERNAL and raises an alert."""

    @activity.defn(name="pause_batch")
    @abstractmethod
    async def pause_batch(self, control: ControlInput) -> None:
        """Forbids new bindings; when it returns, none is under way any more."""

    @activity.defn(name="resume_batch")
    @abstractmethod
    async def resume_batch(self, control: ControlInput) -> None:
        """Allows bindings again."""

    @activity.defn(name="cancel_batch")
    @abstractmethod
    async def cancel_batch(self, control: ControlInput) -> StepResult:
        """Commits the cut, then cancels what isn't bound, page by page, and frees the tickets."""

    @activity.defn(name="close_batch")
    @abstractmethod
    async def close_batch(self, control: ControlInput) -> BatchResult:
        """Writes the final status with its event, once per run, and returns the stored result."""

    @activity.defn(name="raise_alert")
    @abstractmethod
    async def raise_alert(self, alert: Alert) -> None:
        """Records a condition that a person must see."""


class BlockchainActivities(ABC):
    """Steps of the queue `blockchain`: what needs the chain."""

    @activity.defn(name="submit_transfers")
    @abstractmethod
    async def submit_transfers(self, work: Slice) -> StepResult:
        """Binds what the lanes have room for, signs and broadcasts it; `left` counts the rest."""

    @activity.defn(name="confirm_transfers")
    @abstractmethod
    async def confirm_transfers(self, work: Slice) -> StepResult:
        """Settles the range's transfers that a block at depth decides; NOT_YET while some are open."""

    @activity.defn(name="tend_lane")
    @abstractmethod
    async def tend_lane(self, work: LaneWork) -> LaneState:
        """One round over a lane's open nonces: sign, send again, settle."""
