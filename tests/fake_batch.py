"""A batch in memory, for the fakes of its steps: fails, waits and holds on command."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from temporalio.exceptions import ApplicationError

from activities.faults import heartbeats
from workflows.interface.batch import BatchCounts, BatchInput, DueAgain, Slice, StepResult
from workflows.interface.codes import BatchStatus, ErrorCode, ItemOrder, TransferKind
from workflows.interface.slices import ItemRange

MAX_TRIES = 3
RETRY_DELAY = timedelta(milliseconds=50)
_OPEN = ("QUEUED", "READY", "BOUND")


class Hold:
    """Stops a step at its beginning until it's released."""

    def __init__(self) -> None:
        self.reached, self.released = asyncio.Event(), asyncio.Event()

    async def wait(self) -> None:
        """Heartbeats meanwhile, as a slow step does."""
        self.reached.set()
        async with heartbeats():
            await self.released.wait()


def defect(message: str) -> ApplicationError:
    """What a step's unforeseen exception looks like to the workflow."""
    return ApplicationError(message, type=ErrorCode.DEFECT, non_retryable=True)


class FakeBatch:
    """A batch in memory. Tests set what goes wrong before they start its workflow, or while it runs."""

    def __init__(self, item_count: int, *, slice_size: int = 10, window: int = 4, slices_per_run: int = 200) -> None:
        self.batch_id = uuid4()
        self.pace = {"slice_size": slice_size, "window": window, "slices_per_run": slices_per_run}
        self.items = dict.fromkeys(range(1, item_count + 1), "QUEUED")
        self.codes: dict[int, str] = {}
        self.tries: Counter[int] = Counter()
        self.moves: Counter[int] = Counter()
        """How often each item was moved: never more than once."""
        self.kind, self.order = TransferKind.DIRECT, ItemOrder.PARALLEL
        self.content: BatchInput | None = None
        self.paused = self.cancelled = False
        self.run_no = 0
        self.opened_by = ""
        self.status = BatchStatus.QUEUED
        self.reason: str | None = None
        self.subscription_ids: tuple[UUID, ...] = ()
        self.calls: list[str] = []
        # What goes wrong:
        self.poison: dict[str, set[int]] = defaultdict(set)
        """Items that make a step end with a defect, by step."""
        self.broken: dict[str, str] = {}
        """Steps that end with this defect whatever they are given."""
        self.lost: Counter[str] = Counter()
        """How often a step does its work and then loses its result."""
        self.frozen: Counter[str] = Counter()
        """How often a step does its work and then is never heard of again."""
        self.failing: dict[int, int] = {}
        """How many goes of an item the chain refuses before it moves."""
        self.locked: dict[int, int] = {}
        """How many goes of a gift find its ticket locked."""
        self.polls = 0
        """How often confirming is told to ask again."""
        self.room: int | None = None
        """How many items one submit can bind."""
        self._holds: dict[str, Hold] = {}

    def hold(self, step: str) -> Hold:
        """Lets the step wait, from its next call on, until the hold is released."""
        return self._holds.setdefault(step, Hold())

    def let_go(self, step: str) -> None:
        """Releases the hold."""
        self._holds.pop(step).released.set()

    @property
    def counts(self) -> BatchCounts:
        """The counters, as the database would have them."""
        by = Counter(self.items.values())
        return BatchCounts(
            item_count=len(self.items),
            queued=by["QUEUED"],
            processing=by["READY"] + by["BOUND"],
            completed=by["COMPLETED"],
            failed=by["FAILED"],
            cancelled=by["CANCELLED"],
        )

    def goes_on(self, run_no: int) -> bool:
        """Whether this run is the one that goes on: a late copy of another's step changes nothing."""
        return run_no == self.run_no and not self.status.ended

    async def begin(self, step: str, span: ItemRange | None = None) -> None:
        """Notes the call, holds it where wanted, and raises what was ordered."""
        self.calls.append(f"{step} {span.first}-{span.last}" if span else step)
        if step in self._holds:
            await self._holds[step].wait()
        if step in self.broken:
            raise defect(self.broken[step])
        bad = [n for n in self.poison[step] if span and span.first <= n <= span.last and self.items[n] in _OPEN]
        if bad:
            raise defect(f"item {bad[0]} can't be worked on")

    async def end(self, step: str) -> None:
        """The work is done; its result may never arrive."""
        if self.lost[step]:
            self.lost[step] -= 1
            raise ApplicationError("connection lost", type=ErrorCode.INFRASTRUCTURE)
        if self.frozen[step]:
            self.frozen[step] -= 1
            await asyncio.Event().wait()

    def in_state(self, state: str, work: Slice) -> list[int]:
        """The range's items in this state; of a retry those alone that had a go before."""
        span = range(work.range.first, work.range.last + 1)
        return [n for n in span if self.items.get(n) == state and (not work.retries_only or self.tries[n])]

    def result(self, **fields: object) -> StepResult:
        """A step's result with the present counters."""
        return StepResult.model_validate({"counts": self.counts, "subscription_ids": self.subscription_ids, **fields})

    def due_again(self, work: Slice) -> DueAgain | None:
        """The range's items that wait for another try."""
        waiting = self.in_state("READY", work)
        if not waiting:
            return None
        span = ItemRange(first=min(waiting), last=max(waiting))
        return DueAgain(range=span, count=len(waiting), due_at=datetime.now(UTC) + RETRY_DELAY)

    def give(self, work: Slice) -> None:
        """Creates the range's gifts whose tickets are free."""
        for number in self.in_state("QUEUED", work) + self.in_state("READY", work):
            is_locked = self.tries[number] < self.locked.get(number, 0)
            self.tries[number] += 1
            self.items[number] = "READY" if is_locked else "COMPLETED"

    def settle(self, item_no: int) -> None:
        """What the chain and the rule of tries make of a bound item."""
        self.tries[item_no] += 1
        if self.failing.get(item_no, 0) < self.tries[item_no]:
            self.moves[item_no] += 1
            self.items[item_no] = "COMPLETED"
        elif self.cancelled:
            self.items[item_no] = "CANCELLED"
        elif self.tries[item_no] == MAX_TRIES:
            self.items[item_no], self.codes[item_no] = "FAILED", "REVERTED"
        else:
            self.items[item_no] = "READY"
