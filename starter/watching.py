"""Watches a batch to its end, with a live progress bar on standard error."""

from __future__ import annotations

import asyncio
from uuid import UUID

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ledger.batch_reports import BatchReport, BatchReports
from starter.client import TransferClient
from starter.printing import remark_console, say
from starter.views import items_per_second
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError

LOOK_INTERVAL_S = 0.5
"""Between two looks at the counters: one row by its key."""


class BatchWatch:
    """Follows one batch until its workflow has ended."""

    def __init__(self, reports: BatchReports, client: TransferClient) -> None:
        self._reports = reports
        self._client = client

    async def until_end(self, batch_id: UUID, *, show: bool = True) -> BatchReport:
        """The batch as it stands in the end. Interrupted, it says that the batch goes on.

        Raises:
            RequestError: NOT_FOUND, or the code the batch's workflow failed with.
            UnavailableError: a server doesn't answer any more.
        """
        ended = asyncio.create_task(self._client.wait(batch_id))
        try:
            report = await self._report(batch_id)
            with _progress(show=show) as progress:
                task = progress.add_task(report.status, total=report.counts.item_count, rate="-", failed=0)
                while not ended.done():
                    _show(progress, task, await self._report(batch_id))
                    await asyncio.wait({ended}, timeout=LOOK_INTERVAL_S)
                report = await self._report(batch_id)
                _show(progress, task, report)
            _raise_unless_known_ended(ended, report)
        except asyncio.CancelledError:
            say(f"interrupted; the batch goes on. To watch it again: transfers batch watch {batch_id}")
            raise
        finally:
            ended.cancel()
        return report

    async def _report(self, batch_id: UUID) -> BatchReport:
        report = await self._reports.batch(batch_id)
        if report is None:
            raise RequestError(ErrorCode.NOT_FOUND, f"there is no batch {batch_id}")
        return report


def _raise_unless_known_ended(ended: asyncio.Task[object], report: BatchReport) -> None:
    """Temporal forgets ended workflows after a while; Postgres doesn't."""
    error = ended.exception()
    if error is None:
        return
    forgotten = isinstance(error, RequestError) and error.code is ErrorCode.NOT_FOUND
    if forgotten and report.status.ended:
        return
    if forgotten:
        raise RequestError(
            ErrorCode.NOT_FOUND,
            f"batch {report.batch_id} is written and not started: repeat its request under this batch id",
        ) from error
    raise error


def _progress(*, show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} items/s, {task.fields[failed]} failed"),
        TimeElapsedColumn(),
        console=remark_console(),
        disable=not show,
    )


def _show(progress: Progress, task: TaskID, report: BatchReport) -> None:
    rate = items_per_second(report)
    progress.update(
        task,
        description=report.status,
        completed=report.counts.ended,
        rate="-" if rate is None else f"{rate:,.0f}",
        failed=f"{report.counts.failed:,}",
    )
