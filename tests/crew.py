"""The real steps on a real database and a real node, put together as the worker does, and called as Temporal would."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from pydantic import SecretStr
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.lane_waking import LaneWaker
from activities.rate_gate import RateGate
from activities.turns import Turns
from activities.waking import Waker
from chain.abi import address_word, word
from chain.quantities import to_bytes, to_hex
from chain.signing import KeySigner
from devstack.moves import ledger_faults, read_moves
from ledger.pool import Pool
from ledger.rate_limits import RateLimits
from tests.books import SENDER, Books, wallet_of
from tests.real_chain import RealChain
from worker_connections import Connections
from worker_settings import WorkerSettings
from worker_steps import Tools, batch_steps, chain_work, single_chain_steps, single_steps, slice_chain_steps
from workflows.interface.batch import Slice
from workflows.interface.chain import Lane

A = TypeVar("A")
R = TypeVar("R")
RUN_ID = "run-1"


class Crew:
    """The steps of one worker, with a lane of their own."""

    def __init__(self, pool: Pool, chain: RealChain, client: Client, lane: Lane, signer: KeySigner) -> None:
        self.chain, self.lane, self.signer = chain, lane, signer
        self.waker_client = client
        self.books = Books(pool, chain.tickets, chain.chain_id, [lane.signer])
        self.waker = Waker(client)
        settings = self.settings()
        to = Connections(client, pool, chain.rpc, {lane.signer: signer}, chain.chain_id)
        tools = Tools(settings, to, self.waker, LaneWaker(client), Turns())
        chain_steps = chain_work(tools, RateGate(RateLimits(pool)))
        self.limits = chain_steps.limits
        self.transfers, self.blockchain = batch_steps(tools), slice_chain_steps(tools, chain_steps)
        self.singles, self.chain_singles = single_steps(tools), single_chain_steps(tools, chain_steps)

    def settings(self) -> WorkerSettings:
        """What the steps need of the worker's settings."""
        return WorkerSettings(
            database_url=SecretStr("postgresql://unused"),
            chain_rpc_url=self.chain.url,
            tickets_address=to_hex(self.chain.tickets),
            router_address=to_hex(self.chain.router),
            lane_keystore=Path("/dev/null"),
            lane_keystore_password=SecretStr("unused"),
        )

    def on(self, pool: Pool) -> Crew:
        """The same lane's steps of another worker."""
        return Crew(pool, self.chain, self.waker_client, self.lane, self.signer)

    async def world(self) -> None:
        """People, and the lane in Postgres."""
        await self.books.people(SENDER, "bob")
        await self.books.lane(signer=self.lane.signer)

    async def batch(self, size: int, to: str = "bob") -> UUID:
        """A created batch over fresh tickets, ready to be submitted."""
        numbers = await self.world_tickets(size)
        batch_id = await self.books.batch([(n, to) for n in numbers])
        await self.books.creation.create(slice_from(batch_id, size))
        return batch_id

    async def world_tickets(self, size: int) -> list[int]:
        """Fresh tickets of the sender, on the chain and in Postgres."""
        numbers = await self.chain.mint(wallet_of(SENDER), size)
        await self.books.tickets(numbers)
        return numbers

    async def move_away(self, ticket: int) -> None:
        """The ticket leaves the holder's wallet without us (another operator stands in for the holder)."""
        _, somebody = await self.chain.new_lane()
        arguments = address_word(wallet_of(SENDER)) + address_word(bytes([9]) * 20) + word(ticket)
        data = to_bytes("0x23b872dd") + arguments
        await self.chain.transact(self.chain.tickets, data, signer=somebody)

    async def do(self, step: Callable[[A], Awaitable[R]], argument: A, *, attempt: int = 1, run_id: str = RUN_ID) -> R:
        """Calls a step as an activity."""
        environment = ActivityEnvironment()
        environment.info = dataclasses.replace(
            ActivityEnvironment.default_info(), attempt=attempt, workflow_run_id=run_id
        )
        return await environment.run(step, argument)

    async def confirm(self, work: Slice) -> None:
        """Mines, and confirms what is bound."""
        await self.chain.mine()
        await self.do(self.blockchain.confirm_transfers, work)

    async def differences(self) -> list[str]:
        """The proof over this database's tickets (other tests use the same contracts)."""
        ours = {int(row[0]) for row in await self.books.pool.fetch("SELECT ticket_id FROM tickets")}
        token = to_hex(self.chain.tickets)
        moves = [move for move in await read_moves(self.chain.rpc, token) if move.ticket_id in ours]
        return await ledger_faults(self.books.pool, token, moves)


def slice_from(batch_id: UUID, size: int) -> Slice:
    """The whole of a small batch."""
    return Slice.model_validate({"batch_id": batch_id, "range": {"first": 1, "last": size}})


async def fault_of(step: Awaitable[object]) -> str | None:
    """The code of the error a step ends with; None where it ends well."""
    try:
        await step
    except ApplicationError as error:
        return error.type
    return None
