"""`transfers webhooks create|list|disable`: who gets events, which, and how often a failed delivery is tried again."""

from __future__ import annotations

import asyncio
import base64
import math
import secrets
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from ledger.webhooks import NewSubscription, Subscription, WebhookLedger
from starter.connections import open_postgres
from starter.errors import SettingsError, UnavailableError
from starter.exit_codes import ExitCode, exit_code_of
from workflows.interface.codes import ErrorCode, EventType
from workflows.interface.deliveries import RetryPolicy
from workflows.interface.errors import RequestError
from workflows.interface.message import Message
from workflows.interface.requests import MAX_USER_ID_BYTES
from workflows.interface.targets import checked_target

SECRET_BYTES = 32
"""Standard Webhooks asks for 24 to 64 random bytes."""
ALL_EVENTS = "*"
EVENT_FAMILIES = tuple(sorted({f"{kind.partition('.')[0]}.*" for kind in EventType}))
_DEFAULT = RetryPolicy()

app = typer.Typer(no_args_is_help=True, help="Webhook subscriptions: create, list, disable.")
T = TypeVar("T")

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

    async def ask(ledger: WebhookLedger) -> Subscription:
        return await ledger.create_subscription(_new_subscription(url, secret, user, event_type or (), retry))

    view = CreatedView(**_fields(_run(ask)), secret=secret_text(secret))
    print(view.model_dump_json() if as_json else f"{_line(view)}\nsecret (shown this once): {view.secret}")


@app.command("list")
def list_subscriptions(
    with_disabled: Annotated[bool, typer.Option("--all", help="Disabled ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List subscriptions, oldest first, with the number of deliveries still to be made."""

    async def ask(ledger: WebhookLedger) -> list[Subscription]:
        return await ledger.list_subscriptions(with_disabled=with_disabled)

    views = [SubscriptionView(**_fields(one)) for one in _run(ask)]
    if as_json:
        print("[" + ",".join(view.model_dump_json() for view in views) + "]")
    else:
        Console().print(_table(views))


@app.command()
def disable(
    subscription_id: Annotated[UUID, typer.Argument(help="As `list` shows it.")],
    reason: Annotated[str, typer.Option(help="Kept with the subscription.")] = "disabled by an operator",
    as_json: AsJson = False,
) -> None:
    """Send a subscription nothing any more; what is pending is kept."""

    async def ask(ledger: WebhookLedger) -> Subscription:
        await ledger.disable_subscription(subscription_id, _plain(reason))
        for one in await ledger.list_subscriptions(with_disabled=True):
            if one.subscription_id == subscription_id:
                return one
        raise RequestError(ErrorCode.NOT_FOUND, f"there is no subscription {subscription_id}")

    view = SubscriptionView(**_fields(_run(ask)))
    print(view.model_dump_json() if as_json else _line(view))


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
    if user is not None and not 0 < len(_plain(user).encode()) <= MAX_USER_ID_BYTES:
        raise _refused(f"--user must be 1 to {MAX_USER_ID_BYTES} bytes")
    if not retry.max_delay_s >= retry.first_delay_s:
        raise _refused("--max-delay-s must be at least --first-delay-s")
    if math.isnan(retry.delay_coefficient):
        raise _refused("--delay-coefficient must be a number")
    try:
        return NewSubscription(checked_target(url), secret, user, checked_event_types(event_types), retry)
    except ValueError as error:
        raise _refused(str(error)) from error


def _refused(why: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_INPUT, why)


def _plain(text: str) -> str:
    if "\0" in text or not text.isprintable():
        raise _refused("control characters aren't allowed")
    return text


def _run(ask: Callable[[WebhookLedger], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        async with open_postgres() as pool:
            return await ask(WebhookLedger(pool))

    try:
        return asyncio.run(run())
    except RequestError as error:
        raise _ended(error, exit_code_of(error.code)) from error
    except SettingsError as error:
        raise _ended(error, ExitCode.BAD_INPUT) from error
    except UnavailableError as error:
        raise _ended(error, ExitCode.FAILED) from error


def _ended(error: Exception, code: ExitCode) -> typer.Exit:
    print(f"error: {error}", file=sys.stderr)
    return typer.Exit(code)


def _fields(subscription: Subscription) -> dict[str, Any]:
    return {**subscription._asdict(), "retry": RetryView(**subscription.retry._asdict())}


def _line(view: SubscriptionView) -> str:
    state = f"disabled: {view.disabled_reason}" if view.disabled_at else "active"
    whose = f" of {view.user_id}" if view.user_id else ""
    return f"{view.subscription_id} {view.url} gets {', '.join(view.event_types)}{whose} ({state})"


def _table(views: Sequence[SubscriptionView]) -> Table:
    table = Table("subscription", "url", "events", "user", "pending", "state")
    table.columns[0].no_wrap = True
    table.columns[1].overflow = "fold"
    for view in views:
        state = view.disabled_reason or (
            f"failing since {view.failing_since:%F %T}" if view.failing_since else "active"
        )
        user = view.user_id or "everybody"
        table.add_row(str(view.subscription_id), view.url, ", ".join(view.event_types), user, str(view.pending), state)
    return table
