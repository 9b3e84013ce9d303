"""What the command line prints of transfers: JSON models (camelCase), and the tables and lines made of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ledger.transfer_reports import BindingReport, EventReport, TransferReport
from starter.escaping import printable
from starter.printing import PIPED_WIDTH, safe, say
from workflows.interface.codes import EventType, Outcome, Settlement, TransferKind, TransferStatus
from workflows.interface.message import Message
from workflows.interface.transfer import TransferState

_TIME = "%Y-%m-%d %H:%M:%S"


class TransferView(Message):
    """A transfer as Postgres has it. Times are UTC."""

    transfer_id: UUID
    kind: TransferKind
    status: TransferStatus
    ticket_id: str
    from_user_id: str
    to_user_id: str | None
    to_address: str | None
    batch_id: UUID | None
    item_no: int | None
    settlement: Settlement
    code: str | None
    reason: str | None
    tries: int
    next_try_at: datetime | None
    transaction_hash: str | None
    expires_at: datetime | None
    created_at: datetime
    accepted_at: datetime | None
    submitted_at: datetime | None
    ended_at: datetime | None


class ChainTransactionView(Message):
    """A chain transaction that the transfer was bound to; `outcome` is the transfer's in it."""

    binding_no: int
    lane: str
    nonce: int
    attempts: int
    transaction_hash: str | None
    """Of the attempt that a block holds, or else of the last one that was signed."""
    block_number: int | None
    outcome: Outcome | None
    code: str | None
    reason: str | None
    gas_used: int | None
    """Of the whole chain transaction."""
    fee_wei: str | None
    bound_at: datetime
    settled_at: datetime | None


class TransferEventView(Message):
    """An event of the transfer."""

    event_id: UUID
    type: EventType
    occurred_at: datetime


class TransferDetails(TransferView):
    """A transfer with its chain transactions and its events."""

    chain_transactions: tuple[ChainTransactionView, ...]
    events: tuple[TransferEventView, ...]


def transfer_view(report: TransferReport) -> TransferView:
    """The transfer as it's printed."""
    return TransferView.model_validate(_fields(report))


def transfer_details(
    report: TransferReport, bindings: Sequence[BindingReport], events: Sequence[EventReport]
) -> TransferDetails:
    """The transfer with all that is known of it."""
    return TransferDetails.model_validate(
        {
            **_fields(report),
            "chain_transactions": [_chain_view(binding) for binding in bindings],
            "events": [event._asdict() for event in events],
        }
    )


def print_transfer(details: TransferDetails) -> None:
    """One transfer: its state, times, chain transactions and events."""
    console = _console()
    table = Table.grid(padding=(0, 2))
    for name, value in _rows(details).items():
        if value:
            table.add_row(Text(name, style="bold"), safe(value))
    console.print(table)
    if details.chain_transactions:
        console.print(_chain_table(details.chain_transactions))
    if details.events:
        told = Table("event", "at", "id")
        for event in details.events:
            told.add_row(event.type, _at(event.occurred_at), str(event.event_id))
        console.print(told)


def print_transfers(views: Sequence[TransferView]) -> None:
    """The table of `transfer list` and `gift list`."""
    table = Table("transfer", "kind", "status", "ticket", "sender", "recipient", "created", "expires", "why")
    table.columns[0].no_wrap = True
    for view in views:
        why = _why(view.code, view.reason)
        waits = view.expires_at if view.status is TransferStatus.PENDING else None
        cells = (view.from_user_id, view.to_user_id or view.to_address or "", _at(view.created_at), _at(waits), why)
        table.add_row(str(view.transfer_id), view.kind, view.status, view.ticket_id, *map(safe, cells))
    _console().print(table)


def say_next_page(last: TransferView) -> None:
    """How to go on, where a page was full."""
    say(f"there may be more: add --before {last.transfer_id}")


def state_line(state: TransferState) -> str:
    """A transfer as its workflow tells it, on one line."""
    to = state.to_user_id or state.to_address or "?"
    until = f" until {_at(state.expires_at)} UTC" if state.expires_at and state.status is TransferStatus.PENDING else ""
    moved = f"ticket {state.ticket_id} of {state.from_user_id} to {to}"
    why = _why(state.code, state.reason)
    return printable(f"{state.kind} {state.transfer_id}: {state.status}{until}, {moved}{f': {why}' if why else ''}")


def _rows(details: TransferDetails) -> dict[str, str]:
    why = _why(details.code, details.reason)
    address = f" ({details.to_address})" if details.to_user_id and details.to_address else ""
    next_try = f", next at {_at(details.next_try_at)}" if details.next_try_at else ""
    return {
        details.kind: str(details.transfer_id),
        "status": f"{details.status}{f': {why}' if why else ''}",
        "ticket": f"{details.ticket_id} of {details.from_user_id} to "
        f"{details.to_user_id or details.to_address or '?'}{address}, {details.settlement}",
        "batch": f"{details.batch_id} item {details.item_no}" if details.batch_id else "",
        "tries": f"{details.tries}{next_try}",
        "created": _at(details.created_at),
        "expires": _at(details.expires_at),
        "accepted": _at(details.accepted_at),
        "submitted": _at(details.submitted_at),
        "ended": _at(details.ended_at),
    }


def _chain_table(views: Sequence[ChainTransactionView]) -> Table:
    table = Table("binding", "lane", "nonce", "attempts", "chain transaction", "block", "outcome", "reason")
    for view in views:
        hash_and_block = (view.transaction_hash or "-", "-" if view.block_number is None else str(view.block_number))
        why = _why(view.code, view.reason)
        numbers = (str(view.nonce), str(view.attempts))
        table.add_row(str(view.binding_no), view.lane, *numbers, *hash_and_block, view.outcome or "open", safe(why))
    return table


def _fields(report: TransferReport) -> dict[str, object]:
    return {
        **report._asdict(),
        "to_address": _hex(report.recipient),
        "code": report.failure_code,
        "reason": report.failure_reason,
        "transaction_hash": _hex(report.final_tx_hash),
    }


def _chain_view(binding: BindingReport) -> ChainTransactionView:
    return ChainTransactionView.model_validate(
        {
            **binding._asdict(),
            "lane": binding.signer,
            "transaction_hash": _hex(binding.final_tx_hash or binding.last_tx_hash),
            "block_number": binding.final_block_number,
        }
    )


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)


def _why(code: str | None, reason: str | None) -> str:
    return " ".join(filter(None, (code, reason)))


def _hex(data: bytes | None) -> str | None:
    return None if data is None else "0x" + data.hex()


def _at(time: datetime | None) -> str:
    return "" if time is None else time.strftime(_TIME)
