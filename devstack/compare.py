"""`python -m devstack.compare`: how Postgres differs from the chain, a line each; exit code 0 where it doesn't.

Reads DATABASE_URL, CHAIN_RPC_URL and TICKETS_ADDRESS as a worker does, and changes nothing. It goes through the whole
log of the contract; CONTRACT_BLOCK, the block that it was deployed in, saves it the way there.
"""

from __future__ import annotations

import asyncio
import sys

import httpx
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from chain.rpc import JsonRpc
from devstack.ending import one_line_errors
from devstack.errors import StackError
from devstack.moves import come_back, ledger_faults, read_moves
from ledger.pool import create_pool

_RPC_TIMEOUT_S = 30.0


class CompareSettings(BaseSettings):
    """Where the two are that are compared."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: SecretStr
    chain_rpc_url: str
    tickets_address: str
    contract_block: int = 0


async def compare(settings: CompareSettings) -> list[str]:
    """The differences, a line each."""
    pool = await create_pool(settings.database_url.get_secret_value(), most_connections=1, name="compare")
    async with pool, httpx.AsyncClient(timeout=_RPC_TIMEOUT_S) as http:
        rpc = JsonRpc(http, settings.chain_rpc_url)
        moves = await read_moves(rpc, settings.tickets_address, settings.contract_block)
        token = settings.tickets_address
        return await ledger_faults(pool, token, moves) + await come_back(pool, token, moves)


def main() -> int:
    """Entry point; exit code 1 where they differ."""
    with one_line_errors():
        differences = asyncio.run(compare(_settings()))
    print("\n".join(differences) or "Postgres equals the chain")
    return 1 if differences else 0


def _settings() -> CompareSettings:
    try:
        return CompareSettings()
    except ValidationError as fault:
        # Its own text would show the values, a password among them.
        names = ", ".join(str(error["loc"][0]).upper() for error in fault.errors())
        raise StackError(f"missing or unusable: {names}") from None


if __name__ == "__main__":
    sys.exit(main())
