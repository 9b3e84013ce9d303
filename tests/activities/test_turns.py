"""Turns at a worker: so many at once, senders in turn, and none lost to a step that is cancelled."""

from __future__ import annotations

import asyncio

from activities.turns import COMPANY_S, Turns


class Line:
    """Steps that take a turn and hold it until they are let go."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.served: list[str] = []
        self._let_go = asyncio.Event()

    async def step(self, sender: str) -> None:
        """One step of a sender's slice."""
        async with self._turns.turn(sender):
            self.served.append(sender)
            await self._let_go.wait()

    def let_go(self) -> None:
        """All that have their turn, now or later, end it."""
        self._let_go.set()


async def started(line: Line, senders: str) -> list[asyncio.Task[None]]:
    """A step for each letter, in that order, and all of them in line."""
    tasks = [asyncio.create_task(line.step(sender)) for sender in senders]
    await asyncio.sleep(0)
    return tasks


class Clock:
    """A clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def crowded(at_once: int, clock: Clock | None = None) -> Turns:
    """Turns with somebody beside the batches."""
    turns = Turns(at_once, clock or Clock())
    turns.company()
    return turns


async def test_one_sender_alone_goes_on_with_everything() -> None:
    """Nobody is held up by it."""
    line = Line(Turns(2, Clock()))
    tasks = await started(line, "aaa")
    await asyncio.sleep(0)
    assert line.served == ["a", "a", "a"]
    line.let_go()
    await asyncio.gather(*tasks)


async def test_company_counts_for_a_while() -> None:
    """While it does, few go on at once; later all of them again."""
    clock = Clock()
    turns = crowded(1, clock)
    line, later = Line(turns), Line(turns)
    tasks = await started(line, "aa")
    await asyncio.sleep(0)
    assert line.served == ["a"]
    clock.now_s = COMPANY_S
    tasks += await started(later, "a")
    await asyncio.sleep(0)
    assert (line.served, later.served) == (["a", "a"], ["a"])
    line.let_go()
    later.let_go()
    await asyncio.gather(*tasks)


async def test_another_sender_is_company() -> None:
    """As soon as both have something to do."""
    line = Line(Turns(1, Clock()))
    tasks = await started(line, "aab")
    await asyncio.sleep(0)
    assert line.served == ["a", "a"]
    line.let_go()
    await asyncio.gather(*tasks)


async def test_so_many_have_their_turn_at_once() -> None:
    """The others wait until one ends."""
    line = Line(crowded(2))
    tasks = await started(line, "aaa")
    await asyncio.sleep(0)
    assert line.served == ["a", "a"]
    line.let_go()
    await asyncio.gather(*tasks)
    assert line.served == ["a", "a", "a"]


async def test_senders_take_turns() -> None:
    """One slice of another sender doesn't wait behind all of the first's."""
    line = Line(crowded(1))
    tasks = await started(line, "aaaab")
    line.let_go()
    await asyncio.gather(*tasks)
    assert line.served.index("b") <= 2


async def test_a_cancelled_step_loses_no_turn() -> None:
    """Whether it waited, had just been called, or had its turn."""
    line = Line(crowded(1))
    first, waiting, called = await started(line, "abc")
    await asyncio.sleep(0)
    waiting.cancel()
    first.cancel()
    await asyncio.gather(first, waiting, return_exceptions=True)
    called.cancel()
    await asyncio.gather(called, return_exceptions=True)
    last = asyncio.create_task(line.step("d"))
    line.let_go()
    await asyncio.wait_for(last, 1)
    assert line.served[-1] == "d"
