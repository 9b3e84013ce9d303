"""`make demo`: a thousand tickets move on a real chain, from one command, and the outcome is checked from outside.

With CRASH=1 the worker is killed with SIGKILL twice on the way, and the outcome must be the same.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import time
from collections import Counter
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from rich.console import Console

from chain.rpc import JsonRpc
from devstack.demo_acts import Acts
from devstack.demo_batch import StartedBatch, start_season_batch
from devstack.demo_ledger import DemoLedger, ItemRow, secret_text
from devstack.demo_report import DemoReport, FailedItem, WebhookFigures, percentile, show, show_acts
from devstack.demo_watch import KILL_AT, Watcher
from devstack.deploy import dev_wallet
from devstack.ending import uninterrupted
from devstack.environment import DEMO_SENDER
from devstack.moves import Move, gas_of, ledger_faults, read_moves
from devstack.ports import free_ports
from devstack.proof import chain_faults, item_faults, type_faults, webhook_faults
from devstack.season import OTHER_SELLER, OTHER_TICKETS, SELLER_TICKETS, fans, season_lines
from devstack.seed import ensure_wallets, mint, open_pool, open_rpc
from devstack.stack import Stack
from devstack.state import DEFAULT_FOLDER, write_private
from ledger.pool import Pool

DEMO_FOLDER = DEFAULT_FOLDER / "demo"
REPORT_FILE = DEFAULT_FOLDER / "demo-report.json"
_PLAIN_WIDTH = 160
_BATCH_TIMEOUT_S = 300.0
_DELIVERY_TIMEOUT_S = 120.0
# Small slices stretch the batch over many blocks, so that the worker can be killed in the midst of it.
_CRASH_SETTINGS = {"SLICE_SIZE": "50", "WINDOW": "2"}


class Outcome(NamedTuple):
    """All that is left to judge when the batch has ended."""

    batch: StartedBatch
    status: str
    started_at: float
    ended_at: float
    items: list[ItemRow]
    moves: list[Move]
    gas_used: int
    differences: list[str]
    """Of Postgres from the chain."""
    due: dict[str, float]
    """Committed at, by event id."""
    received: dict[str, Any]
    recoveries_s: list[float]


class Demo:
    """One run, on a stack of its own that lives as long as it does."""

    def __init__(self, console: Console, crash: bool, keep: bool) -> None:
        self._console = console
        self._crash = crash
        self._keep = keep
        self._stack = Stack(DEMO_FOLDER, os.environ, self._say, _CRASH_SETTINGS if crash else {})

    def run(self) -> DemoReport:
        """Runs it, shows and writes the report, and stops all that it started, whatever happens.

        Raises:
            StackError: something didn't come up or didn't end.
        """
        with self._stack.guarded():
            self._stack.clean()
            try:
                self._stack.up(ports=free_ports(), with_worker=False)
                report = self._judge(asyncio.run(self._perform()))
                show(report, self._console)
                report = report.model_copy(update={"act_faults": tuple(asyncio.run(self._act(UUID(report.batch_id))))})
                write_private(REPORT_FILE, report.model_dump_json(indent=2))
                show_acts(report, self._console)
                self._wait_if_kept()
            finally:
                with uninterrupted():
                    self._stack.down()
        return report

    async def _perform(self) -> Outcome:
        state = self._stack.state
        async with open_pool(state) as pool, open_rpc(state) as rpc:
            await self._fill(pool, rpc)
            ledger = DemoLedger(pool)
            secret = secrets.token_bytes(32)
            receiver_url = await asyncio.to_thread(self._stack.start_receiver, secret_text(secret))
            subscription_id = await ledger.subscribe(f"{receiver_url}/hooks", secret, DEMO_SENDER)
            self._say("starting the worker")
            await asyncio.to_thread(self._stack.start_worker)
            self._say(f"look at it while it runs: {state.temporal_ui_url}")
            started_at = time.time()
            batch = await start_season_batch(state)
            self._console.print(batch.answer_json, highlight=False, soft_wrap=True)
            self._say(f"the start call took {batch.latency_ms:.0f} ms")
            watcher = Watcher(self._stack, ledger, batch.batch_id, self._console)
            end = await watcher.watch(len(KILL_AT) if self._crash else 0, _BATCH_TIMEOUT_S)
            await ledger.await_deliveries(subscription_id, _DELIVERY_TIMEOUT_S)
            token = self._stack.deployment.tickets_address
            moves = await read_moves(rpc, token)
            return Outcome(
                batch,
                end.status,
                started_at,
                await ledger.last_item_ended_at(batch.batch_id),
                await ledger.items(batch.batch_id),
                moves,
                await gas_of(rpc, moves),
                await ledger_faults(pool, token, moves),
                dict(await ledger.due_webhooks(subscription_id)),
                await _received(receiver_url),
                watcher.recoveries_s,
            )

    async def _act(self, batch_id: UUID) -> list[str]:
        """The second part; returns what went wrong in it."""
        state = self._stack.state
        async with open_pool(state) as pool, open_rpc(state) as rpc:
            token = self._stack.deployment.tickets_address
            return await Acts(state, token, pool, rpc, self._console).perform(batch_id)

    async def _fill(self, pool: Pool, rpc: JsonRpc) -> None:
        self._say(f"minting {len(SELLER_TICKETS)} tickets for {DEMO_SENDER}")
        await ensure_wallets(pool, fans())
        deployment = self._stack.deployment
        for user, tickets in ((DEMO_SENDER, SELLER_TICKETS), (OTHER_SELLER, OTHER_TICKETS)):
            await mint(pool, rpc, deployment, user_id=user, first_id=tickets[0], count=len(tickets))

    def _judge(self, outcome: Outcome) -> DemoReport:
        lines = season_lines()
        received, items = outcome.received, outcome.items
        faults = item_faults(lines, [(item.status, item.failure_code) for item in items])
        faults += chain_faults(lines, dev_wallet(DEMO_SENDER), outcome.moves) + outcome.differences
        faults += webhook_faults(outcome.due, received, exactly_once=not self._crash)
        faults += type_faults(lines, received)
        duration_s = outcome.ended_at - outcome.started_at
        return DemoReport(
            batch_id=str(outcome.batch.batch_id),
            status=outcome.status,
            item_count=len(items),
            counts=dict(Counter(item.status for item in items)),
            failed_items=tuple(_failed(item) for item in items if item.failure_code),
            start_latency_ms=outcome.batch.latency_ms,
            duration_s=duration_s,
            items_per_second=len(items) / duration_s,
            gas_per_ticket=outcome.gas_used // max(len(outcome.moves), 1),
            webhooks=webhook_figures(outcome.due, received),
            crash_mode=self._crash,
            recoveries_s=tuple(outcome.recoveries_s),
            temporal_ui_url=self._stack.state.temporal_ui_url,
            faults=tuple(faults),
        )

    def _wait_if_kept(self) -> None:
        if self._keep:
            self._say(f"the stack keeps running; Web UI {self._stack.state.temporal_ui_url}; end it with Ctrl-C")
            signal.pause()

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


def webhook_figures(due: dict[str, float], received: dict[str, Any]) -> WebhookFigures:
    """Counts, and the time from each event's commit to its first arrival."""
    first_at: dict[str, float] = {}
    for delivery in received["deliveries"]:
        first_at.setdefault(delivery["id"], delivery["at"])
    latencies_ms = [(at - due[one]) * 1000 for one, at in first_at.items() if one in due]
    return WebhookFigures(
        due=len(due),
        received=len(first_at),
        latency_p50_ms=percentile(latencies_ms, 0.5),
        latency_p95_ms=percentile(latencies_ms, 0.95),
    )


def run_demo(crash: bool, keep: bool) -> DemoReport:
    """Runs the demo once; the report's faults tell whether the outcome is right.

    Raises:
        StackError: something didn't come up or didn't end.
    """
    return Demo(_console(), crash, keep).run()


def _console() -> Console:
    """The terminal's width, or one that tables fit into where there's no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)


def _failed(item: ItemRow) -> FailedItem:
    return FailedItem(
        item_no=item.item_no,
        ticket_id=item.ticket_id,
        to=item.recipient,
        code=item.failure_code or "",
        reason=item.failure_reason or "",
    )


async def _received(receiver_url: str) -> dict[str, Any]:
    async with httpx.AsyncClient() as http:
        answer: dict[str, Any] = (await http.get(f"{receiver_url}/received")).json()
    return answer
