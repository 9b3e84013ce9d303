"""Typed fakes of every abstract activity class and of `ChainLedger`, which fail, wait and hold on command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.faults import not_yet
from tests.fake_batch import FakeBatch, Hold, defect
from workflows.interface.batch import (
    Alert,
    BatchInput,
    BatchPlan,
    BatchResult,
    BlockchainActivities,
    ControlInput,
    DueAgain,
    ItemFault,
    LaneState,
    LaneWork,
    ReopenResult,
    Slice,
    StepResult,
    TransferActivities,
)
from workflows.interface.chain import Attempt, BoundTransaction, SendClass, SendResult, SentTransaction
from workflows.interface.codes import BatchStatus, ErrorCode, Settlement, TransferKind
from workflows.interface.slices import ItemRange
from workflows.interface.webhook import (
    DeliveryWork,
    DrainResult,
    WebhookActivities,
)


class FakeTransfers(TransferActivities):
    """The queue `transfers`; batches are found by their id."""

    def __init__(self) -> None:
        self.batches: dict[UUID, FakeBatch] = {}
        self.alerts: list[Alert] = []

    def add(self, batch: FakeBatch) -> FakeBatch:
        """Makes the batch known, as staging would."""
        self.batches[batch.batch_id] = batch
        return batch

    @activity.defn(name="open_batch")
    async def open_batch(self, request: BatchInput) -> BatchPlan:
        batch = self.batches.get(request.batch_id)
        if batch is None:
            raise ApplicationError("never staged", type=ErrorCode.INVALID_INPUT, non_retryable=True)
        await batch.begin("open")
        if request.items is not None:
            batch.content = batch.content or request
            if batch.content.items != request.items:
                raise ApplicationError("holds another", type=ErrorCode.BATCH_CONTENT_DIFFERS, non_retryable=True)
        run_id = activity.info().workflow_run_id or ""
        begins = batch.run_no == 0 or (batch.status.ended and request.retry_failed)
        if begins and batch.opened_by != run_id:
            batch.run_no, batch.opened_by, batch.status = batch.run_no + 1, run_id, BatchStatus.PROCESSING
            batch.paused = batch.cancelled = False
        await batch.end("open")
        return BatchPlan.model_validate(
            {
                **batch.pace,
                "batch_id": batch.batch_id,
                "from_user_id": "alice",
                "item_count": len(batch.items),
                "settlement": Settlement.BATCHED,
                "kind": batch.kind,
                "order": batch.order,
                "run_no": batch.run_no,
                "status": batch.status,
                "counts": batch.counts,
                "request_sha256": "ab" * 32,
                "subscription_ids": batch.subscription_ids,
                "cancelled": batch.cancelled,
                "paused": batch.paused,
                "reopening": batch.run_no > 1 and batch.opened_by == run_id,
            }
        )

    @activity.defn(name="reopen_failed_items")
    async def reopen_failed_items(self, plan: BatchPlan) -> ReopenResult:
        batch = self.batches[plan.batch_id]
        await batch.begin("reopen")
        numbers = [n for n, status in batch.items.items() if status == "FAILED"]
        for number in numbers:
            batch.items[number], batch.tries[number] = "READY", 1
        due = [DueAgain(range=ItemRange(first=n, last=n), count=1, due_at=datetime.now(UTC)) for n in numbers]
        return ReopenResult(counts=batch.counts, due_again=tuple(due))

    @activity.defn(name="create_transfers")
    async def create_transfers(self, work: Slice) -> StepResult:
        batch = self.batches[work.batch_id]
        await batch.begin("create", work.range)
        if not batch.cancelled and batch.kind is TransferKind.GIFT:
            batch.give(work)
        elif not batch.cancelled:
            for number in batch.in_state("QUEUED", work):
                batch.items[number] = "READY"
        await batch.end("create")
        gifts_due = batch.due_again(work) if batch.kind is TransferKind.GIFT else None
        return batch.result(stopped=batch.cancelled, due_again=gifts_due)

    @activity.defn(name="fail_item")
    async def fail_item(self, fault: ItemFault) -> StepResult:
        batch = self.batches[fault.batch_id]
        await batch.begin("fail", ItemRange(first=fault.item_no, last=fault.item_no))
        if not batch.goes_on(fault.run_no):
            return batch.result()
        if batch.items[fault.item_no] == "BOUND":
            return batch.result(left=1)
        batch.items[fault.item_no], batch.codes[fault.item_no] = "FAILED", "INTERNAL"
        return batch.result()

    @activity.defn(name="pause_batch")
    async def pause_batch(self, control: ControlInput) -> None:
        batch = self.batches[control.batch_id]
        await batch.begin("pause")
        batch.paused = batch.paused or batch.goes_on(control.run_no)

    @activity.defn(name="resume_batch")
    async def resume_batch(self, control: ControlInput) -> None:
        batch = self.batches[control.batch_id]
        await batch.begin("resume")
        batch.paused = batch.paused and not batch.goes_on(control.run_no)

    @activity.defn(name="cancel_batch")
    async def cancel_batch(self, control: ControlInput) -> StepResult:
        batch = self.batches[control.batch_id]
        await batch.begin("cancel")
        if not batch.goes_on(control.run_no):
            return batch.result()
        batch.cancelled, batch.reason = True, batch.reason or control.reason
        for number, status in batch.items.items():
            if status in ("QUEUED", "READY"):
                batch.items[number] = "CANCELLED"
        return batch.result()

    @activity.defn(name="close_batch")
    async def close_batch(self, control: ControlInput) -> BatchResult:
        batch = self.batches[control.batch_id]
        await batch.begin("close")
        counts = batch.counts
        if batch.goes_on(control.run_no):
            if counts.queued or counts.processing:
                raise defect(f"{counts.queued + counts.processing} items are open")
            finished = BatchStatus.COMPLETED_WITH_FAILURES if counts.failed else BatchStatus.COMPLETED
            batch.status = BatchStatus.CANCELLED if batch.cancelled else finished
        await batch.end("close")
        return BatchResult.model_validate(
            {"batch_id": batch.batch_id, "status": batch.status, **counts.model_dump(by_alias=False)}
        )

    @activity.defn(name="raise_alert")
    async def raise_alert(self, alert: Alert) -> None:
        self.alerts.append(alert)


class FakeLane:
    """A lane in memory: `script` says what each round finds."""

    def __init__(self, *script: LaneState | ApplicationError | Hold) -> None:
        self.signer = "0x" + uuid4().hex + "00000000"
        self.script = list(script)
        self.rounds = 0
        self.wanted = False
        """Something was bound that no round has looked at yet."""


class FakeBlockchain(BlockchainActivities):
    """The queue `blockchain`."""

    def __init__(self, transfers: FakeTransfers) -> None:
        self._transfers = transfers
        self.lanes: dict[str, FakeLane] = {}

    @activity.defn(name="submit_transfers")
    async def submit_transfers(self, work: Slice) -> StepResult:
        batch = self._transfers.batches[work.batch_id]
        await batch.begin("submit", work.range)
        ready = batch.in_state("READY", work)
        if ready and (batch.paused or batch.cancelled):
            return batch.result(left=len(ready), stopped=True)
        bound = ready if batch.room is None else ready[: batch.room]
        for number in bound:
            batch.items[number] = "BOUND"
        await batch.end("submit")
        return batch.result(left=len(ready) - len(bound))

    @activity.defn(name="confirm_transfers")
    async def confirm_transfers(self, work: Slice) -> StepResult:
        batch = self._transfers.batches[work.batch_id]
        await batch.begin("confirm", work.range)
        bound = batch.in_state("BOUND", work)
        if bound and batch.polls:
            batch.polls -= 1
            raise not_yet(f"{len(bound)} are open", 0.02)
        for number in bound:
            batch.settle(number)
        await batch.end("confirm")
        return batch.result(due_again=batch.due_again(work))

    @activity.defn(name="tend_lane")
    async def tend_lane(self, work: LaneWork) -> LaneState:
        lane = self.lanes[work.signer]
        lane.rounds += 1
        lane.wanted = False
        found = lane.script.pop(0) if lane.script else LaneState(open=0)
        if isinstance(found, Hold):
            await found.wait()
            return LaneState(open=0)
        if isinstance(found, ApplicationError):
            raise found
        return found


class FakeWebhooks(WebhookActivities):
    """The queue `webhooks`: nothing is ever due."""

    def __init__(self) -> None:
        self.drained: Counter[UUID] = Counter()

    @activity.defn(name="drain_deliveries")
    async def drain_deliveries(self, work: DeliveryWork) -> DrainResult:
        self.drained[work.subscription_id] += 1
        return DrainResult()


class FakeChainLedger:
    """Keeps the attempts of each transaction, as the schema would; the first one stored is the one that stands."""

    def __init__(self) -> None:
        self.attempts: dict[int, list[Attempt]] = {}
        self.sends: list[SendResult] = []

    async def store_first_attempts(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Stores what has no attempt yet; answers what stands."""
        return [self.attempts.setdefault(a.transaction_id, [a])[0] for a in attempts]

    async def store_next_attempts(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Adds attempts after ones that were refused for good, each only once; answers what stands."""
        for attempt in attempts:
            stored = self.attempts[attempt.transaction_id]
            if stored[-1].send_class is SendClass.FATAL and attempt.tx_hash not in {a.tx_hash for a in stored}:
                stored.append(attempt)
        return [a for a in attempts if a.tx_hash in {s.tx_hash for s in self.attempts[a.transaction_id]}]

    async def record_sends(self, results: Sequence[SendResult]) -> None:
        """Notes the replies at their attempts."""
        self.sends += results
        for result in results:
            stored = self.attempts[result.transaction_id]
            stored[:] = [a._replace(send_class=result.send_class) if a.tx_hash == result.tx_hash else a for a in stored]

    def classes(self, transaction_id: int) -> list[SendClass | None]:
        """The last reply to each attempt of a transaction."""
        return [attempt.send_class for attempt in self.attempts[transaction_id]]

    def reload(self, transaction: BoundTransaction) -> BoundTransaction:
        """The transaction with the attempts stored so far, as another process would read it."""
        return transaction._replace(attempts=tuple(self.attempts.get(transaction.transaction_id, ())))

    def sent(self, transaction: BoundTransaction) -> SentTransaction:
        """What confirmation needs of a transaction."""
        return SentTransaction(
            transaction.transaction_id,
            transaction.lane,
            transaction.nonce,
            transaction.settlement,
            transaction.key,
            tuple(a.tx_hash for a in self.attempts.get(transaction.transaction_id, ())),
        )
