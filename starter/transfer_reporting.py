"""Prints transfers as they stand in Postgres."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

from ledger.transfer_reports import TransferFilter, TransferReport, TransferReports
from starter.connections import open_postgres
from starter.exit_codes import ExitCode
from starter.printing import say
from starter.requests import checked_user_id
from starter.transfer_views import print_transfer, print_transfers, say_next_page, transfer_details, transfer_view
from starter.transfer_watching import TransferWatch
from starter.transfers import SingleTransferClient
from workflows.interface.codes import ErrorCode, TransferStatus
from workflows.interface.errors import RequestError

_WELL = (TransferStatus.COMPLETED, TransferStatus.PENDING)
"""What was waited for came out as wanted; a gift that waits is made."""


async def existing_transfer(reports: TransferReports, transfer_id: UUID) -> TransferReport:
    """The transfer.

    Raises:
        RequestError: NOT_FOUND.
    """
    report = await reports.transfer(transfer_id)
    if report is None:
        raise RequestError(
            ErrorCode.NOT_FOUND, f"there is no transfer {transfer_id}; transfers transfer list shows the newest"
        )
    return report


async def show_transfer(reports: TransferReports, report: TransferReport, *, as_json: bool) -> None:
    """One transfer with its chain transactions and events."""
    details = transfer_details(
        report, await reports.bindings(report.transfer_id), await reports.events(report.transfer_id)
    )
    if as_json:
        print(details.model_dump_json(), flush=True)
    else:
        print_transfer(details)


async def list_transfers(wanted: TransferFilter, *, before: UUID | None, limit: int, as_json: bool) -> ExitCode:
    """A page of single transfers and gifts."""
    for user_id in filter(None, (wanted.from_user_id, wanted.to_user_id)):
        checked_user_id(user_id)
    async with open_postgres() as pool:
        reports = TransferReports(pool)
        last = None if before is None else await existing_transfer(reports, before)
        views = [transfer_view(one) for one in await reports.newest(limit, wanted, last)]
    if as_json:
        print(json.dumps([view.model_dump(mode="json") for view in views]))
    elif not views:
        say("no such transfers")
    else:
        print_transfers(views)
        if len(views) == limit:
            say_next_page(views[-1])
    return ExitCode.OK


async def wait_and_show(client: SingleTransferClient, transfer_id: UUID, *, as_json: bool) -> ExitCode:
    """Follows the transfer to its end and prints it; the exit code says whether it went well.

    Interrupted, it says that the transfer goes on.
    """
    try:
        async with open_postgres() as pool:
            reports = TransferReports(pool)
            report = await TransferWatch(reports, client).until_end(transfer_id)
            await show_transfer(reports, report, as_json=as_json)
    except asyncio.CancelledError:
        say(f"interrupted; the transfer goes on: transfers transfer show {transfer_id} tells how it stands")
        raise
    return ExitCode.OK if report.status in _WELL else ExitCode.BATCH_HAS_FAILURES
