"""Words and tables for people. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC

from rich.console import Console
from rich.table import Table
from rich.text import Text

from starter.escaping import printable
from starter.views import BatchDetails, BatchView, ItemView
from workflows.interface.codes import ItemOrder, TransferKind

PIPED_WIDTH = 240
"""Columns when the output is no terminal: wide enough that nothing is cut."""
_TIME = "%Y-%m-%d %H:%M:%S"


def say(message: str) -> None:
    """A remark, on standard error; it may have several lines."""
    print("\n".join(map(printable, message.split("\n"))), file=sys.stderr, flush=True)


def safe(text: str) -> Text:
    """A table's cell of a stranger's text: neither markup nor control characters work in it."""
    return Text(printable(text))


def remark_console() -> Console:
    """For what moves: on standard error, so that a pipe gets only results."""
    return Console(stderr=True)


def print_batch(view: BatchDetails) -> None:
    """One batch: its state, counts, times, and what failed."""
    console = _console()
    console.print(_batch_table(view))
    if view.failures_by_code:
        console.print(_table_of_failures(view))
        left = view.failed - len(view.failures)
        if left > 0:
            print(f"and {left:,} more: transfers batch show {view.batch_id} --items --status FAILED")


def print_batches(views: Sequence[BatchView]) -> None:
    """The table of `batch list`."""
    if not views:
        say("no batches")
        return
    names = ("batch", "sender", "status", "items", "completed", "failed", "cancelled", "open", "items/s", "created")
    table = Table(*names, title_justify="left")
    for column in table.columns[3:9]:
        column.justify = "right"
    table.columns[0].no_wrap = True
    for view in views:
        counts = (view.item_count, view.completed, view.failed, view.cancelled, view.queued + view.processing)
        table.add_row(
            str(view.batch_id),
            safe(view.from_user_id),
            view.status,
            *(f"{count:,}" for count in counts),
            _rate(view),
            view.created_at.strftime(_TIME),
        )
    _console().print(table)


def item_line(view: ItemView) -> str:
    """One item on one line."""
    why = f"  {view.code}: {view.reason}" if view.code else f"  {view.transaction_hash or ''}"
    return printable(f"{view.item_no:>9}  {view.status:<10}  {view.ticket_id} -> {view.to}{why}".rstrip())


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)


def _batch_table(view: BatchDetails) -> Table:
    table = Table.grid(padding=(0, 2))
    rows = {
        "batch": f"{view.batch_id} of {view.from_user_id}",
        "status": f"{view.status}{f' ({view.reason})' if view.reason else ''}, run {view.run_no}, {_options(view)}",
        "items": f"{view.item_count:,}: {_counts(view)}",
        "speed": f"{_rate(view)} items/s",
        "created": view.created_at.strftime(_TIME),
        "started": view.started_at.strftime(_TIME) if view.started_at else "-",
        "ended": view.ended_at.strftime(_TIME) if view.ended_at else "-",
    }
    for name, value in rows.items():
        table.add_row(Text(name, style="bold"), safe(value))
    return table


def _table_of_failures(view: BatchDetails) -> Table:
    by_code = ", ".join(f"{code} {count:,}" for code, count in view.failures_by_code.items())
    table = Table("item", "ticket", "to", "code", "reason", title=f"failed: {by_code}", title_justify="left")
    for item in view.failures:
        table.add_row(str(item.item_no), item.ticket_id, safe(item.to), item.code, safe(item.reason or ""))
    return table


def _options(view: BatchView) -> str:
    gift = view.kind is TransferKind.GIFT
    until = f" until {view.expires_at.astimezone(UTC).strftime(_TIME)}" if view.expires_at else ""
    order = f", {view.order}" if view.order is ItemOrder.SEQUENTIAL else ""
    return f"{view.settlement}{f', gifts{until}' if gift else ''}{order}"


def _counts(view: BatchView) -> str:
    return (
        f"{view.completed:,} completed, {view.failed:,} failed, {view.cancelled:,} cancelled, "
        f"{view.processing:,} processing, {view.queued:,} queued"
    )


def _rate(view: BatchView) -> str:
    return "-" if view.items_per_second is None else f"{view.items_per_second:,.1f}"
