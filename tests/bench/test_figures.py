"""The bench's pure parts: what is planned, how figures follow from runs, how statements are counted in a log."""

from __future__ import annotations

import pytest

from bench.figures import SystemRun, Usage, WorkflowEffort, spread
from bench.plan import Plan, Webhooks, settings_of, sizes_of
from bench.statements import tally
from workflows.interface.codes import Settlement

LOG = (
    "transfers-worker|LOG:  duration: 0.500 ms  parse __asyncpg_1: SELECT 1\n"
    "\tFROM a;\n"
    "transfers-worker|LOG:  duration: 2.000 ms  execute __asyncpg_1: SELECT 1\n"
    "\tFROM a;\n"
    "someone else|LOG:  duration: 9.000 ms  statement: SELECT 2\n"
    "transfers-worker|LOG:  duration: 1.000 ms  statement: COMMIT;\n"
)


def test_statements_are_counted_by_name_and_application() -> None:
    """Parsing adds time and no call; statements of other programs don't count."""
    found = tally(LOG, "transfers-worker", {"SELECT 1\nFROM a": "the_one"})
    assert [(s.name, s.calls, s.total_ms) for s in found] == [("the_one", 1, 2.5), ("COMMIT", 1, 1.0)]


def test_figures_per_item_follow_from_a_run() -> None:
    """CPU counts worker and Postgres alone, transitions count every workflow."""
    cpu_s = {"worker": 0.2, "postgres": 0.1, "chain": 9}
    run = SystemRun(
        items=1_000,
        settlement=Settlement.BATCHED,
        staging_s=0.1,
        start_ms=5,
        duration_s=2.0,
        result_s=2.1,
        transactions=4,
        usage={name: Usage(cpu_s=value, peak_rss_mb=1) for name, value in cpu_s.items()},
        statements=(),
        workflows=(
            WorkflowEffort(type="BatchTransfer", runs=1, state_transitions=30, history_events=20),
            WorkflowEffort(type="LaneKeeper", runs=2, state_transitions=10, history_events=5),
        ),
    )
    assert run.items_per_s == 500
    assert run.cpu_ms_per_item == pytest.approx(0.3)
    assert (run.transitions_per_item, run.events_per_item) == (0.04, 0.025)


def test_a_spread_is_median_and_extremes() -> None:
    """The median stands between the extremes; nothing has no spread."""
    assert spread([3, 1, 2]).model_dump() == {"median": 2, "least": 1, "most": 3}
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_every_system_run_follows_its_ceiling() -> None:
    """Each round measures a batch right after its ceiling, and single settlement without webhooks alone."""
    plan = Plan((10,), (5,), runs=2, webhooks=Webhooks.BOTH, backlog=7)
    first_round = [str(m) for m in plan.measurements() if m.round == 1]
    assert first_round == [
        "10 batched: ceiling",
        "10 batched: system",
        "10 batched: system with a subscription",
        "5 single: ceiling",
        "5 single: system",
        "backlog of webhooks",
    ]


@pytest.mark.parametrize("text", ["x", "-1", "1000001"])
def test_impossible_sizes_are_refused(text: str) -> None:
    """Sizes are whole numbers up to a million."""
    with pytest.raises(ValueError, match=r"sizes|invalid literal"):
        sizes_of(text)


def test_sizes_and_settings_are_read() -> None:
    """Zero stands for none; a setting without = is refused."""
    assert sizes_of("1000, 10_000,0") == (1_000, 10_000)
    assert settings_of(["window=20"]) == {"WINDOW": "20"}
    with pytest.raises(ValueError, match="NAME=VALUE"):
        settings_of(["WINDOW"])
