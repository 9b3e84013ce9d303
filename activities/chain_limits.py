"""Rate limits of the chain steps: transfers and chain transactions that they bind, JSON-RPC calls that they make."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from activities.rate_gate import RateGate
from chain.rpc import CallMeter, CallTally
from workflows.interface.chain import ChainTransfer, PlannedTransaction
from workflows.interface.codes import Settlement
from workflows.interface.rates import RateName

SUBMIT_CALLS, CONFIRM_CALLS, TEND_CALLS = 2, 3, 4
"""Calls of a step whatever its size: head and fee; head, nonce and block; the same with a fee."""


class CallBudget:
    """The JSON-RPC calls of one step: those it was granted, against those it makes."""

    def __init__(self, gate: RateGate, tally: CallTally, owed: Callable[[], int], *, urgent: bool) -> None:
        self._gate = gate
        self._tally = tally
        self._owed = owed
        self._urgent = urgent
        self._granted: int | None = None

    async def take(self, wanted: int) -> int:
        """How many of the wanted calls may be made now.

        Raises:
            RateLimitedError: none.
        """
        if not await self._gate.limits(RateName.CHAIN_RPC):
            return wanted
        self._granted = self._granted or 0
        granted = await self._gate.take(RateName.CHAIN_RPC, wanted, charge=self._owed(), urgent=self._urgent)
        self._granted += granted
        return granted

    @property
    def overrun(self) -> int:
        """Calls made beyond what was granted (below 0: left over); 0 where nothing limits them."""
        return 0 if self._granted is None else self._tally.sent - self._granted


class ChainLimits:
    """One per process, for all its chain steps."""

    def __init__(self, gate: RateGate, meter: CallMeter) -> None:
        self._gate = gate
        self._meter = meter
        self.owed = 0
        """Calls made beyond earlier grants (below 0: left over)."""

    @contextmanager
    def calls(self, *, urgent: bool) -> Iterator[CallBudget]:
        """The budget of one step. What it made beyond its grants, or left of them, is settled by the next grant."""
        with self._meter.tallied() as tally:
            budget = CallBudget(self._gate, tally, self._take_owed, urgent=urgent)
            try:
                yield budget
            finally:
                self.owed += budget.overrun

    async def allowed(
        self,
        planned: Sequence[PlannedTransaction],
        plan_first: Callable[[int], Sequence[PlannedTransaction]],
        *,
        urgent: bool,
    ) -> Sequence[PlannedTransaction]:
        """As much of the plan as there are tokens for; `plan_first(n)` plans the first n transfers anew.

        Raises:
            RateLimitedError: nothing.
        """
        wanted = transfers_of(planned)
        transfers = await self._gate.take(RateName.TRANSFERS, wanted, urgent=urgent)
        if transfers < wanted:
            planned = plan_first(transfers)[: len(planned)]
        count = 0
        try:
            count = await self._gate.take(RateName.CHAIN_TRANSACTIONS, len(planned), urgent=urgent)
        finally:
            await self._gate.give_back(RateName.TRANSFERS, transfers - transfers_of(planned[:count]))
        return planned[:count]

    async def give_back(self, planned: Sequence[PlannedTransaction]) -> None:
        """What was allowed wasn't bound after all."""
        await self._gate.give_back(RateName.TRANSFERS, transfers_of(planned))
        await self._gate.give_back(RateName.CHAIN_TRANSACTIONS, len(planned))

    def _take_owed(self) -> int:
        owed, self.owed = self.owed, 0
        return owed


def transfers_of(planned: Sequence[PlannedTransaction]) -> int:
    """How many transfers a plan carries."""
    return sum(len(transaction.transfers) for transaction in planned)


async def take_for_submit(
    budget: CallBudget, ready: Sequence[ChainTransfer], unknown: Collection[bytes], settlement: Settlement
) -> Sequence[ChainTransfer]:
    """The first of the transfers, as many as there are calls for: one for each recipient that isn't known, one for each
    transfer that goes alone.

    Raises:
        RateLimitedError: none.
    """
    each = int(settlement is Settlement.SINGLE)
    strange = set(unknown)
    costs: list[int] = []
    for transfer in ready:
        costs.append(each + (transfer.to in strange))
        strange.discard(transfer.to)
    left = await budget.take(SUBMIT_CALLS + sum(costs)) - SUBMIT_CALLS
    count = 0
    while count < len(costs) and left >= costs[count]:
        left -= costs[count]
        count += 1
    # A slow limit that can't afford one: it goes on debt, or it never would.
    return ready[: max(count, 1)]
