"""The demo's second part: what people type once a batch has ended, with the commands and their answers shown."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from uuid import UUID, uuid4

from rich.console import Console

from chain.rpc import JsonRpc
from devstack.environment import client_environment
from devstack.errors import StackError
from devstack.moves import ledger_faults, read_moves
from devstack.season import OTHER_SELLER, OTHER_TICKETS
from devstack.seed import ensure_wallets
from devstack.state import StackState
from ledger.pool import Pool
from starter.exit_codes import ExitCode
from workflows.interface.codes import FailureCode, TransferStatus
from workflows.interface.names import ScheduleId

_UNKNOWN_USER = "nobody-we-know"
"""One of the batch's bad recipients; once there is a wallet, the ticket can go there."""
_POLL_S = 0.1
_TIMEOUT_S = 30.0


class Acts:
    """A single transfer, gifts, a dead letter replayed, and what operators look at."""

    def __init__(self, state: StackState, tickets_address: str, pool: Pool, rpc: JsonRpc, console: Console) -> None:
        self._environment = {**os.environ, **client_environment(state)}
        self._tickets_address = tickets_address
        self._pool = pool
        self._rpc = rpc
        self._console = console

    async def perform(self, batch_id: UUID) -> list[str]:
        """Types the commands; returns how the outcome differs from what was asked for.

        Raises:
            StackError: a command ended otherwise than it has to.
        """
        moved, accepted, expired = OTHER_TICKETS[2:5]
        await self._one_ticket(moved)
        await self._accepted_gift(accepted)
        await self._expired_gift(expired)
        await self._replayed_dead_letter(batch_id)
        for command in (("schedules", "list"), ("stats",), ("health",)):
            await self._type(*command)
        return await self._faults([moved, accepted], expired)

    async def _one_ticket(self, ticket: int) -> None:
        self._title("one ticket, before all batches")
        words = ("transfer", "start", "--from", OTHER_SELLER, "--ticket", str(ticket), "--to", "fan-001", "--wait")
        await self._type(*words)

    async def _accepted_gift(self, ticket: int) -> None:
        self._title("a gift: accepted once, by the one it's for")
        gift = await self._gift(ticket, "--to", "fan-002")
        await self._type("gift", "accept", gift, "--user", "fan-003", ends=ExitCode.NOT_FOUND)
        await self._type("gift", "accept", gift, "--user", "fan-002", "--wait")
        await self._type("gift", "decline", gift, "--user", "fan-002", ends=ExitCode.NOT_FOUND)

    async def _expired_gift(self, ticket: int) -> None:
        self._title("a gift that nobody accepts")
        gift = await self._gift(ticket, "--to", "fan-003", "--expires-in", "1s")
        await self._until("SELECT expires_at < now() FROM ticket_transfers WHERE transfer_id = $1", UUID(gift))
        await self._type("schedules", "trigger", ScheduleId.EXPIRE_TRANSFERS)
        status = "SELECT status = 'EXPIRED' FROM ticket_transfers WHERE transfer_id = $1"
        await self._until(status, UUID(gift))
        await self._type("gift", "accept", gift, "--user", "fan-003", ends=ExitCode.NOT_FOUND)

    async def _replayed_dead_letter(self, batch_id: UUID) -> None:
        self._title(f"a dead letter: {_UNKNOWN_USER} gets a wallet, and the ticket goes there after all")
        chosen = ("--batch", str(batch_id), "--code", FailureCode.UNKNOWN_USER)
        await self._type("dead-letters", "list", *chosen)
        await ensure_wallets(self._pool, [_UNKNOWN_USER])
        await self._type("dead-letters", "replay", *chosen, "--force", "--yes", "--by", "demo")
        await self._until(
            "SELECT status = 'COMPLETED' FROM batch_transfer_items WHERE batch_id = $1 AND recipient = $2",
            batch_id,
            _UNKNOWN_USER,
        )

    async def _gift(self, ticket: int, *more: str) -> str:
        gift = str(uuid4())
        await self._type("gift", "create", "--from", OTHER_SELLER, "--ticket", str(ticket), *more, "--id", gift)
        return gift

    async def _faults(self, moved: Sequence[int], stayed: int) -> list[str]:
        moves = await read_moves(self._rpc, self._tickets_address)
        faults = await ledger_faults(self._pool, self._tickets_address, moves)
        times = {ticket: sum(move.ticket_id == ticket for move in moves) for ticket in (*moved, stayed)}
        faults += [f"ticket {ticket} moved {times[ticket]} times, not once" for ticket in moved if times[ticket] != 1]
        if times[stayed]:
            faults.append(f"ticket {stayed} moved although its gift is {TransferStatus.EXPIRED}")
        return faults

    def _title(self, text: str) -> None:
        self._console.print(f"\n[bold]{text}[/]", highlight=False, soft_wrap=True)

    async def _type(self, *words: str, ends: ExitCode = ExitCode.OK) -> None:
        """Runs a command as an operator would, and shows what it says."""
        self._console.print(f"$ transfers {' '.join(words)}", style="cyan", highlight=False, soft_wrap=True)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "starter",
            *words,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        self._console.print(said.decode().rstrip(), highlight=False, soft_wrap=True, markup=False)
        if process.returncode != ends:
            raise StackError(f"`transfers {' '.join(words)}` ended with {process.returncode}, not {ends.value}")

    async def _until(self, condition: str, *arguments: object) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                while not await self._pool.fetchval(condition, *arguments):
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise StackError(f"not so after {_TIMEOUT_S:.0f} s: {condition}") from error
