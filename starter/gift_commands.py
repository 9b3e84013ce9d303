"""`transfers gift …`: offer a ticket, accept, decline or take back the offer, list gifts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from ledger.transfer_reports import TransferFilter
from starter.connections import connect_temporal
from starter.exit_codes import ExitCode
from starter.printing import say
from starter.requests import checked_user_id
from starter.running import run
from starter.times import moment, span
from starter.transfer_commands import (
    AsJson,
    Before,
    HowSettled,
    Key,
    Limit,
    OfRecipient,
    OfSender,
    OfStatus,
    OwnId,
    Sender,
    Ticket,
    TransferId,
    Wait,
)
from starter.transfer_reporting import list_transfers, wait_and_show
from starter.transfer_requests import chosen_expiry, chosen_transfer_id
from starter.transfer_views import state_line
from starter.transfers import SingleTransferClient
from workflows.interface.codes import TransferKind, TransferStatus
from workflows.interface.transfer import TransferState

app = typer.Typer(no_args_is_help=True, help="Gifts, which wait to be accepted: create, accept, decline, cancel, list.")

Reason = Annotated[str | None, typer.Option(help="Kept with the gift.")]
Recipient = Annotated[str, typer.Option("--user", metavar="USER", help="The gift's recipient, whose word this is.")]
Giver = Annotated[str, typer.Option("--user", metavar="USER", help="The gift's sender, whose word this is.")]


@app.command(
    epilog="Examples:\n\n  transfers gift create --from alice --ticket 17 --to bob\n\n"
    "  transfers gift create --from alice --ticket 17 --to bob --expires-in 36h --idempotency-key birthday-17"
)
def create(
    from_user: Sender,
    ticket: Ticket,
    to: Annotated[str, typer.Option(metavar="USER", help="The user who may accept it.")],
    *,
    expires_at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="It waits until then: ISO 8601 with zone.")
    ] = None,
    expires_in: Annotated[
        timedelta | None,
        typer.Option(parser=span, metavar="SPAN", help="It waits so long from now: 90s, 15m, 36h, 7d (default 7d)."),
    ] = None,
    transfer_id: OwnId = None,
    idempotency_key: Key = None,
    settlement: HowSettled = None,
    as_json: AsJson = False,
) -> None:
    """Offer a ticket to a user; it's locked until it's accepted, declined, cancelled or expired."""

    async def command() -> ExitCode:
        sender, until = checked_user_id(from_user), chosen_expiry(expires_at, expires_in)
        own = chosen_transfer_id(sender, transfer_id, idempotency_key)
        made = await SingleTransferClient(await connect_temporal()).create_gift_transfer(
            sender,
            ticket,
            to,
            expires_at=until if expires_in is None else None,
            expires_in=expires_in,
            transfer_id=own,
            settlement=settlement,
        )
        _print(made, as_json=as_json)
        failed = made.status is TransferStatus.FAILED
        return ExitCode.BATCH_HAS_FAILURES if failed else ExitCode.OK

    run(command())


@app.command()
def accept(transfer_id: TransferId, user: Recipient, *, wait: Wait = False, as_json: AsJson = False) -> None:
    """Accept a gift: its ticket goes to the chain."""
    run(_accepted(transfer_id, user, wait=wait, as_json=as_json))


@app.command()
def decline(transfer_id: TransferId, user: Recipient, *, reason: Reason = None, as_json: AsJson = False) -> None:
    """Decline a gift: its ticket is free again."""
    run(_said(lambda client: client.decline_gift(transfer_id, user, reason), as_json=as_json))


@app.command()
def cancel(transfer_id: TransferId, user: Giver, *, reason: Reason = None, as_json: AsJson = False) -> None:
    """Take an offer back: its ticket is free again."""
    run(_said(lambda client: client.cancel_gift(transfer_id, user, reason), as_json=as_json))


@app.command("list")
def list_gifts(
    *,
    status: OfStatus = None,
    from_user: OfSender = None,
    to: OfRecipient = None,
    before: Before = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List gifts, newest first, also those that batches made."""
    wanted = TransferFilter(status, TransferKind.GIFT, from_user, to)
    run(list_transfers(wanted, before=before, limit=limit, as_json=as_json))


async def _accepted(transfer_id: UUID, user: str, *, wait: bool, as_json: bool) -> ExitCode:
    client = SingleTransferClient(await connect_temporal())
    _print(await client.accept_gift(transfer_id, user), as_json=as_json)
    return await wait_and_show(client, transfer_id, as_json=as_json) if wait else ExitCode.OK


async def _said(word: Callable[[SingleTransferClient], Awaitable[TransferState]], *, as_json: bool) -> ExitCode:
    _print(await word(SingleTransferClient(await connect_temporal())), as_json=as_json)
    return ExitCode.OK


def _print(state: TransferState, *, as_json: bool) -> None:
    if as_json:
        print(state.model_dump_json(), flush=True)
        return
    print(state_line(state), flush=True)
    if state.status is TransferStatus.PENDING:
        say(f"to accept it: transfers gift accept {state.transfer_id} --user {state.to_user_id}")
