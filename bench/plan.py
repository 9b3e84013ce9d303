"""Which measurements a call of the bench makes, and in what order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from bench.scenarios.catalogue import Scenario
from workflows.interface.codes import Settlement


class Webhooks(StrEnum):
    """Whether batches are measured with a subscription, without, or both."""

    WITH = "with"
    WITHOUT = "without"
    BOTH = "both"

    @property
    def variants(self) -> tuple[bool, ...]:
        """The batches to measure: False without a subscription, True with one."""
        return {Webhooks.WITH: (True,), Webhooks.WITHOUT: (False,), Webhooks.BOTH: (False, True)}[self]


class Case(NamedTuple):
    """A batch to measure beside its ceiling."""

    items: int
    settlement: Settlement

    def __str__(self) -> str:
        return f"{self.items:,} {self.settlement}"


class Measurement(NamedTuple):
    """One measurement, on fresh servers of its own."""

    round: int
    case: Case | None
    """None: the backlog of webhooks, or a scenario."""
    with_webhooks: bool = False
    is_ceiling: bool = False
    scenario: Scenario | None = None

    def __str__(self) -> str:
        if self.scenario is not None:
            return f"scenario {self.scenario}"
        if self.case is None:
            return "backlog of webhooks"
        what = "ceiling" if self.is_ceiling else "system with a subscription" if self.with_webhooks else "system"
        return f"{self.case}: {what}"


class Plan(NamedTuple):
    """All that one call of the bench measures."""

    batched_sizes: tuple[int, ...]
    single_sizes: tuple[int, ...]
    runs: int
    webhooks: Webhooks
    backlog: int
    scenarios: tuple[Scenario, ...] = ()

    @property
    def cases(self) -> list[Case]:
        """The batches, small ones first."""
        batched = [Case(items, Settlement.BATCHED) for items in self.batched_sizes]
        return batched + [Case(items, Settlement.SINGLE) for items in self.single_sizes]

    def measurements(self) -> Iterator[Measurement]:
        """Round by round, each batch next to its ceiling: a busy spell of the machine then hits both."""
        for number in range(1, self.runs + 1):
            for case in self.cases:
                yield Measurement(number, case, is_ceiling=True)
                # Deliveries cost the same whatever the settlement: measured with batched ones alone.
                variants = (False,) if case.settlement is Settlement.SINGLE else self.webhooks.variants
                for with_webhooks in variants:
                    yield Measurement(number, case, with_webhooks)
            if self.backlog:
                yield Measurement(number, None)
            for scenario in self.scenarios:
                yield Measurement(number, None, scenario=scenario)


def sizes_of(text: str) -> tuple[int, ...]:
    """Sizes from "1000,10_000"; none from "" or "0".

    Raises:
        ValueError: not numbers from 0 to a million.
    """
    sizes = tuple(int(part.strip() or "0") for part in text.split(","))
    if any(not 0 <= size <= 1_000_000 for size in sizes):
        raise ValueError("sizes are numbers of items from 1 to 1,000,000, with commas between them")
    return tuple(size for size in sizes if size)


def settings_of(pairs: Iterable[str]) -> dict[str, str]:
    """Worker settings from "NAME=VALUE" texts.

    Raises:
        ValueError: one isn't of that form.
    """
    parts = [pair.partition("=") for pair in pairs]
    if any(not name or not equals for name, equals, _ in parts):
        raise ValueError("a setting is NAME=VALUE, such as WINDOW=20")
    return {name.upper(): value for name, _, value in parts}


def full() -> Plan:
    """All that docs/performance.md tells, in about an hour."""
    return Plan((1_000, 10_000, 100_000), (5_000,), 3, Webhooks.BOTH, 20_000, tuple(Scenario))
