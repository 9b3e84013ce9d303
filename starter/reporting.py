"""Prints batches as they stand in Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ledger.batch_reports import BatchReport, BatchReports, ItemReport
from starter.exit_codes import ExitCode
from starter.printing import item_line, print_batch, say
from starter.views import BatchDetails, ItemView, batch_view, details_view, item_view
from workflows.interface.codes import BatchStatus, ItemStatus

FAILURES_SHOWN = 20


async def details_of(reports: BatchReports, report: BatchReport) -> BatchDetails:
    """The batch with what failed in it."""
    failures: list[ItemView] = []
    if report.counts.failed:
        async for page in reports.items(report.batch_id, status=ItemStatus.FAILED, most=FAILURES_SHOWN):
            failures += [item_view(item) for item in page]
    by_code = await reports.failures_by_code(report.batch_id) if report.counts.failed else {}
    return details_view(batch_view(report), by_code, failures)


async def report_end(reports: BatchReports, report: BatchReport, *, as_json: bool) -> ExitCode:
    """Prints an ended batch; the exit code says whether all of it went well."""
    details = await details_of(reports, report)
    if as_json:
        print(details.model_dump_json(), flush=True)
    else:
        print_batch(details)
    return ExitCode.OK if report.status is BatchStatus.COMPLETED else ExitCode.BATCH_HAS_FAILURES


async def print_items(pages: AsyncIterator[Sequence[ItemReport]]) -> None:
    """A line for each item."""
    any_came = False
    async for page in pages:
        any_came = True
        print("\n".join(item_line(item_view(item)) for item in page))
    if not any_came:
        say("no such items")


async def print_items_json(details: BatchDetails, pages: AsyncIterator[Sequence[ItemReport]]) -> None:
    """One JSON document: the batch, and its items under `items`, written as a stream."""
    print(details.model_dump_json().removesuffix("}"), end=',"items":[')
    separator = "\n"
    async for page in pages:
        for item in page:
            print(separator + item_view(item).model_dump_json(), end="")
            separator = ",\n"
    print("]}")
