"""Steps for one transfer: made, found, decided or reopened (queue `transfers`); bound and settled (`blockchain`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from temporalio import activity

from activities.blockchain import BatchOwner
from activities.chain_work import ChainWork
from activities.faults import RaiseAlert, Step, not_yet, step
from activities.turns import Turns
from activities.waking import Waker
from ledger.gifts import Gifts
from ledger.runs import BatchRuns
from ledger.single_retries import SingleRetries
from ledger.singles import SingleTransfers, Standing
from workflows.interface.codes import FailureCode
from workflows.interface.transfer import (
    ChainTransferActivities,
    GiftDecision,
    OpenTransfer,
    SingleTransferActivities,
    TransferStep,
    TransferWork,
)

STOPPED_POLL_S = 2.0


class SingleLedgers(NamedTuple):
    """The parts of the ledger these steps use."""

    singles: SingleTransfers
    gifts: Gifts
    retries: SingleRetries


class SingleSteps(Step, SingleTransferActivities):
    """Implements `SingleTransferActivities` on the ledger."""

    def __init__(self, ledgers: SingleLedgers, waker: Waker, raise_alert: RaiseAlert, turns: Turns) -> None:
        super().__init__(raise_alert)
        self._singles, self._gifts, self._retries = ledgers
        self._waker = waker
        self._turns = turns

    @activity.defn(name="open_transfer")
    @step
    async def open_transfer(self, request: OpenTransfer) -> TransferStep:
        """Writes a new transfer, finds one that stands, or reopens it; the same again changes nothing."""
        self._turns.company()
        wanted, woken = request.request, frozenset[UUID]()
        if wanted.is_new:
            written = await self._singles.create(wanted, request.tries)
            if written.locked:
                return TransferStep()
            woken = written.subscription_ids
        elif wanted.reopen is not None:
            woken = await self._retries.reopen(wanted.transfer_id, wanted.reopen)
        await self._wake(wanted.transfer_id, woken)
        standing = await self._singles.find(wanted.transfer_id)
        if standing.left_alone:
            await self._singles.come_back(wanted.transfer_id)
        return stepped(standing, woken)

    @activity.defn(name="decide_gift")
    @step
    async def decide_gift(self, decision: GiftDecision) -> TransferStep:
        """Accepts, declines or cancels a gift that waits."""
        woken = await self._gifts.decide(decision)
        return await self._stepped(decision.transfer_id, woken)

    @activity.defn(name="mend_batch")
    @step
    async def mend_batch(self, work: TransferWork) -> None:
        """After a retried item: its batch is COMPLETED once nothing in it is failed any more."""
        if work.batch_id is not None:
            await self._wake(work.transfer_id, await self._retries.mend_batch(work.batch_id))

    async def _stepped(self, transfer_id: UUID, woken: Iterable[UUID]) -> TransferStep:
        await self._wake(transfer_id, woken)
        return stepped(await self._singles.find(transfer_id), woken)

    async def _wake(self, transfer_id: UUID, subscription_ids: Iterable[UUID]) -> None:
        """Wakes the drains of what was just committed, and in a later go of what an earlier one may have left."""
        await self._waker.wake(subscription_ids)
        if activity.info().attempt > 1:
            await self._waker.wake(await self._singles.due_subscriptions(transfer_id))


class ChainSingleSteps(Step, ChainTransferActivities):
    """Implements `ChainTransferActivities` on the ledger and the chain."""

    def __init__(self, chain: ChainWork, singles: SingleTransfers, runs: BatchRuns, turns: Turns) -> None:
        super().__init__(runs.raise_alert)
        self._chain = chain
        self._singles = singles
        self._runs = runs
        self._turns = turns

    @activity.defn(name="submit_transfer")
    @step
    async def submit_transfer(self, work: TransferWork) -> TransferStep:
        """Binds the transfer where a lane has room, signs and broadcasts it; NOT_YET where none has."""
        self._turns.company()
        submitted = await self._chain.submit(work, self._owner(work))
        if submitted.stopped:
            raise not_yet("its batch is paused or being cancelled", STOPPED_POLL_S)
        return stepped(await self._singles.find(work.transfer_id), submitted.subscription_ids)

    @activity.defn(name="confirm_transfer")
    @step
    async def confirm_transfer(self, work: TransferWork) -> TransferStep:
        """Settles the transfer once a block at depth decides; NOT_YET before."""
        self._turns.company()
        woken = await self._chain.confirm(work, self._owner(work))
        return stepped(await self._singles.find(work.transfer_id), woken)

    def _owner(self, work: TransferWork) -> BatchOwner | SingleOwner:
        if work.batch_id is None:
            return SingleOwner(self._singles, work.transfer_id)
        return BatchOwner(self._runs, work.batch_id)


class SingleOwner:
    """A transfer of no batch answers for itself."""

    def __init__(self, singles: SingleTransfers, transfer_id: UUID) -> None:
        self._singles = singles
        self._transfer_id = transfer_id

    async def fail_unapproved(self, transfer_ids: Sequence[UUID]) -> frozenset[UUID]:
        """There is at most one."""
        code, woken = FailureCode.NOT_APPROVED, frozenset[UUID]()
        for transfer_id in transfer_ids:
            woken |= await self._singles.fail_unbound(transfer_id, code, code.meaning)
        return woken

    async def due_subscriptions(self) -> frozenset[UUID]:
        """Those of its sender."""
        return await self._singles.due_subscriptions(self._transfer_id)

    async def is_stopped(self) -> bool:
        """Nobody can pause it."""
        return False


def stepped(standing: Standing, woken: Iterable[UUID]) -> TransferStep:
    """What a step answers about a transfer as it stands."""
    return TransferStep(
        state=standing.state,
        works_for=standing.works_for,
        next_try_in_s=standing.next_try_in_s or None,
        subscription_ids=tuple(woken),
    )
