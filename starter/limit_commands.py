"""`transfers limits list|set|clear`: how fast the whole cluster may go; running workers follow within a second."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ledger.rate_limits import RateLimit, RateLimits
from starter.connections import open_postgres
from starter.exit_codes import ExitCode
from starter.printing import PIPED_WIDTH, safe, say
from starter.requests import checked_reason
from starter.running import run
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError
from workflows.interface.message import Message
from workflows.interface.rates import RateName, checked_rate, checked_rate_name, endpoint_of

MOST_BY_BYTES = 200
_NAMES = "transfers, chain-transactions, chain-rpc, webhooks (each endpoint), webhooks/<subscription id>."

app = typer.Typer(no_args_is_help=True, help="Rate limits of the whole cluster: list, set, clear.")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help=_NAMES)]


class LimitView(Message):
    """A limit as it's printed."""

    name: str
    rate_per_s: float
    changed_at: datetime
    changed_by: str


@app.command("list")
def list_limits(as_json: AsJson = False) -> None:
    """List the limits that are set; nothing else is limited."""

    async def command() -> ExitCode:
        async with open_postgres() as pool:
            views = [_view(limit) for limit in await RateLimits(pool).limits()]
        if as_json:
            print(json.dumps([view.model_dump(mode="json") for view in views]))
        elif views:
            Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False).print(_table(views))
        else:
            say("no limits")
        return ExitCode.OK

    run(command())


# A rate that begins with a minus sign is a rate to be refused, not an option.
@app.command("set", context_settings={"ignore_unknown_options": True})
def set_limit(
    name: Name,
    rate: Annotated[str, typer.Argument(metavar="RATE", help="Per second: items, transactions, calls or requests.")],
    by: Annotated[str, typer.Option(help="Who sets it; kept with the limit.")] = "an operator",
    as_json: AsJson = False,
) -> None:
    """Set or change a limit."""

    async def command() -> ExitCode:
        (checked, rate_per_s), changed_by = _checked(name, rate), _checked_by(by)
        async with open_postgres() as pool:
            limits = RateLimits(pool)
            await _need_endpoint(limits, checked)
            view = _view(await limits.set_limit(checked, rate_per_s, changed_by))
        print(view.model_dump_json() if as_json else f"{view.name}: {view.rate_per_s:g} per second")
        return ExitCode.OK

    run(command())


@app.command()
def clear(name: Name, as_json: AsJson = False) -> None:
    """Take a limit away; an endpoint's own gives way to the default."""

    async def command() -> ExitCode:
        checked = _checked_name(name)
        async with open_postgres() as pool:
            limits = RateLimits(pool)
            if not await limits.clear_limit(checked):
                raise RequestError(
                    ErrorCode.NOT_FOUND, f"{checked} has no limit; `transfers limits list` shows what has"
                )
            default = endpoint_of(checked) is not None and await _default(limits)
        if as_json:
            print(json.dumps({"name": checked, "cleared": True}))
        else:
            print(f"{checked}: {f'the default, {default:g} per second' if default else 'no limit'}")
        return ExitCode.OK

    run(command())


def _checked(name: str, rate: str) -> tuple[str, float]:
    try:
        return _checked_name(name), checked_rate(rate)
    except ValueError as error:
        raise RequestError(ErrorCode.INVALID_INPUT, str(error)) from error


def _checked_name(name: str) -> str:
    try:
        return checked_rate_name(name)
    except ValueError as error:
        raise RequestError(ErrorCode.INVALID_INPUT, str(error)) from error


def _checked_by(by: str) -> str:
    if not 0 < len(checked_reason(by).encode()) <= MOST_BY_BYTES:
        raise RequestError(ErrorCode.INVALID_INPUT, f"--by takes 1 to {MOST_BY_BYTES} bytes")
    return by


async def _need_endpoint(limits: RateLimits, name: str) -> None:
    subscription_id = endpoint_of(name)
    if subscription_id is not None and not await limits.has_endpoint(subscription_id):
        why = f"there is no subscription {subscription_id}; `transfers webhooks list --all` shows them"
        raise RequestError(ErrorCode.NOT_FOUND, why)


async def _default(limits: RateLimits) -> float | None:
    rates = {limit.name: limit.rate_per_s for limit in await limits.limits()}
    return rates.get(RateName.WEBHOOKS)


def _view(limit: RateLimit) -> LimitView:
    return LimitView(**limit._asdict())


def _table(views: list[LimitView]) -> Table:
    table = Table("limit", "per second", "changed", "by")
    table.columns[0].no_wrap = True
    table.columns[1].justify = "right"
    for view in views:
        table.add_row(view.name, f"{view.rate_per_s:g}", f"{view.changed_at:%F %T}", safe(view.changed_by))
    return table
