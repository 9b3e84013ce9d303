"""`transfers transfer …`: start, show, list and retry single transfers."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from ledger.transfer_reports import TransferFilter, TransferReport, TransferReports
from starter.connections import connect_temporal, open_postgres
from starter.exit_codes import ExitCode
from starter.printing import say
from starter.requests import checked_user_id
from starter.running import run
from starter.transfer_reporting import existing_transfer, list_transfers, show_transfer, wait_and_show
from starter.transfer_requests import chosen_transfer_id
from starter.transfers import SingleTransferClient
from workflows.interface.codes import ErrorCode, FailureCode, Settlement, TransferKind, TransferStatus
from workflows.interface.errors import RequestError

app = typer.Typer(no_args_is_help=True, help="Single transfers: start, show, list, wait, retry. Gifts: transfers gift.")

TransferId = Annotated[UUID, typer.Argument(metavar="ID", help="The transfer id, as `start` or `list` printed it.")]
Sender = Annotated[str, typer.Option("--from", metavar="USER", help="The user whose ticket moves.")]
Ticket = Annotated[str, typer.Option(metavar="NUMBER", help="The ticket's number.")]
OwnId = Annotated[UUID | None, typer.Option("--id", metavar="ID", help="Your own transfer id, a UUID.")]
Key = Annotated[
    str | None, typer.Option(metavar="KEY", help="The same key and content again gives the first transfer back.")
]
HowSettled = Annotated[
    Settlement | None, typer.Option(help="Together with others in one chain transaction (default), or alone.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Show progress until the ticket has moved or that failed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (camelCase).")]
OfStatus = Annotated[TransferStatus | None, typer.Option(case_sensitive=False, help="Only of this status.")]
OfSender = Annotated[str | None, typer.Option("--from", metavar="USER", help="Only of this sender.")]
OfRecipient = Annotated[str | None, typer.Option("--to", metavar="USER", help="Only to this user.")]
Before = Annotated[UUID | None, typer.Option(metavar="ID", help="The page after this transfer, the last one listed.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")]


@app.command(
    epilog="Examples:\n\n  transfers transfer start --from alice --ticket 17 --to bob --wait\n\n"
    "  transfers transfer start --from alice --ticket 17 --to 0x8c56… --idempotency-key order-17 --json"
)
def start(
    from_user: Sender,
    ticket: Ticket,
    to: Annotated[str, typer.Option(metavar="USER|ADDRESS", help="A user id or a 0x address.")],
    *,
    transfer_id: OwnId = None,
    idempotency_key: Key = None,
    settlement: HowSettled = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Move one ticket: it goes before all batches. Prints {"transferId": …, "repeated": false} once it's started."""

    async def command() -> ExitCode:
        sender = checked_user_id(from_user)
        own = chosen_transfer_id(sender, transfer_id, idempotency_key)
        client = SingleTransferClient(await connect_temporal())
        started = await client.start_transfer(sender, ticket, to, transfer_id=own, settlement=settlement)
        print(started.model_dump_json(), flush=True)
        return await wait_and_show(client, own, as_json=as_json) if wait else ExitCode.OK

    run(command())


@app.command()
def show(transfer_id: TransferId, *, as_json: AsJson = False) -> None:
    """Show a transfer as Postgres has it, with its chain transactions and events; also a gift, or one of a batch."""

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            reports = TransferReports(pool)
            await show_transfer(reports, await existing_transfer(reports, transfer_id), as_json=as_json)
        return ExitCode.OK

    run(command())


@app.command("list")
def list_singles(
    *,
    status: OfStatus = None,
    kind: Annotated[TransferKind | None, typer.Option(help="Only of this kind.")] = None,
    from_user: OfSender = None,
    to: OfRecipient = None,
    before: Before = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List single transfers and gifts, newest first; those of a batch: transfers batch show --items."""
    wanted = TransferFilter(status, kind, from_user, to)
    run(list_transfers(wanted, before=before, limit=limit, as_json=as_json))


@app.command()
def wait(transfer_id: TransferId, *, as_json: AsJson = False) -> None:
    """Show progress until the transfer has ended, then show it. Ctrl-C leaves it running."""

    async def command() -> ExitCode:
        return await wait_and_show(SingleTransferClient(await connect_temporal()), transfer_id, as_json=as_json)

    run(command())


@app.command()
def retry(
    transfer_id: TransferId,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also where the failure's code says it can't help.")] = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Reopen a failed transfer, also one of a batch: three more tries, where the ticket is the sender's and free."""

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            report = await existing_transfer(TransferReports(pool), transfer_id)
        _refuse_needless_retry(report, force=force)
        client = SingleTransferClient(await connect_temporal())
        await client.retry(transfer_id, force=force, from_user_id=report.from_user_id)
        if wait:
            return await wait_and_show(client, transfer_id, as_json=as_json)
        if as_json:
            print(f'{{"transferId":"{transfer_id}","requested":"retry"}}')
        else:
            say(f"retry requested; transfers transfer show {transfer_id} tells how it stands")
        return ExitCode.OK

    run(command())


def _refuse_needless_retry(report: TransferReport, *, force: bool) -> None:
    if report.status is not TransferStatus.FAILED:
        raise RequestError(
            ErrorCode.NOT_ALLOWED, f"transfer {report.transfer_id} is {report.status}: only a failed one is retried"
        )
    code = FailureCode(report.failure_code or FailureCode.INTERNAL)
    if code is FailureCode.DUPLICATE_IN_BATCH:
        raise RequestError(
            ErrorCode.NOT_ALLOWED,
            f"transfer {report.transfer_id} named a ticket again in its batch: it stays failed",
        )
    if not code.retryable and not force:
        raise RequestError(
            ErrorCode.NOT_ALLOWED,
            f"transfer {report.transfer_id} failed with {code} ({code.meaning}): trying again unchanged doesn't help; "
            "once the cause is mended, add --force",
        )
