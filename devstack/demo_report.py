"""The demo's figures: what is written as JSON and what people read at its end."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from rich.console import Console
from rich.table import Table


class Figures(BaseModel):
    """Base of the report's parts: frozen, camelCase in JSON."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


class FailedItem(Figures):
    """An item that failed, and why."""

    item_no: int
    ticket_id: str
    to: str
    code: str
    reason: str


class WebhookFigures(Figures):
    """Deliveries to the demo's receiver; latency from the event's commit to its arrival, in milliseconds."""

    due: int
    received: int
    latency_p50_ms: float
    latency_p95_ms: float


class DemoReport(Figures):
    """The outcome of one demo. Times in seconds unless named otherwise."""

    batch_id: str
    status: str
    item_count: int
    counts: dict[str, int]
    failed_items: tuple[FailedItem, ...]
    start_latency_ms: float
    duration_s: float
    items_per_second: float
    gas_per_ticket: int
    webhooks: WebhookFigures
    crash_mode: bool
    recoveries_s: tuple[float, ...]
    """Per kill: from the worker's restart until the next item ended."""
    temporal_ui_url: str
    faults: tuple[str, ...]
    """How the outcome of the batch differs from what was asked for; empty in a good run."""
    act_faults: tuple[str, ...] = ()
    """The same of what was typed afterwards."""


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank); 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def show(report: DemoReport, console: Console) -> None:
    """Prints the report."""
    console.print(_failures(report))
    console.print(_figures(report))
    for fault in report.faults:
        console.print(f"[red]wrong:[/] {fault}", highlight=False)
    if not report.faults:
        console.print(
            "[green]checked:[/] every moved ticket has exactly one Transfer on the chain, no failed one moved, Postgres"
            " equals the chain, and every webhook that was due came, signed"
        )


def show_acts(report: DemoReport, console: Console) -> None:
    """Prints what became of the second part."""
    for fault in report.act_faults:
        console.print(f"[red]wrong:[/] {fault}", highlight=False)
    if not report.act_faults:
        console.print(
            "[green]checked:[/] each accepted ticket moved once, the expired gift stayed, and Postgres equals the chain"
        )


def _failures(report: DemoReport) -> Table:
    table = Table(title=f"{len(report.failed_items)} failed items", title_justify="left")
    for heading in ("item", "ticket", "to", "code", "reason"):
        table.add_column(heading, overflow="fold")
    for item in report.failed_items:
        table.add_row(str(item.item_no), item.ticket_id, item.to, item.code, item.reason)
    return table


def _figures(report: DemoReport) -> Table:
    webhooks = report.webhooks
    table = Table(title="figures", title_justify="left", show_header=False)
    table.add_row("status", report.status)
    table.add_row("items", ", ".join(f"{count} {name}" for name, count in report.counts.items()))
    table.add_row("start call", f"{report.start_latency_ms:.0f} ms")
    table.add_row("duration", f"{report.duration_s:.1f} s, {report.items_per_second:.0f} items/s")
    table.add_row("gas per ticket", f"{report.gas_per_ticket:,}")
    table.add_row("webhooks", f"{webhooks.received} received of {webhooks.due} due")
    table.add_row("webhook latency", f"p50 {webhooks.latency_p50_ms:.0f} ms, p95 {webhooks.latency_p95_ms:.0f} ms")
    if report.crash_mode:
        recoveries = ", ".join(f"{seconds:.1f} s" for seconds in report.recoveries_s)
        table.add_row("worker killed", f"{len(report.recoveries_s)} times; items moved again after {recoveries}")
    table.add_row("Web UI", f"{report.temporal_ui_url} (`make demo KEEP=1` leaves it running at the end)")
    return table
