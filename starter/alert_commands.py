"""`transfers alerts list|ack`: what a person must see, and who looks after it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import typer

from ledger.alerts import AlertLedger, ListedAlert
from starter.connections import open_postgres
from starter.exit_codes import ExitCode
from starter.operators import user_of_system
from starter.printing import say
from starter.requests import checked_reason
from starter.running import run
from starter.tables import TIME, print_table
from workflows.interface.codes import AlertSeverity, ErrorCode
from workflows.interface.errors import RequestError
from workflows.interface.message import Message

app = typer.Typer(no_args_is_help=True, help="Alerts: list, acknowledge.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class AlertView(Message):
    """An alert as it's printed. Times are UTC."""

    alert_id: int
    kind: str
    subject: str
    severity: AlertSeverity
    message: str
    value: float | None
    threshold: float | None
    seen: int
    opened_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    close_message: str | None
    acked_at: datetime | None
    acked_by: str | None
    unsent: int
    """Messages about it that a receiver hasn't taken yet."""


@app.command("list")
def list_alerts(
    with_closed: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List open alerts, the newest first."""

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            found = await AlertLedger(pool).list(with_closed=with_closed, most=limit)
        views = [_view(one) for one in found]
        if as_json:
            print(json.dumps([view.model_dump(mode="json") for view in views]))
        elif views:
            names = ("alert", "severity", "kind", "subject", "message", "seen", "opened", "last seen", "state")
            print_table(names, map(_row, views), right=("alert", "seen"))
        else:
            say("no alerts" if with_closed else "no open alerts")
        return ExitCode.OK

    run(command())


@app.command()
def ack(
    alert_id: Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="As `list` shows it.")],
    by: Annotated[str | None, typer.Option(help="Who looks after it; default: the name you're logged in with.")] = None,
    as_json: AsJson = False,
) -> None:
    """Acknowledge an open alert: it isn't repeated any more, and still closes by itself."""

    async def command() -> ExitCode:
        name = checked_reason(by if by is not None else user_of_system())
        if not name.strip():
            raise RequestError(ErrorCode.INVALID_INPUT, "--by must name somebody")
        async with open_postgres() as pool:
            found = await AlertLedger(pool).ack(alert_id, name)
        if found is None:
            raise RequestError(ErrorCode.NOT_FOUND, f"there is no alert {alert_id}")
        if found.alert.acked_at is None:
            raise RequestError(ErrorCode.NOT_ALLOWED, f"alert {alert_id} has closed already")
        view = _view(found)
        print(view.model_dump_json() if as_json else " ".join(_row(view)))
        return ExitCode.OK

    run(command())


def _view(listed: ListedAlert) -> AlertView:
    return AlertView(**listed.alert._asdict(), unsent=listed.unsent)


def _row(view: AlertView) -> tuple[str, ...]:
    if view.closed_at:
        state = f"closed {view.closed_at:{TIME}}: {view.close_message or 'by hand'}"
    else:
        state = f"acknowledged by {view.acked_by}" if view.acked_by else "open"
    unsent = f", {view.unsent} messages wait" if view.unsent else ""
    return (
        str(view.alert_id),
        view.severity,
        view.kind,
        view.subject,
        view.message,
        f"{view.seen:,}",
        view.opened_at.strftime(TIME),
        view.last_seen_at.strftime(TIME),
        state + unsent,
    )
