"""The steps of the queue `maintenance` about dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.faults import RaiseAlert, Step, not_yet, step
from activities.starting import start_transfer
from activities.waking import signal_delivery
from ledger.dead_letters import DeadLetters, OpenLetter, Signature, TakenUp
from workflows.interface.codes import DeadLetterKind
from workflows.interface.dead_letters import (
    LAST_ID,
    ZERO_ID,
    DeadLetterActivities,
    ReplayedPage,
    ReplayPage,
    ReplayScope,
    ReplayStart,
)
from workflows.interface.policies import batch_priority
from workflows.interface.transfer import ReopenedBy, Reopening, TransferInput

HELD_AT_ONCE = 20
"""Letters whose rows are held while their workflows are started: some tens of milliseconds."""
ANSWER_TIMEOUT = timedelta(seconds=5)
"""Below the database's lock timeout: whoever waits for a held letter shall get it."""
CLOSING_DELAY_S = 1.0
MOST_GOES = 10
"""So often a transfer is looked at again whose workflow runs without having taken it up."""


class DeadLetterSteps(Step, DeadLetterActivities):
    """Replays dead letters."""

    def __init__(self, letters: DeadLetters, client: Client, raise_alert: RaiseAlert) -> None:
        super().__init__(raise_alert)
        self._letters = letters
        self._client = client

    @activity.defn(name="begin_replay")
    @step
    async def begin_replay(self, start: ReplayStart) -> ReplayScope:
        selection = await self._letters.select(start.filter)
        earlier = await self._letters.replayed(start.replay_id, ZERO_ID, LAST_ID)
        total = (await self._letters.count(selection)).open + earlier.replayed
        return ReplayScope(selection=selection, total=total)

    @activity.defn(name="replay_letters")
    @step
    async def replay_letters(self, page: ReplayPage) -> ReplayedPage:
        ids = await self._letters.open_page(page.selection, page.after, page.most)
        go = _Go(self._client, page)
        done: set[UUID] = set()
        for first in range(0, len(ids), HELD_AT_ONCE):
            part, signature = ids[first : first + HELD_AT_ONCE], Signature(page.by, page.note, page.replay_id)
            done |= await self._letters.replay(part, signature, go.carry_out)
        # With what an earlier go did, whose worker may have died before the wake and before its result was known.
        next_after = ids[-1] if len(ids) == page.most else None
        stretch = await self._letters.replayed(page.replay_id, page.after, next_after or LAST_ID)
        await asyncio.gather(*(signal_delivery(self._client, one) for one in stretch.subscription_ids))
        if go.undecided and activity.info().attempt < MOST_GOES:
            raise not_yet(f"{len(go.undecided)} transfers' workflows are about to end", CLOSING_DELAY_S)
        return ReplayedPage(next_after=next_after, replayed=stretch.replayed, skipped=len(set(ids) - done))


class _Go:
    """One go at a page: starts what letters need, and knows whose workflow wouldn't be started."""

    def __init__(self, client: Client, page: ReplayPage) -> None:
        self._client = client
        self._page = page
        self.undecided: set[UUID] = set()

    async def carry_out(self, held: Sequence[OpenLetter], taken_up: TakenUp) -> Collection[UUID]:
        """Starts a `Transfer` for each transfer, and triggers the schedule of each job."""
        wanted = [one for one in held if self._page.force or not one.letter.only_by_force]
        jobs = [one for one in wanted if one.letter.kind is DeadLetterKind.JOB]
        transfers = [one for one in wanted if one.letter.kind is not DeadLetterKind.JOB]
        triggered = await asyncio.gather(*(self._trigger(one) for one in jobs))
        started = await asyncio.gather(*(self._start(one) for one in transfers))
        running = {one.letter.transfer_id: one for one, new in zip(transfers, started, strict=True) if not new}
        at_work = await taken_up([transfer_id for transfer_id in running if transfer_id])
        # One that runs and hasn't taken the transfer up may be the end of the very run whose failure the letter tells
        # of: it would leave the transfer as it is.
        self.undecided |= {one.letter.dead_letter_id for tid, one in running.items() if tid not in at_work}
        done = [one for one, ok in zip(jobs, triggered, strict=True) if ok] + transfers
        return {one.letter.dead_letter_id for one in done} - self.undecided

    async def _start(self, one: OpenLetter) -> bool:
        """False where the transfer's workflow runs already."""
        transfer_id = one.letter.transfer_id
        if transfer_id is None:
            raise ValueError(f"dead letter {one.letter.dead_letter_id} names no transfer")
        reopening = Reopening(by=ReopenedBy.OPERATOR, force=self._page.force)
        request = TransferInput(transfer_id=transfer_id, reopen=reopening)
        priority = batch_priority(one.from_user_id or "")
        summary = f"replay of dead letter {one.letter.dead_letter_id}"
        return await start_transfer(self._client, request, priority, summary, ANSWER_TIMEOUT)

    async def _trigger(self, one: OpenLetter) -> bool:
        """False where there is no such schedule any more."""
        job = one.letter.job or ""
        try:
            await self._client.get_schedule_handle(job).trigger(rpc_timeout=ANSWER_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            activity.logger.warning("no schedule %s: its dead letter stays open", job)
            return False
        return True
