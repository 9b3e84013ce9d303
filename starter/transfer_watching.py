"""Watches a single transfer until its workflow has nothing more to do, with a live line on standard error."""

from __future__ import annotations

import asyncio
from uuid import UUID

from rich.status import Status

from ledger.transfer_reports import TransferReport, TransferReports
from starter.printing import remark_console
from starter.transfers import SingleTransferClient
from starter.watching import LOOK_INTERVAL_S
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError


class TransferWatch:
    """Follows one transfer in Postgres while its workflow runs."""

    def __init__(self, reports: TransferReports, client: SingleTransferClient) -> None:
        self._reports = reports
        self._client = client

    async def until_end(self, transfer_id: UUID) -> TransferReport:
        """The transfer as it stands in the end.

        Raises:
            RequestError: NOT_FOUND, or the code the transfer's workflow failed with.
            UnavailableError: a server doesn't answer any more.
        """
        ended = asyncio.create_task(self._client.wait(transfer_id))
        try:
            with Status("starting", console=remark_console()) as line:
                while not ended.done():
                    report = await self._reports.transfer(transfer_id)
                    line.update("no worker has opened it yet" if report is None else told(report))
                    await asyncio.wait({ended}, timeout=LOOK_INTERVAL_S)
            return await self._final(transfer_id, ended.exception())
        finally:
            ended.cancel()

    async def _final(self, transfer_id: UUID, error: BaseException | None) -> TransferReport:
        """Temporal forgets ended workflows after a while; Postgres doesn't."""
        forgotten = isinstance(error, RequestError) and error.code is ErrorCode.NOT_FOUND
        if error is not None and not forgotten:
            raise error
        report = await self._reports.transfer(transfer_id)
        if report is None:
            raise error or RequestError(ErrorCode.NOT_FOUND, f"there is no transfer {transfer_id}")
        return report


def told(report: TransferReport) -> str:
    """How it stands, on one line."""
    tries = f", try {report.tries + 1}" if report.tries else ""
    return f"{report.status}{tries}: ticket {report.ticket_id} of {report.from_user_id}"
