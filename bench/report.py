"""Brings the runs together: medians with extremes, as tables for people and as JSON for everything else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench.figures import BacklogRun, CeilingRun, Spread, SystemRun, spread
from bench.plan import Case
from bench.scenarios.catalogue import ScenarioRun

SHOWN_STATEMENTS = 12
_PROCESSES = ("worker", "postgres", "temporal", "chain", "receiver", "script")


class Runs(NamedTuple):
    """All runs of one batch size and settlement."""

    case: Case
    ceiling: list[CeilingRun]
    plain: list[SystemRun]
    """Without a subscription."""
    subscribed: list[SystemRun]


def system_figures(runs: Sequence[SystemRun]) -> dict[str, Spread]:
    """What is told of the system's runs, each as a median with its extremes; nothing of none."""
    if not runs:
        return {}
    measures: dict[str, Callable[[SystemRun], float]] = {
        "itemsPerS": lambda run: run.items_per_s,
        "stagingS": lambda run: run.staging_s,
        "startMs": lambda run: run.start_ms,
        "cpuMsPerItem": lambda run: run.cpu_ms_per_item,
        "statementsPerItem": lambda run: run.statements_per_item,
        "transitionsPerItem": lambda run: run.transitions_per_item,
        "eventsPerItem": lambda run: run.events_per_item,
    }
    figures = {name: spread([measure(run) for run in runs]) for name, measure in measures.items()}
    webhooks = [run.webhooks for run in runs if run.webhooks is not None]
    if webhooks:
        figures["lastWebhookS"] = spread([run.duration_s for run in webhooks])
        figures["webhooksPerS"] = spread([run.per_s for run in webhooks])
    return figures | usage_figures(runs)


def usage_figures(runs: Sequence[SystemRun] | Sequence[CeilingRun] | Sequence[BacklogRun]) -> dict[str, Spread]:
    """CPU seconds and peak memory of each process."""
    figures = {}
    for name in _PROCESSES:
        used = [run.usage[name] for run in runs if name in run.usage]
        if used:
            figures[f"{name}CpuS"] = spread([usage.cpu_s for usage in used])
            figures[f"{name}PeakRssMb"] = spread([usage.peak_rss_mb for usage in used])
    return figures


def summary(
    all_runs: Sequence[Runs], backlog: Sequence[BacklogRun], scenarios: Mapping[str, Sequence[ScenarioRun]]
) -> dict[str, Any]:
    """Everything as JSON-ready data: per batch the medians, the ratios of medians, and every run as it was."""
    return {
        "cases": [_case_summary(runs) for runs in all_runs],
        "backlog": _backlog_summary(backlog) if backlog else None,
        "scenarios": {name: [run.model_dump() for run in runs] for name, runs in scenarios.items()},
    }


def _backlog_summary(backlog: Sequence[BacklogRun]) -> dict[str, Any]:
    rate = spread([run.per_s for run in backlog])
    return {**_plain({"perS": rate} | usage_figures(backlog)), "runs": [run.model_dump() for run in backlog]}


def _case_summary(runs: Runs) -> dict[str, Any]:
    ceiling = spread([run.items_per_s for run in runs.ceiling]) if runs.ceiling else None
    plain, subscribed = system_figures(runs.plain), system_figures(runs.subscribed)
    return {
        "items": runs.case.items,
        "settlement": runs.case.settlement.value,
        "ceiling": _plain({"itemsPerS": ceiling} | usage_figures(runs.ceiling)) if ceiling else None,
        "system": _plain(plain) if plain else None,
        "systemWithSubscription": _plain(subscribed) if subscribed else None,
        "partOfCeiling": _ratio(plain.get("itemsPerS"), ceiling),
        "partOfUnsubscribed": _ratio(subscribed.get("itemsPerS"), plain.get("itemsPerS")),
        "runs": {
            "ceiling": [run.model_dump() for run in runs.ceiling],
            "system": [run.model_dump() for run in runs.plain],
            "systemWithSubscription": [run.model_dump() for run in runs.subscribed],
        },
    }


def _plain(figures: Mapping[str, Spread]) -> dict[str, Any]:
    return {name: figure.model_dump() for name, figure in figures.items()}


def _ratio(part: Spread | None, whole: Spread | None) -> float | None:
    return part.median / whole.median if part and whole else None


def to_json(
    all_runs: Sequence[Runs],
    backlog: Sequence[BacklogRun],
    scenarios: Mapping[str, Sequence[ScenarioRun]],
    machine: Mapping[str, object],
) -> str:
    """The summary with the machine it was measured on."""
    return json.dumps({"machine": machine} | summary(all_runs, backlog, scenarios), indent=2)


def show(
    all_runs: Sequence[Runs],
    backlog: Sequence[BacklogRun],
    scenarios: Mapping[str, Sequence[ScenarioRun]],
    console: Console,
) -> None:
    """Prints what there is."""
    if any(runs.ceiling or runs.plain or runs.subscribed for runs in all_runs):
        console.print(_speed_table(all_runs))
    effort = [(runs.case, name, some) for runs in all_runs for name, some in _variants(runs) if some]
    if effort:
        console.print(_effort_table(effort), _process_table(effort))
        case, name, some = effort[-1]
        console.print(_statement_table(f"{case}, {name}", some[-1]))
    if backlog:
        console.print(_backlog_line(backlog))
    for name, found in scenarios.items():
        for number, run in enumerate(found, start=1):
            console.print(
                f"Scenario {name}, run {number}:", *(f"  {line}" for line in run.lines()), sep="\n", highlight=False
            )


def _speed_table(all_runs: Sequence[Runs]) -> Table:
    table = _table("Items per second: median (least to most)", "batch", "ceiling", "system", "of ceiling")
    for name in ("with subscription", "of without", "last webhook", "start call", "staging"):
        table.add_column(name, justify="right")
    for runs in all_runs:
        ceiling = spread([run.items_per_s for run in runs.ceiling]) if runs.ceiling else None
        plain = spread([run.items_per_s for run in runs.plain]) if runs.plain else None
        subscribed = system_figures(runs.subscribed) if runs.subscribed else {}
        some = runs.plain or runs.subscribed
        table.add_row(
            str(runs.case),
            _figure(ceiling),
            _figure(plain),
            _percent(_ratio(plain, ceiling)),
            _figure(subscribed.get("itemsPerS")),
            _percent(_ratio(subscribed.get("itemsPerS"), plain)),
            _figure(subscribed.get("lastWebhookS"), " s", 1),
            _figure(spread([run.start_ms for run in some]) if some else None, " ms"),
            _figure(spread([run.staging_s for run in some]) if some else None, " s", 2),
        )
    return table


def _effort_table(effort: Sequence[tuple[Case, str, Sequence[SystemRun]]]) -> Table:
    table = _table("Effort per item (medians)", "batch", "variant", "worker + Postgres CPU", "SQL statements")
    table.add_column("state transitions", justify="right")
    table.add_column("history events", justify="right")
    for case, name, runs in effort:
        figures = system_figures(runs)
        table.add_row(
            str(case),
            name,
            f"{figures['cpuMsPerItem'].median:.3f} ms",
            f"{figures['statementsPerItem'].median:.3f}",
            f"{figures['transitionsPerItem'].median:.3f}",
            f"{figures['eventsPerItem'].median:.3f}",
        )
    return table


def _process_table(effort: Sequence[tuple[Case, str, Sequence[SystemRun]]]) -> Table:
    table = _table("CPU seconds and peak memory of each process (medians)", "batch", "variant")
    for name in _PROCESSES[:-1]:
        table.add_column(name, justify="right")
    for case, variant, runs in effort:
        figures = usage_figures(runs)
        cells = [
            f"{figures[f'{name}CpuS'].median:.1f} s  {figures[f'{name}PeakRssMb'].median:.0f} MB"
            if f"{name}CpuS" in figures
            else ""
            for name in _PROCESSES[:-1]
        ]
        table.add_row(str(case), variant, *cells)
    return table


def _statement_table(title: str, run: SystemRun) -> Table:
    table = _table(f"Most expensive SQL statements ({title}; time on the server, waits included)", "statement", "calls")
    table.add_column("total", justify="right")
    table.add_column("each", justify="right")
    for statement in run.statements[:SHOWN_STATEMENTS]:
        each = f"{statement.total_ms / max(1, statement.calls):.2f} ms"
        table.add_row(statement.name, f"{statement.calls:,}", f"{statement.total_ms:,.0f} ms", each)
    return table


def _backlog_line(backlog: Sequence[BacklogRun]) -> str:
    rate, used = spread([run.per_s for run in backlog]), usage_figures(backlog)
    return (
        f"Backlog of {backlog[0].deliveries:,} webhooks, one worker: {_figure(rate)} deliveries/s; worker "
        f"{used['workerCpuS'].median:.1f} s CPU, {used['workerPeakRssMb'].median:.0f} MB"
    )


def _variants(runs: Runs) -> tuple[tuple[str, list[SystemRun]], ...]:
    return ("without subscription", runs.plain), ("with subscription", runs.subscribed)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 or column == "variant" else "right")
    return table


def _figure(value: Spread | None, unit: str = "", digits: int = 0) -> str:
    if value is None:
        return ""
    middle = f"{value.median:,.{digits}f}{unit}"
    if value.least == value.most:
        return middle
    return f"{middle} ({value.least:,.{digits}f} to {value.most:,.{digits}f})"


def _percent(part: float | None) -> str:
    return "" if part is None else f"{part:.0%}"
