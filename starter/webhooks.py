"""`transfers webhooks create|list|disable`: who gets events, which, and how often a failed delivery is tried again."""

from __future__ import annotations

import base64
import json
import math
import secrets
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from ledger.batch_reports import BatchReports
from ledger.webhooks import NewSubscription, Subscription, WebhookLedger
from starter.connections import open_postgres
from starter.escaping import printable
from starter.exit_codes import ExitCode
from starter.printing import PIPED_WIDTH, safe, say
from starter.requests import checked_reason, checked_user_id
from starter.running import run
from workflows.interface.codes import ErrorCode, EventType
from workflows.interface.deliveries import RetryPolicy
from workflows.interface.errors import RequestError
from workflows.interface.message import Message
from workflows.interface.targets import checked_target

SECRET_BYTES = 32
"""Standard Webhooks asks for 24 to 64 random bytes."""
ALL_EVENTS = "*"
EVENT_FAMILIES = tuple(sorted({f"{kind.partition('.')[0]}.*" for kind in EventType}))
_DEFAULT = RetryPolicy()

app = typer.Typer(no_args_is_help=True, help="Webhook subscriptions: create, list, disable.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class RetryView(Message):
    """The retry policy as it's printed; times in seconds."""

    max_attempts: int
    first_delay_s: float
    delay_coefficient: float
    max_delay_s: float


class SubscriptionView(Message):
    """A subscription as it's printed."""

    subscription_id: UUID
    url: str
    user_id: str | None
    event_types: tuple[str, ...]
    retry: RetryView
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    pending: int
    """Deliveries still to be made."""


class CreatedView(SubscriptionView):
    """A new subscription with its secret, which is shown this once."""

    secret: str


@app.command()
def create(
    *,
    url: Annotated[str, typer.Option(help="http(s) address that takes the POSTs.")],
    user: Annotated[str | None, typer.Option(help="Only events of this sender's tickets.")] = None,
    event_type: Annotated[
        list[str] | None, typer.Option(help="e.g. transfer.completed, a family like batch.*, or *; may be repeated.")
    ] = None,
    max_attempts: Annotated[int, typer.Option(min=1, max=100)] = _DEFAULT.max_attempts,
    first_delay_s: Annotated[float, typer.Option(min=0.01, max=86_400)] = _DEFAULT.first_delay_s,
    delay_coefficient: Annotated[float, typer.Option(min=1, max=100)] = _DEFAULT.delay_coefficient,
    max_delay_s: Annotated[float, typer.Option(min=0.01, max=2_592_000)] = _DEFAULT.max_delay_s,
    as_json: AsJson = False,
) -> None:
    """Subscribe an address to events; prints the signing secret, which is never shown again."""
    secret = secrets.token_bytes(SECRET_BYTES)
    retry = RetryPolicy(max_attempts, first_delay_s, delay_coefficient, max_delay_s)

    async def command() -> ExitCode:
        new = _new_subscription(url, secret, user, event_type or (), retry)
        async with open_postgres() as pool:
            created = await WebhookLedger(pool).create_subscription(new)
            if new.user_id is not None and not await BatchReports(pool).has_wallet(new.user_id):
                say(f"warning: no user {new.user_id} has a wallet yet: events come once this user sends tickets")
        view = CreatedView(**_fields(created), secret=secret_text(secret))
        print(view.model_dump_json() if as_json else f"{_line(view)}\nsecret (shown this once): {view.secret}")
        return ExitCode.OK

    run(command())


@app.command("list")
def list_subscriptions(
    with_disabled: Annotated[bool, typer.Option("--all", help="Disabled ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List subscriptions, oldest first, with the number of deliveries still to be made."""

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            found = await WebhookLedger(pool).list_subscriptions(with_disabled=with_disabled)
        views = [SubscriptionView(**_fields(one)) for one in found]
        if as_json:
            print(json.dumps([view.model_dump(mode="json") for view in views]))
        elif views:
            _print(_table(views))
        else:
            say("no subscriptions")
        return ExitCode.OK

    run(command())


@app.command()
def disable(
    subscription_id: Annotated[UUID, typer.Argument(help="As `list` shows it.")],
    reason: Annotated[str, typer.Option(help="Kept with the subscription.")] = "disabled by an operator",
    as_json: AsJson = False,
) -> None:
    """Send a subscription nothing any more; what is pending is kept."""

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            view = SubscriptionView(
                **_fields(await _disabled(WebhookLedger(pool), subscription_id, checked_reason(reason)))
            )
        print(view.model_dump_json() if as_json else _line(view))
        return ExitCode.OK

    run(command())


def secret_text(secret: bytes) -> str:
    """The secret as its owner gets it: `whsec_` and base64 (Standard Webhooks)."""
    return "whsec_" + base64.b64encode(secret).decode()


def checked_event_types(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once; all events if there are none.

    Raises:
        ValueError: a name is neither an event type nor a family.
    """
    known = {ALL_EVENTS, *EVENT_FAMILIES, *EventType}
    for name in names:
        if name not in known:
            raise ValueError(f"unknown event type {name!r}; known are {', '.join(sorted(known))}")
    return tuple(dict.fromkeys(names)) or (ALL_EVENTS,)


def _new_subscription(
    url: str, secret: bytes, user: str | None, event_types: Sequence[str], retry: RetryPolicy
) -> NewSubscription:
    user_id = None if user is None else checked_user_id(user)
    # Not every version of click's bounds keeps "nan" out: it's neither below nor above them.
    for name, value in retry._asdict().items():
        if math.isnan(value):
            raise _refused(f"--{name.replace('_', '-')} must be a number")
    if retry.max_delay_s < retry.first_delay_s:
        raise _refused("--max-delay-s must be at least --first-delay-s")
    try:
        return NewSubscription(checked_target(url), secret, user_id, checked_event_types(event_types), retry)
    except ValueError as error:
        raise _refused(str(error)) from error


def _refused(why: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_INPUT, why)


async def _disabled(ledger: WebhookLedger, subscription_id: UUID, reason: str) -> Subscription:
    await ledger.disable_subscription(subscription_id, reason)
    for one in await ledger.list_subscriptions(with_disabled=True):
        if one.subscription_id == subscription_id:
            return one
    raise RequestError(ErrorCode.NOT_FOUND, f"there is no subscription {subscription_id}")


def _fields(subscription: Subscription) -> dict[str, Any]:
    return {**subscription._asdict(), "retry": RetryView(**subscription.retry._asdict())}


def _line(view: SubscriptionView) -> str:
    state = f"disabled: {printable(view.disabled_reason or '')}" if view.disabled_at else "active"
    whose = f" of {view.user_id}" if view.user_id else ""
    return f"{view.subscription_id} {view.url} gets {', '.join(view.event_types)}{whose} ({state})"


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False).print(table)


def _table(views: Sequence[SubscriptionView]) -> Table:
    table = Table("subscription", "url", "events", "user", "pending", "state")
    table.columns[0].no_wrap = True
    table.columns[1].overflow = "fold"
    for view in views:
        state = view.disabled_reason or (
            f"failing since {view.failing_since:%F %T}" if view.failing_since else "active"
        )
        user = view.user_id or "everybody"
        cells = (view.url, ", ".join(view.event_types), user, f"{view.pending:,}", state)
        table.add_row(str(view.subscription_id), *map(safe, cells))
    return table
