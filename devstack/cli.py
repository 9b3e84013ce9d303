"""The `transfers dev` commands: the stack up, down and away, tickets to try things out, and a receiver of webhooks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from devstack.demo import run_demo
from devstack.ending import one_line_errors
from devstack.environment import DEMO_SENDER
from devstack.errors import StackError
from devstack.receiver import run_receiver
from devstack.seed import Minted, mint, open_pool, open_rpc
from devstack.stack import Stack
from devstack.state import DEFAULT_FOLDER, Deployment, StackState
from starter.leaving import leave
from workflows.interface.addresses import is_address_text
from workflows.interface.requests import plain_user_id

MAX_MINT = 1_000_000
# Another mint may hold the lock: a hundred thousand tickets take 10 s.
_LOCK_PATIENCE_S = 120.0
app = typer.Typer(
    no_args_is_help=True, help="For development: up, down and clean (the embedded stack), demo, mint, receiver."
)


@app.command()
def up() -> None:
    """Start what isn't running (Postgres, Temporal, anvil, one worker) and write .devstack/env."""
    with one_line_errors():
        stack = _stack()
        with stack.guarded():
            state = stack.up()
        _say(
            f"the stack is up: Web UI {state.temporal_ui_url}, settings in {stack.layout.env_file}\n"
            f"give the demo sender tickets with: .venv/bin/transfers dev mint --user {DEMO_SENDER} --count 1000"
        )


@app.command()
def down() -> None:
    """Stop the stack and keep its data."""
    with one_line_errors():
        stack = _stack()
        with stack.guarded():
            _say("the stack is down" if stack.down() else "nothing was running")


@app.command()
def clean() -> None:
    """Stop the stack and delete its data."""
    with one_line_errors():
        clean_all()
        _say("the stack and its data are gone")


@app.command()
def demo(
    crash: Annotated[bool, typer.Option(help="Kill the worker twice on the way (as CRASH=1).")] = False,
    keep: Annotated[bool, typer.Option(help="Leave everything running at the end, until Ctrl-C (as KEEP=1).")] = False,
) -> None:
    """Move a thousand tickets on a stack of its own, and check the outcome from outside."""
    with one_line_errors():
        report = run_demo(crash or _is_set("CRASH"), keep or _is_set("KEEP"))
    if report.faults or report.act_faults:
        raise SystemExit(1)


@app.command("mint")
def mint_command(
    user: Annotated[str, typer.Option(help="The user who gets the tickets (and a wallet, if there is none).")],
    count: Annotated[int, typer.Option(min=0, max=MAX_MINT, help="How many; 0 makes the wallet alone.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Give a user fresh tickets on the dev chain."""
    with one_line_errors():
        minted = _mint(_checked(user), count)
    print(minted_json(minted) if as_json else minted_text(minted))


@app.command()
def receiver(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Loopback port to listen on; 0 takes a free one.")],
    secret: Annotated[
        list[str] | None,
        typer.Option(help="whsec_... of a subscription; may be repeated.", envvar="RECEIVER_SECRET"),
    ] = None,
    quiet: Annotated[bool, typer.Option(help="No line per second.")] = False,
) -> None:
    """Collect webhooks and check their signatures; GET /received tells what came."""
    with one_line_errors():
        run_receiver(port, tuple(secret or ()), quiet)


def main() -> NoReturn:
    """Entry point of `python -m devstack`."""
    try:
        app(prog_name="python -m devstack")
    except SystemExit as ended:
        leave(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
    leave(0)


def clean_all() -> None:
    """Removes the stack's folder; the stacks that lie inside it (the demo's, a benchmark's) go first.

    Raises:
        StackError: a command is at work on one of them.
    """
    inner = [file.parent for file in DEFAULT_FOLDER.glob("*/**/state.json")]
    with ExitStack() as locks:
        for stack in [*(Stack(folder, os.environ, _say) for folder in inner), _stack()]:
            locks.enter_context(stack.guarded())
            stack.clean()


def minted_json(minted: Minted) -> str:
    """What `mint --json` prints."""
    last = minted.first_ticket_id + minted.ticket_count - 1
    tickets = {"firstTicketId": str(minted.first_ticket_id), "lastTicketId": str(last)} if minted.ticket_count else {}
    return json.dumps({"userId": minted.user_id, "wallet": minted.wallet, "count": minted.ticket_count, **tickets})


def minted_text(minted: Minted) -> str:
    """What `mint` prints for people."""
    if not minted.ticket_count:
        return f"{minted.user_id} has the wallet {minted.wallet}"
    last = minted.first_ticket_id + minted.ticket_count - 1
    return f"{minted.user_id} ({minted.wallet}) has got the tickets {minted.first_ticket_id} to {last}"


def _checked(user: str) -> str:
    try:
        user_id = plain_user_id(user)
    except ValueError as error:
        raise StackError(f"--user {error}") from error
    if is_address_text(user_id):
        raise StackError("--user must not start with 0x: that is an address")
    return user_id


def _mint(user: str, count: int) -> Minted:
    """Mints under the stack's lock: two at once would use the same nonces, and `make down` mustn't come between."""
    stack = _stack()
    with stack.guarded(patience_s=_LOCK_PATIENCE_S):
        first_id = stack.deployment.next_ticket_id
        # Taken for good before they're minted: a mint that breaks off leaves a gap, never a clash.
        _change_deployment(stack, {"next_ticket_id": first_id + count})
        minted = asyncio.run(_mint_tickets(stack.state, stack.deployment, user, first_id, count))
        if minted.block is not None:
            block = {"block_number": minted.block.number, "block_hash": minted.block.block_hash}
            _change_deployment(stack, block)
    return minted


async def _mint_tickets(state: StackState, deployment: Deployment, user: str, first_id: int, count: int) -> Minted:
    async with open_pool(state) as pool, open_rpc(state) as rpc:
        return await mint(pool, rpc, deployment, user_id=user, first_id=first_id, count=count)


def _change_deployment(stack: Stack, changes: Mapping[str, object]) -> None:
    changed = stack.deployment.model_copy(update=changes)
    stack.layout.save(stack.state.model_copy(update={"deployment": changed}))


def _stack() -> Stack:
    return Stack(Path(DEFAULT_FOLDER), os.environ, _say)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
