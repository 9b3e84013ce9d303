"""Fresh servers for every measurement, in a folder and on ports of their own: `make up` isn't disturbed."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from bench.statements import log_statements
from chain.quantities import to_hex
from devstack import deploy
from devstack.chain_node import is_chain_ready, start_chain
from devstack.ending import uninterrupted
from devstack.ports import free_ports
from devstack.processes import kill, wait_until
from devstack.seed import open_pool, open_rpc
from devstack.stack import Stack
from devstack.state import DEFAULT_FOLDER, Deployment, Layout, Server, StackState
from devstack.tools import anvil_program

BENCH_FOLDER = DEFAULT_FOLDER / "bench"
SENDER = "bench-sender"
_READY_TIMEOUT_S = 60.0


class ChainAlone(NamedTuple):
    """A node with our contracts and the sender's tickets, and nothing else."""

    pid: int
    state: StackState
    deployment: Deployment
    holder: str


@contextmanager
def fresh_chain(tickets: int) -> Iterator[ChainAlone]:
    """A fresh node with so many tickets."""
    layout = Layout(BENCH_FOLDER)
    layout.folder.mkdir(parents=True, exist_ok=True)
    state = StackState(ports=free_ports())
    log = layout.log(Server.CHAIN)
    record = start_chain(anvil_program(), layout.chain_state, state.ports.chain, log)
    try:
        wait_until("anvil", record, log, lambda: is_chain_ready(state.chain_rpc_url), _READY_TIMEOUT_S)
        holder = deploy.dev_wallet(SENDER)
        deployment = asyncio.run(_deploy(state, holder, tickets))
        yield ChainAlone(record.pid, state, deployment, to_hex(holder))
    finally:
        with uninterrupted():
            # Killed, not stopped: it would write a state that nobody needs.
            kill(record)
            shutil.rmtree(layout.folder, ignore_errors=True)


@contextmanager
def fresh_stack(say: Callable[[str], None], worker_settings: Mapping[str, str]) -> Iterator[Stack]:
    """A whole fresh stack with one worker, its SQL statements logged."""
    stack = Stack(BENCH_FOLDER, os.environ, say, worker_settings)
    try:
        stack.up(ports=free_ports(), with_worker=False)
        asyncio.run(_log_statements(stack.state))
        stack.start_worker()
        yield stack
    finally:
        with uninterrupted():
            discard(stack)


def discard(stack: Stack) -> None:
    """Ends the stack and deletes its folder."""
    state = stack.layout.load()
    if state is not None and Server.CHAIN in state.processes:
        kill(state.processes[Server.CHAIN])
    stack.clean()


@contextmanager
def guarded() -> Iterator[None]:
    """Holds the bench's folder, and clears away what a killed bench left there.

    Raises:
        StackError: another bench is at work.
    """
    stack = Stack(BENCH_FOLDER, os.environ, lambda _: None)
    with stack.guarded():
        discard(stack)
        yield


async def _deploy(state: StackState, holder: bytes, tickets: int) -> Deployment:
    async with open_rpc(state) as rpc:
        deployment = await deploy.deploy(rpc)
        await deploy.mint_on_chain(rpc, bytes.fromhex(deployment.tickets_address[2:]), holder, 1, tickets)
        return deployment


async def _log_statements(state: StackState) -> None:
    async with open_pool(state) as pool:
        await log_statements(pool)
