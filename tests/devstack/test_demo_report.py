"""The demo's figures: percentiles and webhook latencies."""

from __future__ import annotations

import pytest

from devstack.demo import webhook_figures
from devstack.demo_report import percentile


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 3), (0.95, 5), (1.0, 5)])
def test_percentiles_are_values_of_the_series(share: float, value: float) -> None:
    """A percentile is one of the values, whatever their order."""
    assert percentile([5, 1, 4, 2, 3], share) == value
    assert percentile([], share) == 0


def test_latency_counts_the_first_arrival() -> None:
    """Latency runs from the event's commit to its first arrival; a second copy changes nothing."""
    deliveries = [{"id": "a", "at": 10.5}, {"id": "a", "at": 99.0}, {"id": "b", "at": 10.2}]
    figures = webhook_figures({"a": 10.0, "b": 10.0, "c": 10.0}, {"deliveries": deliveries})
    assert (figures.due, figures.received) == (3, 2)
    assert figures.latency_p95_ms == pytest.approx(500)
