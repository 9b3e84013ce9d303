"""Follows the demo's batch to its end with a progress bar, and kills the worker on the way when it's asked to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from devstack.demo_ledger import DemoLedger
from devstack.errors import StackError
from devstack.stack import Stack
from ledger.batch_reports import BatchReport
from workflows.interface.batch import BatchCounts

_POLL_S = 0.05
_PLAIN_LINE_EVERY_S = 1.0
# Shares of the items that have ended when the worker is killed.
KILL_AT = (0.2, 0.55)


class Watcher:
    """Follows one batch."""

    def __init__(self, stack: Stack, ledger: DemoLedger, batch_id: UUID, console: Console) -> None:
        self._stack = stack
        self._ledger = ledger
        self._batch_id = batch_id
        self._console = console
        self.recoveries_s: list[float] = []
        self._killed_at_count: int | None = None
        self._restarted_at = 0.0

    async def watch(self, kills: int, timeout_s: float) -> BatchReport:
        """Returns the batch as it ended.

        Raises:
            StackError: it didn't end in time, or the worker stopped by itself, or the kills came too late.
        """
        try:
            async with asyncio.timeout(timeout_s):
                report = await self._follow(kills)
        except TimeoutError as error:
            raise StackError(f"the batch hadn't ended after {timeout_s:.0f} s") from error
        if len(self.recoveries_s) < kills:
            raise StackError(
                f"the batch ended after {len(self.recoveries_s)} of {kills} kills: it was too quick for them"
            )
        return report

    async def _follow(self, kills: int) -> BatchReport:
        plain_line = _PlainLine(self._console)
        with _progress_bar(self._console) as (bar, task):
            while True:
                report = await self._report()
                if report is not None:
                    counters = report.counts
                    bar.update(task, total=counters.item_count, completed=counters.ended)
                    plain_line.show(counters)
                    self._note_recovery(counters)
                    if report.status.ended:
                        return report
                    await self._maybe_kill(counters, kills)
                await asyncio.sleep(_POLL_S)

    async def _report(self) -> BatchReport | None:
        if not self._stack.worker_runs():
            raise StackError(f"the worker ended by itself: {self._stack.worker_log_tail()}")
        return await self._ledger.progress(self._batch_id)

    async def _maybe_kill(self, counters: BatchCounts, kills: int) -> None:
        done = len(self.recoveries_s)
        if done >= kills or self._killed_at_count is not None:
            return
        if counters.ended >= KILL_AT[done] * counters.item_count:
            await self._kill_and_restart()

    async def _kill_and_restart(self) -> None:
        self._stack.kill_worker()
        # What it had committed before it died isn't movement after its restart.
        report = await self._ledger.progress(self._batch_id)
        self._killed_at_count = report.counts.ended if report else 0
        self._restarted_at = time.monotonic()
        self._stack.spawn_worker()
        self._console.print(f"worker killed (SIGKILL) after {self._killed_at_count} items, and started again")

    def _note_recovery(self, counters: BatchCounts) -> None:
        if self._killed_at_count is not None and counters.ended > self._killed_at_count:
            self.recoveries_s.append(time.monotonic() - self._restarted_at)
            self._killed_at_count = None


class _PlainLine:
    """A line a second where there's no terminal for a bar."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_at = 0.0

    def show(self, counters: BatchCounts) -> None:
        now = time.monotonic()
        if not self._console.is_terminal and now >= self._next_at:
            self._console.print(f"{counters.ended} of {counters.item_count} items, {counters.processing} in progress")
            self._next_at = now + _PLAIN_LINE_EVERY_S


@contextmanager
def _progress_bar(console: Console) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield bar, bar.add_task("tickets", total=None)
