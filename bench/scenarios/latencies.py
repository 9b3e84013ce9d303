"""Latencies as they're told: percentiles of a sample. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from bench.figures import Figures


class Latencies(Figures):
    """A sample's percentiles in seconds (nearest rank)."""

    count: int
    p50_s: float
    p95_s: float
    p99_s: float

    def __str__(self) -> str:
        return f"p50 {self.p50_s:.2f} s, p95 {self.p95_s:.2f} s, p99 {self.p99_s:.2f} s (of {self.count:,})"


def latencies(values_s: Sequence[float]) -> Latencies:
    """The percentiles of a sample.

    Raises:
        ValueError: it's empty.
    """
    if not values_s:
        raise ValueError("no values")
    ordered = sorted(values_s)
    p50, p95, p99 = (ordered[ceil(share * len(ordered)) - 1] for share in (0.5, 0.95, 0.99))
    return Latencies(count=len(ordered), p50_s=p50, p95_s=p95, p99_s=p99)
