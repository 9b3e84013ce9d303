"""The scenarios by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from typing import Protocol, TypeAlias

from bench.scenarios.dead_endpoint import EVENTS, measure_dead_endpoint
from bench.scenarios.expiry import GIFTS, measure_expiry
from bench.scenarios.overtaking import BIG_ITEMS, measure_overtaking
from bench.scenarios.rate_limits import RATE_PER_S, SECONDS, measure_rate_limit
from bench.system import Progress
from devstack.stack import Stack


class Scenario(StrEnum):
    """What is measured beside plain speed."""

    OVERTAKING = "overtaking"
    DEAD_ENDPOINT = "dead-endpoint"
    EXPIRY = "expiry"
    RATE_LIMIT = "rate-limit"


class ScenarioRun(Protocol):
    """What a scenario found."""

    def lines(self) -> list[str]:
        """For people."""
        ...

    def model_dump(self) -> dict[str, object]:
        """For JSON."""
        ...


Measure: TypeAlias = Callable[[Stack, Progress], Awaitable[ScenarioRun]]

MEASURES: dict[Scenario, Measure] = {
    Scenario.OVERTAKING: measure_overtaking,
    Scenario.DEAD_ENDPOINT: measure_dead_endpoint,
    Scenario.EXPIRY: measure_expiry,
    Scenario.RATE_LIMIT: measure_rate_limit,
}
STEPS = {
    Scenario.OVERTAKING: BIG_ITEMS,
    Scenario.DEAD_ENDPOINT: 2 * EVENTS,
    Scenario.EXPIRY: GIFTS,
    Scenario.RATE_LIMIT: int(RATE_PER_S * SECONDS),
}
"""How far the progress of each goes."""


def scenarios_of(text: str) -> tuple[Scenario, ...]:
    """Scenarios from "overtaking,expiry", "all" or "none".

    Raises:
        ValueError: one isn't known.
    """
    if text == "all":
        return tuple(Scenario)
    names: Iterable[str] = () if text in ("", "none") else text.split(",")
    try:
        return tuple(Scenario(name.strip()) for name in names)
    except ValueError:
        raise ValueError(f"scenarios are all, none, or of {', '.join(Scenario)}, with commas between them") from None
