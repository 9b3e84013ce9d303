"""docs/operations.md has every metric, in one table, as the catalogue has it."""

from __future__ import annotations

import re
from pathlib import Path

from telemetry.catalogue import METRICS

OPERATIONS = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()


def test_every_metric_stands_in_the_table() -> None:
    """Names, kinds, units, labels and meanings are the catalogue's; the table has no other metric."""
    rows = [
        f"| `{metric.name}` | `{metric.prometheus_name}` | {metric.kind} | {metric.unit}"
        f" | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.meaning} |"
        for metric in METRICS
    ]
    assert re.findall(r"^\| `(?:transfers|db)\.[^\n]*", OPERATIONS, re.MULTILINE) == rows


def test_names_are_given_once() -> None:
    """No two metrics share a name."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
