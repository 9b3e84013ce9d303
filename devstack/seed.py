"""What a fresh stack is filled with: schema, contracts, wallets and tickets, on the chain and in Postgres alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg
import httpx

from chain.quantities import to_bytes, to_hex
from chain.rpc import JsonRpc
from devstack.chain_node import BlockRef
from devstack.deploy import deploy, dev_wallet, mint_on_chain
from devstack.environment import DEMO_SENDER
from devstack.errors import StackError
from devstack.state import Deployment, StackState
from ledger.migrate import ChangedMigrationError, migrate
from ledger.pool import Pool, create_pool, transaction

_RPC_TIMEOUT_S = 30.0


class Minted(NamedTuple):
    """A run of fresh tickets in one wallet."""

    user_id: str
    wallet: str
    first_ticket_id: int
    ticket_count: int
    block: BlockRef | None


@asynccontextmanager
async def open_pool(state: StackState) -> AsyncIterator[Pool]:
    """A small pool on the stack's database.

    Raises:
        StackError: Postgres doesn't answer.
    """
    try:
        pool = await create_pool(state.database_url, most_connections=4, name="devstack")
    except OSError as error:
        raise StackError(f"Postgres doesn't answer ({error}): run `make up`") from error
    async with pool:
        yield pool


@asynccontextmanager
async def open_rpc(state: StackState) -> AsyncIterator[JsonRpc]:
    """JSON-RPC to the stack's node."""
    async with httpx.AsyncClient(timeout=_RPC_TIMEOUT_S) as http:
        yield JsonRpc(http, state.chain_rpc_url)


async def prepare_database(state: StackState) -> None:
    """Creates the database if it's missing and brings the schema up to date."""
    server_url = state.database_url.rpartition("/")[0] + "/postgres"
    connection = await asyncpg.connect(server_url)
    try:
        if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'transfers'"):
            await connection.execute("CREATE DATABASE transfers")
    finally:
        await connection.close()
    async with open_pool(state) as pool:
        try:
            await migrate(pool)
        except ChangedMigrationError as error:
            raise StackError(f"this database is of another version ({error}): run `make clean`") from error


async def deploy_contracts(state: StackState) -> Deployment:
    """Deploys to the stack's node."""
    async with open_rpc(state) as rpc:
        return await deploy(rpc)


async def blocks_postgres_relies_on(state: StackState) -> list[BlockRef]:
    """Blocks that must be on the chain if it's the one Postgres tells of: the deployment's and the last settled one."""
    blocks = []
    if state.deployment is not None:
        blocks.append(BlockRef(state.deployment.block_number, state.deployment.block_hash))
    async with open_pool(state) as pool:
        row = await pool.fetchrow(
            "SELECT final_block_number, final_block_hash FROM chain_transactions"
            " WHERE final_block_hash IS NOT NULL ORDER BY final_block_number DESC LIMIT 1"
        )
    if row is not None:
        blocks.append(BlockRef(row["final_block_number"], to_hex(row["final_block_hash"])))
    return blocks


async def ensure_demo_sender(state: StackState) -> None:
    """Gives the demo sender a wallet."""
    async with open_pool(state) as pool:
        await ensure_wallets(pool, [DEMO_SENDER])


async def ensure_wallets(pool: Pool, user_ids: list[str]) -> None:
    """Gives a wallet to each user that has none."""
    await pool.executemany(
        "INSERT INTO wallets (user_id, address) VALUES ($1, $2) ON CONFLICT (user_id) DO NOTHING",
        [(user_id, dev_wallet(user_id)) for user_id in user_ids],
    )


async def mint(pool: Pool, rpc: JsonRpc, deployment: Deployment, *, user_id: str, first_id: int, count: int) -> Minted:
    """Gives a user `count` fresh tickets, numbered from `first_id`; the rows count only when the chain has them."""
    await ensure_wallets(pool, [user_id])
    wallet: bytes = await pool.fetchval("SELECT address FROM wallets WHERE user_id = $1", user_id)
    tickets = to_bytes(deployment.tickets_address)
    rows = [(str(ticket_id), tickets, wallet, user_id) for ticket_id in range(first_id, first_id + count)]
    async with transaction(pool) as connection:
        columns = ("ticket_id", "token", "holder", "owner_user_id")
        await connection.copy_records_to_table("tickets", records=rows, columns=columns)
        block = await mint_on_chain(rpc, tickets, wallet, first_id, count)
    return Minted(user_id, to_hex(wallet), first_id, count, block)
