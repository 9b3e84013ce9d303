"""`transfers batch …`: start, show, list, steer and watch batches."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from ledger.batch_reports import BatchReport, BatchReports
from ledger.staging import BatchHeader
from starter.batch_start import StartRequest, start_batch
from starter.client import TransferClient
from starter.connections import connect_temporal, open_postgres
from starter.exit_codes import ExitCode
from starter.printing import print_batch, print_batches, say
from starter.reporting import details_of, print_items, print_items_json, report_end
from starter.requests import checked_options, checked_reason, checked_user_id, chosen_batch_id
from starter.running import run
from starter.times import moment, span
from starter.transfer_requests import chosen_expiry
from starter.views import batch_view
from starter.watching import BatchWatch
from workflows.interface.batch import MAX_ITEMS
from workflows.interface.codes import (
    BatchStatus,
    ErrorCode,
    FailureCode,
    ItemOrder,
    ItemStatus,
    Settlement,
    TransferKind,
)
from workflows.interface.errors import RequestError
from workflows.interface.options import BatchOptions

app = typer.Typer(no_args_is_help=True, help="Batches: start, show, list, pause, resume, cancel, retry, watch.")

BatchId = Annotated[UUID, typer.Argument(metavar="ID", help="The batch id, as `batch start` printed it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (camelCase).")]


@app.command(
    epilog="Examples:\n\n  transfers batch start season.csv --from alice --watch\n\n"
    "  cat items.jsonl | transfers batch start - --from alice --idempotency-key order-17\n\n"
    "  transfers batch start gifts.csv --from alice --kind gift --expires-in 36h"
)
def start(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or JSON Lines (.csv, .jsonl); - reads stdin.")],
    from_user: Annotated[str, typer.Option("--from", metavar="USER", help="The user whose tickets move.")],
    *,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key and content again gives the first batch back.")
    ] = None,
    batch_id: Annotated[UUID | None, typer.Option(metavar="ID", help="Your own batch id, a UUID.")] = None,
    settlement: Annotated[
        Settlement, typer.Option(help="Many transfers in one chain transaction, or one each.")
    ] = Settlement.BATCHED,
    kind: Annotated[
        TransferKind, typer.Option(help="Move the tickets, or offer them as gifts that wait to be accepted.")
    ] = TransferKind.DIRECT,
    expires_at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="Gifts wait until then: ISO 8601 with zone.")
    ] = None,
    expires_in: Annotated[
        timedelta | None,
        typer.Option(parser=span, metavar="SPAN", help="Gifts wait so long from now: 90s, 15m, 36h, 7d (default 7d)."),
    ] = None,
    order: Annotated[
        ItemOrder, typer.Option(help="Items side by side, or one at a time in their order (slow).")
    ] = ItemOrder.PARALLEL,
    watch: Annotated[bool, typer.Option("--watch", help="Show progress until the batch has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a batch from a file of `ticket_id,to` lines; `to` is a user id or a 0x address.

    Prints {"batchId": …, "status": "QUEUED", "itemCount": N} as soon as the batch is written and its workflow started.
    A file with faults is refused as a whole, each fault with its line; what is wrong with a single ticket or
    recipient fails that item and nothing else.
    """

    async def command() -> ExitCode:
        sender = checked_user_id(from_user)
        options = BatchOptions(settlement, kind, chosen_expiry(expires_at, expires_in), order)
        header = BatchHeader(chosen_batch_id(sender, batch_id, idempotency_key), sender, checked_options(options))
        return await start_batch(StartRequest(file, header, watch, as_json))

    run(command())


@app.command()
def show(
    batch_id: BatchId,
    *,
    items: Annotated[bool, typer.Option("--items", help="List the items too.")] = False,
    status: Annotated[
        ItemStatus | None, typer.Option(case_sensitive=False, help="Only items of this status (lists them).")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Items after this item number.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, max=MAX_ITEMS, help="At most so many items.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a batch as Postgres has it: counts, times, speed, and what failed with its reason."""

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            reports = BatchReports(pool)
            details = await details_of(reports, await _existing(reports, batch_id))
            pages = reports.items(batch_id, status=status, after=after, most=limit)
            if items or status:
                await (print_items_json(details, pages) if as_json else print_items(pages))
            elif as_json:
                print(details.model_dump_json())
            else:
                print_batch(details)
        return ExitCode.OK

    run(command())


@app.command("list")
def list_batches(
    *,
    status: Annotated[BatchStatus | None, typer.Option(case_sensitive=False, help="Only of this status.")] = None,
    from_user: Annotated[str | None, typer.Option("--from", metavar="USER", help="Only of this sender.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first."""

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            sender = None if from_user is None else checked_user_id(from_user)
            found = await BatchReports(pool).newest(limit, status=status, from_user_id=sender)
        views = [batch_view(report) for report in found]
        if as_json:
            print(json.dumps([view.model_dump(mode="json") for view in views]))
        else:
            print_batches(views)
        return ExitCode.OK

    run(command())


@app.command()
def cancel(
    batch_id: BatchId,
    *,
    reason: Annotated[str | None, typer.Option(help="Kept with the batch.")] = None,
    as_json: AsJson = False,
) -> None:
    """Cancel what isn't bound to a chain transaction yet; what is bound finishes."""

    async def ask(client: TransferClient, report: BatchReport) -> None:
        kept = None if reason is None else checked_reason(reason)
        await client.cancel(batch_id, kept, from_user_id=report.from_user_id)

    run(_steered(batch_id, "cancel", ask, as_json=as_json))


@app.command()
def pause(batch_id: BatchId, *, as_json: AsJson = False) -> None:
    """Bind nothing new; what is bound finishes."""
    run(_steered(batch_id, "pause", lambda client, _: client.pause(batch_id), as_json=as_json))


@app.command()
def resume(batch_id: BatchId, *, as_json: AsJson = False) -> None:
    """Let a paused batch go on."""
    run(_steered(batch_id, "resume", lambda client, _: client.resume(batch_id), as_json=as_json))


@app.command("retry-failed")
def retry_failed(batch_id: BatchId, *, as_json: AsJson = False) -> None:
    """Reopen an ended batch's failed items where another try can help: all but duplicates within the batch."""

    async def ask(client: TransferClient, report: BatchReport) -> None:
        await client.retry_failed(batch_id, from_user_id=report.from_user_id)

    run(_steered(batch_id, "retry-failed", ask, as_json=as_json, first=_refuse_needless_retry))


@app.command()
def wait(batch_id: BatchId, *, as_json: AsJson = False) -> None:
    """Wait for the batch's end without a progress bar, then show it."""
    run(_watched(batch_id, show_progress=False, as_json=as_json))


@app.command()
def watch(batch_id: BatchId, *, as_json: AsJson = False) -> None:
    """Show progress until the batch has ended. Ctrl-C leaves the batch running."""
    run(_watched(batch_id, show_progress=True, as_json=as_json))


async def _steered(
    batch_id: UUID,
    what: str,
    ask: Callable[[TransferClient, BatchReport], Awaitable[None]],
    *,
    as_json: bool,
    first: Callable[[BatchReports, BatchReport], Awaitable[None]] | None = None,
) -> ExitCode:
    async with open_postgres() as pool:
        reports = BatchReports(pool)
        report = await _existing(reports, batch_id)
        if first is not None:
            await first(reports, report)
    await ask(TransferClient(await connect_temporal()), report)
    if as_json:
        print(json.dumps({"batchId": str(batch_id), "requested": what}))
    else:
        say(f"{what} requested; transfers batch show {batch_id} tells how it stands")
    return ExitCode.OK


async def _refuse_needless_retry(reports: BatchReports, report: BatchReport) -> None:
    """A new run that reopens nothing would only tell everybody of an end once more."""
    if not report.status.ended:
        return
    failed = await reports.failures_by_code(report.batch_id)
    if not failed.keys() - {FailureCode.DUPLICATE_IN_BATCH}:
        only = "only duplicates failed" if failed else "nothing failed"
        raise RequestError(ErrorCode.NOT_ALLOWED, f"{only} in batch {report.batch_id}: there is nothing to retry")


async def _watched(batch_id: UUID, *, show_progress: bool, as_json: bool) -> ExitCode:
    async with open_postgres() as pool:
        reports = BatchReports(pool)
        await _existing(reports, batch_id)
        client = TransferClient(await connect_temporal())
        report = await BatchWatch(reports, client).until_end(batch_id, show=show_progress)
        return await report_end(reports, report, as_json=as_json)


async def _existing(reports: BatchReports, batch_id: UUID) -> BatchReport:
    report = await reports.batch(batch_id)
    if report is None:
        raise RequestError(ErrorCode.NOT_FOUND, f"there is no batch {batch_id}; transfers batch list shows the newest")
    return report
