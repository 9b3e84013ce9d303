"""`transfers failures|stats`: what failed lately and why, and how long things took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from ledger.reports import ProcessingTime, Reports
from starter.connections import open_postgres
from starter.exit_codes import ExitCode
from starter.printing import say
from starter.running import run
from starter.tables import TIME, print_table
from starter.times import span
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError
from workflows.interface.message import Message

SLOWEST_SHOWN = 5

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[str, typer.Option(help="How far back: 90s, 15m, 36h, 7d.")]


class FailureView(Message):
    """Failures of one cause as they're printed. Times are UTC."""

    job_type: str
    code: str
    endpoint: str | None
    failures: int
    first_at: datetime
    last_at: datetime
    example: str
    """The latest of them."""
    reason: str | None
    """The example's."""


class TimeView(Message):
    """How long a phase took, in seconds."""

    job_type: str
    phase: str
    jobs: int
    p50_s: float
    p95_s: float
    max_s: float


class SlowItemView(Message):
    """How long one item took, in seconds."""

    item_no: int
    queued_s: float
    chain_s: float
    total_s: float


def failures(since: Since = "24h", as_json: AsJson = False) -> None:
    """Group recent failures by job type, code and endpoint."""
    from_then = datetime.now(UTC) - span(since)

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            views = [FailureView(**one._asdict()) for one in await Reports(pool).failures(from_then)]
        if as_json:
            print(json.dumps([view.model_dump(mode="json") for view in views]))
        elif views:
            names = ("job", "code", "endpoint", "failures", "first", "last", "example", "why")
            print_table(names, map(_failure_row, views), right=("failures",))
        else:
            say(f"nothing failed within the last {since}")
        return ExitCode.OK

    run(command())


def stats(
    since: Since = "1h",
    batch_id: Annotated[
        UUID | None, typer.Option("--batch", help="The items of this batch instead, whenever they ended.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how long items, transfers, gifts, batches and deliveries took that ended well."""
    from_then = datetime.now(UTC) - span(since)

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            reports = Reports(pool)
            if batch_id is None:
                times, slowest = await reports.processing_times(from_then), None
            else:
                if not await reports.has_batch(batch_id):
                    raise RequestError(ErrorCode.NOT_FOUND, f"there is no batch {batch_id}")
                times = await reports.batch_times(batch_id)
                found = await reports.slowest_items(batch_id, SLOWEST_SHOWN)
                slowest = [SlowItemView(**one._asdict()) for one in found]
        views = [_time_view(one) for one in times]
        _print_json(views, slowest) if as_json else _print_times(views, slowest, since)
        return ExitCode.OK

    run(command())


def _print_json(views: Sequence[TimeView], slowest: Sequence[SlowItemView] | None) -> None:
    told: dict[str, Any] = {"times": [view.model_dump(mode="json") for view in views]}
    if slowest is not None:
        told["slowest"] = [view.model_dump(mode="json") for view in slowest]
    print(json.dumps(told))


def _print_times(views: Sequence[TimeView], slowest: Sequence[SlowItemView] | None, since: str) -> None:
    if not views:
        say(
            "no item of this batch is completed yet"
            if slowest is not None
            else f"nothing ended within the last {since}"
        )
        return
    numbers = ("jobs", "p50 s", "p95 s", "max s")
    rows = [(v.job_type, v.phase, f"{v.jobs:,}", *(f"{s:,.3f}" for s in (v.p50_s, v.p95_s, v.max_s))) for v in views]
    print_table(("job", "phase", *numbers), rows, right=numbers)
    if slowest:
        names = ("slowest item", "queued s", "chain s", "total s")
        lines = [(str(o.item_no), *(f"{s:,.3f}" for s in (o.queued_s, o.chain_s, o.total_s))) for o in slowest]
        print_table(names, lines, right=names)


def _time_view(one: ProcessingTime) -> TimeView:
    return TimeView(**one._asdict())


def _failure_row(view: FailureView) -> tuple[str, ...]:
    return (
        view.job_type,
        view.code,
        view.endpoint or "",
        f"{view.failures:,}",
        view.first_at.strftime(TIME),
        view.last_at.strftime(TIME),
        view.example,
        view.reason or "",
    )
