"""Steps of the queue `blockchain`: binding and sending, confirming and settling, and tending lanes."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping, Sequence
from datetime import timedelta
from itertools import count
from typing import NamedTuple
from uuid import UUID

from temporalio import activity

from activities.faults import Step, not_yet, step
from activities.lane_waking import LaneWaker
from activities.waking import Waker
from chain.approvals import Approvals, Holding
from chain.block_clock import BlockClock
from chain.confirmation import Confirmer
from chain.packing import Packer
from chain.recipients import Recipients
from chain.sender import LaneCondition, Sender
from ledger.attempts import Attempts
from ledger.binding import Binding, Bound
from ledger.retries import Retries
from ledger.runs import BatchRuns
from ledger.settlement import Settling
from workflows.interface.batch import BlockchainActivities, LaneState, LaneWork, Slice, StepResult
from workflows.interface.chain import ChainTransfer, Lane, PlannedTransaction
from workflows.interface.codes import AlertKind, FailureCode
from workflows.interface.names import lane_workflow_id

# Whoever bound a transaction settles it within a block or two; the keeper takes over what is older.
STALE_AFTER = timedelta(seconds=4)
# One round over a lane looks at its lowest nonces only: nothing above a gap can be mined anyway.
MOST_TENDED = 200
ROOM_POLL_S = 0.3
# Each round binds what one lane takes, or finds itself overtaken; a slice has 1,000 items at most.
MOST_ROUNDS = 100
LANE_POLL_S = 2.0


class ChainLedgers(NamedTuple):
    """The parts of the ledger these steps use."""

    runs: BatchRuns
    retries: Retries
    binding: Binding
    attempts: Attempts
    settling: Settling


class ChainTools(NamedTuple):
    """The parts of the chain room these steps use."""

    approvals: Approvals
    packer: Packer
    recipients: Recipients
    sender: Sender
    confirmer: Confirmer
    blocks: BlockClock


class _Submitted(NamedTuple):
    bound: int
    left: int
    subscription_ids: frozenset[UUID]
    stopped: bool = False


class _Settled(NamedTuple):
    final: int = 0
    subscription_ids: frozenset[UUID] = frozenset()
    overtaken: Sequence[int] = ()


class Blockchain(Step, BlockchainActivities):
    """Implements `BlockchainActivities` on the ledger and the chain."""

    def __init__(self, ledgers: ChainLedgers, tools: ChainTools, waker: Waker, lane_waker: LaneWaker) -> None:
        super().__init__(ledgers.runs.raise_alert)
        self._ledgers = ledgers
        self._tools = tools
        self._waker = waker
        self._lane_waker = lane_waker
        self._turn = count()

    @activity.defn(name="submit_transfers")
    @step
    async def submit_transfers(self, work: Slice) -> StepResult:
        """Binds what the lanes have room for, signs and broadcasts it; `left` counts the rest."""
        if activity.info().attempt > 1:
            await self._send_bound(work)
        submitted = await self._submit(work)
        await self._waker.wake(submitted.subscription_ids)
        if submitted.left and not submitted.bound and not submitted.stopped:
            await self._alert_without_lanes()
            raise not_yet("no lane has room", ROOM_POLL_S)
        return StepResult(
            counts=await self._ledgers.runs.counts(work.batch_id),
            left=submitted.left,
            subscription_ids=tuple(submitted.subscription_ids),
            stopped=submitted.stopped,
        )

    @activity.defn(name="confirm_transfers")
    @step
    async def confirm_transfers(self, work: Slice) -> StepResult:
        """Settles the range's transfers that a block at depth decides; NOT_YET while some are open."""
        open_ids = await self._ledgers.attempts.open_of_items(work)
        settled = await self._settle(open_ids)
        if settled.final < len(open_ids):
            delay_s = self._tools.blocks.next_look_s()
            raise not_yet(f"{len(open_ids) - settled.final} chain transactions are open", delay_s)
        if activity.info().attempt > 1:
            # An earlier go may have settled some of them and died before its wake.
            await self._waker.wake(await self._ledgers.runs.due_subscriptions(work.batch_id))
        return StepResult(
            counts=await self._ledgers.runs.counts(work.batch_id),
            due_again=await self._ledgers.retries.due_again(work),
            subscription_ids=tuple(settled.subscription_ids),
        )

    @activity.defn(name="tend_lane")
    @step
    async def tend_lane(self, work: LaneWork) -> LaneState:
        """One round over a lane's open nonces: sign, send again, settle. NOT_YET while some are open."""
        lane = Lane(work.chain_id, bytes.fromhex(work.signer.removeprefix("0x")))
        opened = await self._ledgers.attempts.open_of_lane(lane, STALE_AFTER, MOST_TENDED)
        if not opened:
            return LaneState(open=0)
        stale = [transaction.transaction_id for transaction in opened if transaction.stale]
        settled = await self._settle(stale)
        if settled.overtaken:
            await self._alert_overtaken(lane, settled.overtaken)
        await self._send_again(lane, stale)
        raise not_yet(f"{len(opened)} nonces are open", LANE_POLL_S)

    async def _send_bound(self, work: Slice) -> None:
        """What an earlier go at this slice bound and perhaps never sent. Its wake may be missing as well."""
        ids = await self._ledgers.attempts.open_of_items(work)
        bound = await self._ledgers.attempts.bound(ids, with_raw=True)
        unsent = [t for t in bound if not any(a.send_class and a.send_class.delivered for a in t.attempts)]
        await self._waker.wake(await self._ledgers.runs.due_subscriptions(work.batch_id))
        await asyncio.gather(*(self._lane_waker.wake(lane) for lane in {t.lane for t in bound}))
        if unsent:
            await self._alert((await self._tools.sender.sign_and_send(unsent)).conditions)

    async def _submit(self, work: Slice) -> _Submitted:
        """Reads what is ready, plans it, and binds it lane by lane until nothing is left or no lane has room."""
        done, woken = 0, frozenset[UUID]()
        for _ in range(MOST_ROUNDS):
            settlement, ready = await self._ledgers.binding.ready(work)
            if not ready:
                return _Submitted(done, 0, woken)
            unapproved = await self._tools.approvals.missing(ready, settlement)
            if unapproved:
                woken |= await self._fail_unapproved(work.batch_id, ready, unapproved)
                continue
            with_code = await self._tools.recipients.with_code(transfer.to for transfer in ready)
            planned = self._tools.packer.plan(ready, with_code, settlement)
            bound = await self._bind(work.batch_id, planned)
            if bound is None or bound.stopped:
                stopped = bound is not None or await self._ledgers.runs.is_stopped(work.batch_id)
                return _Submitted(done, len(ready), woken, stopped=stopped)
            done += len(bound.transactions)
            woken |= bound.subscription_ids
        raise not_yet("other copies are quicker", ROOM_POLL_S)

    async def _fail_unapproved(
        self, batch_id: UUID, ready: Sequence[ChainTransfer], unapproved: Container[Holding]
    ) -> frozenset[UUID]:
        """What nobody here may move fails before it is bound."""
        ids = [transfer.transfer_id for transfer in ready if (transfer.token, transfer.holder) in unapproved]
        code = FailureCode.NOT_APPROVED
        return await self._ledgers.runs.fail_unbound(batch_id, ids, code, code.meaning)

    async def _bind(self, batch_id: UUID, planned: Sequence[PlannedTransaction]) -> Bound | None:
        """Binds and sends what fits on one lane; None where no lane has room."""
        rooms = await self._ledgers.binding.rooms(len(planned))
        if not rooms:
            return None
        # In turn among those that take it all: slices that bind at once would else wait for each other on one lane.
        wide = [lane_room for lane_room in rooms if lane_room.room >= len(planned)] or rooms[:1]
        lane, room = wide[next(self._turn) % len(wide)]
        bound = await self._ledgers.binding.bind(batch_id, lane, planned[:room])
        if bound.transactions:
            _, report = await asyncio.gather(
                self._lane_waker.wake(lane), self._tools.sender.sign_and_send(bound.transactions)
            )
            await self._alert(report.conditions)
        return bound

    async def _settle(self, transaction_ids: Sequence[int]) -> _Settled:
        """Settles those of the chain transactions that are final now."""
        if not transaction_ids:
            return _Settled()
        attempts, confirmer = self._ledgers.attempts, self._tools.confirmer
        receipts = await confirmer.final_receipts(await attempts.sent(transaction_ids))
        self._tools.blocks.saw(receipts.head)
        final = receipts.by_transaction
        bound = await attempts.bound(list(final), with_raw=False) if final else []
        woken = await self._ledgers.settling.settle(await confirmer.results(bound, final))
        await self._waker.wake(woken)
        return _Settled(len(final), woken, receipts.overtaken)

    async def _send_again(self, lane: Lane, transaction_ids: Sequence[int]) -> None:
        bound = await self._ledgers.attempts.open_bound(transaction_ids)
        if bound:
            report = await self._tools.sender.resend(bound)
            activity.logger.info("lane %s: %d of %d sent again", lane.address, report.delivered, len(bound))
            await self._alert(report.conditions)

    async def _alert_without_lanes(self) -> None:
        """Waiting for room ends by itself; waiting for a lane that is halted or has no key here doesn't."""
        if not await self._ledgers.binding.usable_lanes():
            message = "no lane can be used: all are halted, or this worker's keystore has none of their keys"
            await self._ledgers.runs.raise_alert(AlertKind.LANE_CONDITION, "lanes", message)

    async def _alert_overtaken(self, lane: Lane, transaction_ids: Sequence[int]) -> None:
        """Nonces that the chain has used although no attempt of ours was mined. Nothing is failed for it: a node may
        lag. While it lasts, a person must look.
        """
        subject = lane_workflow_id(lane.chain_id, lane.address)
        message = f"the chain used nonces of chain transactions {list(transaction_ids)[:10]}, but none of our attempts"
        await self._ledgers.runs.raise_alert(AlertKind.FOREIGN_NONCE, subject, message)

    async def _alert(self, conditions: Mapping[Lane, LaneCondition]) -> None:
        for lane, condition in conditions.items():
            if condition.send_class.alerts:
                subject = lane_workflow_id(lane.chain_id, lane.address)
                message = f"{condition.send_class}: {condition.message}"
                await self._ledgers.runs.raise_alert(AlertKind.LANE_CONDITION, subject, message)
