"""Single transfers in memory, with typed fakes of their steps: they fail, wait and hold on command."""

from __future__ import annotations

from uuid import UUID, uuid4

from temporalio import activity
from temporalio.exceptions import ApplicationError

from tests.fake_batch import Hold
from workflows.interface.codes import ErrorCode, TransferKind, TransferStatus
from workflows.interface.transfer import (
    ChainTransferActivities,
    GiftDecision,
    GiftWord,
    OpenTransfer,
    SingleTransferActivities,
    TransferState,
    TransferStep,
    TransferWork,
)


class FakeTransfer:
    """A transfer in memory: `script` holds what its steps raise, one after the other, before they do their work."""

    def __init__(self, status: TransferStatus | None = None, *script: ApplicationError | Hold | None) -> None:
        self.transfer_id = uuid4()
        self.status = status
        self.works_for: UUID | None = None
        self.locked_for = 0
        """So many tries find the ticket locked."""
        self.script = list(script)
        self.done: list[str] = []
        self.outcomes = [TransferStatus.COMPLETED]
        """What each confirmation finds; ACCEPTED stands for a try that failed and leaves another."""

    async def begin(self, step: str) -> None:
        """Notes the step, and does what the script says first."""
        self.done.append(step)
        told = self.script.pop(0) if self.script else None
        if isinstance(told, Hold):
            await told.wait()
        elif told is not None:
            raise told

    def found(self, next_try_in_s: float | None = None) -> TransferStep:
        """How it stands."""
        if self.status is None:
            return TransferStep()
        state = TransferState(
            transfer_id=self.transfer_id,
            status=self.status,
            kind=TransferKind.GIFT,
            ticket_id="17",
            from_user_id="alice",
            to_user_id="bob",
        )
        return TransferStep(state=state, works_for=self.works_for, next_try_in_s=next_try_in_s)


class FakeSingles(SingleTransferActivities, ChainTransferActivities):
    """The steps of single transfers, of both queues; transfers are found by their id."""

    def __init__(self) -> None:
        self.transfers: dict[UUID, FakeTransfer] = {}

    @activity.defn(name="open_transfer")
    async def open_transfer(self, request: OpenTransfer) -> TransferStep:
        transfer = self.transfers[request.request.transfer_id]
        await transfer.begin("open")
        if request.request.is_new and request.tries >= transfer.locked_for:
            transfer.status = transfer.status or TransferStatus.ACCEPTED
        return transfer.found()

    @activity.defn(name="decide_gift")
    async def decide_gift(self, decision: GiftDecision) -> TransferStep:
        transfer = self.transfers[decision.transfer_id]
        await transfer.begin(decision.word)
        if transfer.status is not TransferStatus.PENDING:
            raise ApplicationError("it doesn't wait any more", type=ErrorCode.NOT_ALLOWED, non_retryable=True)
        accepted = decision.word is GiftWord.ACCEPT
        transfer.status = TransferStatus.ACCEPTED if accepted else TransferStatus.DECLINED
        return transfer.found()

    @activity.defn(name="mend_batch")
    async def mend_batch(self, work: TransferWork) -> None:
        await self.transfers[work.transfer_id].begin("mend")

    @activity.defn(name="submit_transfer")
    async def submit_transfer(self, work: TransferWork) -> TransferStep:
        transfer = self.transfers[work.transfer_id]
        await transfer.begin("submit")
        transfer.status = TransferStatus.SUBMITTED
        return transfer.found()

    @activity.defn(name="confirm_transfer")
    async def confirm_transfer(self, work: TransferWork) -> TransferStep:
        transfer = self.transfers[work.transfer_id]
        await transfer.begin("confirm")
        transfer.status = transfer.outcomes.pop(0)
        return transfer.found(0.02 if transfer.status is TransferStatus.ACCEPTED else None)
