"""The command line of `make bench`."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.figures import BacklogRun, CeilingRun, SystemRun
from bench.plan import Measurement, Plan, Webhooks, full, settings_of, sizes_of
from bench.report import Runs, show, to_json
from bench.scenarios.catalogue import STEPS, Scenario, ScenarioRun, scenarios_of
from bench.stage import guarded
from bench.trial import Outcome, Trials
from devstack.ending import one_line_errors

_PLAIN_WIDTH = 180

app = typer.Typer(add_completion=False)


@app.command()
def bench(
    *,
    sizes: Annotated[str, typer.Option(help="Items of the batched batches, with commas; 0 for none.")] = "1000,10000",
    single_sizes: Annotated[str, typer.Option(help="Items of the single-settlement batches; 0 for none.")] = "2000",
    runs: Annotated[int, typer.Option(min=1, max=99, help="How often each is measured; medians are told.")] = 1,
    webhooks: Annotated[Webhooks, typer.Option(help="Batches with a subscription, without, or both.")] = Webhooks.BOTH,
    webhook_backlog: Annotated[
        int, typer.Option(min=0, max=1_000_000, help="Deliveries to drain; 0 for none.")
    ] = 20_000,
    scenarios: Annotated[
        str, typer.Option(help=f"What one kind of work does to another: all, none, or of {', '.join(Scenario)}.")
    ] = "all",
    all_of_it: Annotated[
        bool, typer.Option("--full", help="All of docs/performance.md: three runs, up to 100,000 items (~1 hour).")
    ] = False,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A worker setting as NAME=VALUE; may be repeated.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there, too.")] = None,
) -> None:
    """Measure the system beside a plain script that sends the same transfers and keeps nothing.

    Every measurement has fresh servers, in a folder and on ports of its own. Without options: some minutes.
    """
    try:
        plan = (
            full()
            if all_of_it
            else Plan(sizes_of(sizes), sizes_of(single_sizes), runs, webhooks, webhook_backlog, scenarios_of(scenarios))
        )
        settings = settings_of(setting or ())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    console = Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)
    with one_line_errors(), guarded():
        _run(plan, Trials(plan, settings, lambda _: None), console, json_file)


def _run(plan: Plan, trials: Trials, console: Console, json_file: Path | None) -> None:
    cases = {case: Runs(case, [], [], []) for case in plan.cases}
    backlog: list[BacklogRun] = []
    found: dict[str, list[ScenarioRun]] = {}
    todo = list(plan.measurements())
    for number, what in enumerate(todo, start=1):
        outcome = _measured(what, plan, trials, console, f"[{number}/{len(todo)}]")
        if isinstance(outcome, BacklogRun):
            backlog.append(outcome)
        elif isinstance(outcome, CeilingRun | SystemRun):
            if what.case is not None:
                _sort_in(cases[what.case], outcome)
        else:
            found.setdefault(str(what.scenario), []).append(outcome)
        if json_file is not None:
            # After each one: a long run that is broken off keeps what it has found.
            json_file.write_text(to_json(list(cases.values()), backlog, found, _machine()))
    show(list(cases.values()), backlog, found, console)


def _measured(what: Measurement, plan: Plan, trials: Trials, console: Console, place: str) -> Outcome:
    items = STEPS[what.scenario] if what.scenario else what.case.items if what.case else plan.backlog
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{place} {what}", total=items)
        outcome = trials.measure(what, lambda done: bar.update(task, completed=min(done, items)))
    console.print(f"{place} {what}, round {what.round}: {_told(outcome)}", highlight=False)
    return outcome


def _told(outcome: Outcome) -> str:
    if isinstance(outcome, BacklogRun):
        return f"{outcome.per_s:,.0f}/s"
    if isinstance(outcome, CeilingRun | SystemRun):
        return f"{outcome.items_per_s:,.0f}/s"
    return "\n  ".join(["", *outcome.lines()])


def _sort_in(runs: Runs, outcome: CeilingRun | SystemRun) -> None:
    if isinstance(outcome, CeilingRun):
        runs.ceiling.append(outcome)
    elif outcome.webhooks is None:
        runs.plain.append(outcome)
    else:
        runs.subscribed.append(outcome)


def _machine() -> dict[str, object]:
    return {
        "cpus": os.cpu_count(),
        "memoryGb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
        "measuredAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


if __name__ == "__main__":
    app(prog_name="python -m bench")
