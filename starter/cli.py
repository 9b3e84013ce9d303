"""The command `transfers`: its groups, those that other rooms add, and its entry point."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import NoReturn

import typer

from starter import (
    alert_commands,
    batch_commands,
    dead_letter_commands,
    gift_commands,
    limit_commands,
    report_commands,
    schedule_commands,
    transfer_commands,
    webhooks,
)
from starter.exit_codes import ExitCode
from starter.health import health
from starter.leaving import leave
from starter.printing import say
from starter.settings import adopt_devstack_env

COMMAND_GROUP = "transfers.commands"
"""Entry points of this group join the command line: each is a typer.Typer, its name the command."""

_HELP = (
    "Moves ERC-721 tickets between users: one by one, as gifts, and in durable batches.\n\n"
    "The servers are named by DATABASE_URL and TEMPORAL_ADDRESS (and Temporal's other variables); what they leave out "
    "is read from .devstack/env in the current folder, which `make up` writes."
)
_EXIT_CODES = "\n\n".join(["Exit codes:", *(f"{code.value:>5}  {code.meaning}" for code in ExitCode)])


def main() -> NoReturn:
    """Entry point of `transfers` and of `python -m starter`."""
    adopt_devstack_env(os.environ)
    try:
        build_app(sys.argv[1:])(prog_name="transfers")
    except SystemExit as ended:
        leave(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    leave(ExitCode.OK)


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """The command line. Other rooms' commands are loaded only where these arguments need them."""
    app = typer.Typer(
        no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=_HELP, epilog=_EXIT_CODES
    )
    # Keeps the groups a group, whatever joins.
    app.callback()(lambda: None)
    app.add_typer(batch_commands.app, name="batch")
    app.add_typer(transfer_commands.app, name="transfer")
    app.add_typer(gift_commands.app, name="gift")
    app.add_typer(webhooks.app, name="webhooks")
    app.add_typer(dead_letter_commands.app, name="dead-letters")
    app.add_typer(limit_commands.app, name="limits")
    app.add_typer(schedule_commands.app, name="schedules")
    app.add_typer(alert_commands.app, name="alerts")
    for command in (report_commands.failures, report_commands.stats, health):
        app.command()(command)
    for entry in entry_points(group=COMMAND_GROUP):
        if not arguments or arguments[0].startswith("-") or arguments[0] == entry.name:
            _join(app, entry)
    return app


def _join(app: typer.Typer, entry: EntryPoint) -> None:
    try:
        app.add_typer(entry.load(), name=entry.name)
    except ImportError as error:
        # A production image leaves the development stack out; its command then is no reason to refuse all others.
        say(f"warning: `transfers {entry.name}` isn't installed here: {error}")
