"""Fills a trial chain and its database once: contracts, lanes' test keys, and tickets for the demo sender.

`python -m devstack.trial` is a job of docker-compose.temporal.yml; what is there already stays as it is.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncpg
import httpx
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from chain.heads import read_chain_id
from chain.keystore import write_keystore
from chain.quantities import to_bytes, to_hex
from chain.rpc import JsonRpc, NodeUnavailableError
from chain.signing import contract_address
from devstack.chain_node import TEST_DEPLOYER, TEST_LANE_KEYS
from devstack.deploy import deploy
from devstack.environment import DEMO_SENDER
from devstack.errors import StackError
from devstack.season import OTHER_SELLER, OTHER_TICKETS, SELLER_TICKETS, fans
from devstack.seed import ensure_wallets, mint
from devstack.state import Deployment
from ledger.migrate import migrate
from ledger.pool import Pool, create_pool

_RPC_TIMEOUT_S = 30.0


class TrialSettings(BaseSettings):
    """Where the servers are, and where the keys go."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    database_url: SecretStr
    chain_rpc_url: str
    lane_keystore: Path
    lane_keystore_password: SecretStr


async def set_up(settings: TrialSettings) -> str:
    """Sets up what is missing; returns a line that tells the contracts' addresses.

    Raises:
        StackError, NodeUnavailableError: the chain refuses or doesn't answer.
    """
    if not settings.lane_keystore.exists():
        keys = [bytes.fromhex(key) for key in TEST_LANE_KEYS]
        write_keystore(settings.lane_keystore, keys, settings.lane_keystore_password.get_secret_value())
    url = settings.database_url.get_secret_value()
    pool = await create_pool(url, most_connections=2, name="trial")
    async with pool, httpx.AsyncClient(timeout=_RPC_TIMEOUT_S) as http:
        rpc = JsonRpc(http, settings.chain_rpc_url)
        await migrate(pool)
        deployment = await _found(rpc) or await deploy(rpc)
        await _fill(pool, rpc, deployment)
    return f"TICKETS_ADDRESS={deployment.tickets_address} ROUTER_ADDRESS={deployment.router_address}"


async def _found(rpc: JsonRpc) -> Deployment | None:
    """The contracts of an earlier run: on a fresh chain their addresses are always the same."""
    creator = to_bytes(TEST_DEPLOYER)
    tickets, router, refusing = (to_hex(contract_address(creator, nonce)) for nonce in range(3))
    if await rpc.call("eth_getCode", router, "latest") == "0x":
        return None
    return Deployment(
        chain_id=await read_chain_id(rpc),
        tickets_address=tickets,
        router_address=router,
        refusing_address=refusing,
        block_number=0,
        block_hash="",
    )


async def _fill(pool: Pool, rpc: JsonRpc, deployment: Deployment) -> None:
    """The users and tickets that examples/season-tickets.csv speaks of."""
    await ensure_wallets(pool, fans())
    for user, tickets in ((DEMO_SENDER, SELLER_TICKETS), (OTHER_SELLER, OTHER_TICKETS)):
        if not await pool.fetchval("SELECT EXISTS (SELECT FROM tickets WHERE ticket_id = $1)", str(tickets[0])):
            await mint(pool, rpc, deployment, user_id=user, first_id=tickets[0], count=len(tickets))


def main() -> int:
    """Entry point; exit code 1 with one line for what a person can mend."""
    try:
        print(asyncio.run(set_up(TrialSettings())))
    except (StackError, NodeUnavailableError, OSError, asyncpg.PostgresError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
