"""What a run of the bench measures, as it's written to JSON; and the median of several runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from workflows.interface.codes import Settlement


class Figures(BaseModel):
    """Base of all figures: frozen, camelCase in JSON."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


class Usage(Figures):
    """What a process took, its children included."""

    cpu_s: float
    peak_rss_mb: float


class Statement(Figures):
    """A named SQL statement: how often it ran, and its time on the server in all."""

    name: str
    calls: int
    total_ms: float


class WorkflowEffort(Figures):
    """What the workflows of one type cost the Temporal server."""

    type: str
    runs: int
    state_transitions: int
    history_events: int


class CeilingRun(Figures):
    """One run of the plain script."""

    items: int
    settlement: Settlement
    duration_s: float
    transactions: int
    resent: int
    """Chain transactions the node had dropped, sent again."""
    usage: dict[str, Usage] = {}

    @property
    def items_per_s(self) -> float:
        """Tickets moved per second."""
        return self.items / self.duration_s


class WebhookRun(Figures):
    """The deliveries of one run."""

    due: int
    received: int
    duration_s: float
    """From the start to the last arrival."""

    @property
    def per_s(self) -> float:
        """Deliveries per second."""
        return self.received / self.duration_s


class SystemRun(Figures):
    """One run of the system."""

    items: int
    settlement: Settlement
    staging_s: float
    start_ms: float
    duration_s: float
    """From the start call to the last item COMPLETED, as seen from outside."""
    result_s: float
    """From the start call to the workflow's result."""
    transactions: int
    usage: dict[str, Usage]
    statements: tuple[Statement, ...]
    workflows: tuple[WorkflowEffort, ...]
    webhooks: WebhookRun | None = None

    @property
    def items_per_s(self) -> float:
        """Tickets moved per second."""
        return self.items / self.duration_s

    @property
    def cpu_ms_per_item(self) -> float:
        """CPU time of worker and Postgres for one item, in milliseconds."""
        return 1000 * (self.usage["worker"].cpu_s + self.usage["postgres"].cpu_s) / self.items

    @property
    def statements_per_item(self) -> float:
        """SQL statements of the worker per item."""
        return sum(statement.calls for statement in self.statements) / self.items

    @property
    def transitions_per_item(self) -> float:
        """Temporal state transitions of all workflows per item."""
        return sum(workflow.state_transitions for workflow in self.workflows) / self.items

    @property
    def events_per_item(self) -> float:
        """Temporal history events of all workflows per item."""
        return sum(workflow.history_events for workflow in self.workflows) / self.items


class BacklogRun(Figures):
    """One drain of a backlog of deliveries."""

    deliveries: int
    duration_s: float
    usage: dict[str, Usage]

    @property
    def per_s(self) -> float:
        """Deliveries per second."""
        return self.deliveries / self.duration_s


class Spread(Figures):
    """Median of several runs, with the extremes."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """The median of the values and their extremes.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("no values")
    return Spread(median=median(values), least=min(values), most=max(values))
