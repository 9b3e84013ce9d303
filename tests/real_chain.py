"""A real EVM node for tests: anvil with our contracts, which mines only when a test says so."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from httpx_aiohttp import HttpxAiohttpClient

from chain.abi import address_word, encode_mint_many, encode_set_operator, word
from chain.heads import read_chain_id
from chain.quantities import to_bytes, to_hex, to_int
from chain.rpc import JsonRpc, NodeUnavailableError
from chain.signing import KeySigner, UnsignedTransaction
from devstack.ports import free_ports
from devstack.tools import anvil_program
from workflows.interface.chain import ChainTransfer, Lane

ARTIFACTS = Path(__file__).parent.parent / "contracts" / "artifacts"
# The first account of anvil's well-known test mnemonic: worthless anywhere else.
TEST_KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
_FEE_WEI = 10**10
_TEST_GAS = 15_000_000
_START_TIMEOUT_S = 20.0


def bytecode_of(artifact: str) -> bytes:
    """The creation code of a contract, by its path below contracts/artifacts without .json."""
    return to_bytes(json.loads((ARTIFACTS / f"{artifact}.json").read_text())["bytecode"])


def text_word(text: str) -> bytes:
    """A short string's length and bytes, as constructors take them."""
    return word(len(text)) + text.encode().ljust(32, b"\0")


class RealChain:
    """Contracts deployed on a node, with an admin who may do everything."""

    def __init__(self, rpc: JsonRpc, url: str, chain_id: int) -> None:
        self.rpc = rpc
        self.url = url
        self.chain_id = chain_id
        self.admin = KeySigner(TEST_KEY)
        self.tickets = b""
        self.router = b""
        self._ids = count(1)

    async def deploy_contracts(self) -> None:
        """Tickets and TransferRouter, which may move every ticket."""
        admin = address_word(self.admin.address)
        names = text_word("Tickets") + text_word("T")
        self.tickets = await self.deploy("Tickets", word(0x60) + word(0xA0) + admin + names)
        self.router = await self.deploy("TransferRouter", admin)
        await self.transact(self.tickets, encode_set_operator(self.router, allowed=True))

    async def deploy(self, artifact: str, arguments: bytes = b"") -> bytes:
        """Creates a contract; its address."""
        receipt = await self.transact(b"", bytecode_of(artifact) + arguments)
        return to_bytes(receipt["contractAddress"])

    async def new_lane(self, private_key: bytes | None = None) -> tuple[Lane, KeySigner]:
        """A funded signer that may use both contracts."""
        signer = KeySigner(private_key or secrets.token_bytes(32))
        await self.fund(signer.address, 10**21)
        await self.transact(self.router, encode_set_operator(signer.address, allowed=True))
        await self.transact(self.tickets, encode_set_operator(signer.address, allowed=True))
        return Lane(self.chain_id, signer.address), signer

    async def fund(self, address: bytes, wei: int) -> None:
        """Sets a balance."""
        await self.rpc.call("anvil_setBalance", to_hex(address), hex(wei))

    async def mint(self, holder: bytes, amount: int) -> list[int]:
        """Fresh tickets of one holder."""
        ids = [next(self._ids) for _ in range(amount)]
        for start in range(0, amount, 500):
            page = ids[start : start + 500]
            await self.transact(self.tickets, encode_mint_many(holder, page[0], len(page)))
        return ids

    async def transfers(self, holder: bytes, recipients: list[bytes]) -> list[ChainTransfer]:
        """A transfer of a fresh ticket to each recipient."""
        ids = await self.mint(holder, len(recipients))
        return [
            ChainTransfer(uuid4(), 1, self.tickets, holder, to, ticket_id)
            for to, ticket_id in zip(recipients, ids, strict=True)
        ]

    async def transact(
        self, to: bytes, data: bytes, *, gas: int = _TEST_GAS, signer: KeySigner | None = None, succeeds: bool = True
    ) -> dict[str, Any]:
        """Sends and mines one transaction; its receipt."""
        signer = signer or self.admin
        nonce = to_int(await self.rpc.call("eth_getTransactionCount", to_hex(signer.address), "latest"))
        unsigned = UnsignedTransaction(self.chain_id, nonce, 0, _FEE_WEI, gas, to, data)
        tx_hash = await self.rpc.call("eth_sendRawTransaction", to_hex(signer.sign(unsigned).raw))
        await self.mine()
        receipt = await self.rpc.call("eth_getTransactionReceipt", tx_hash)
        assert receipt is not None
        assert (receipt["status"] == "0x1") is succeeds, receipt
        return cast(dict[str, Any], receipt)

    async def mine(self, blocks: int = 1) -> None:
        """Makes blocks with whatever is pending."""
        await self.rpc.call("anvil_mine", hex(blocks))

    async def owner_of(self, ticket_id: int) -> bytes:
        """Who holds a ticket."""
        call = {"to": to_hex(self.tickets), "data": to_hex(to_bytes("0x6352211e") + word(ticket_id))}
        return to_bytes(await self.rpc.call("eth_call", call, "latest"))[12:]


def fresh_address() -> bytes:
    """An account that nobody has used."""
    return secrets.token_bytes(20)


@asynccontextmanager
async def running_chain() -> AsyncIterator[RealChain]:
    """Starts anvil on a free port, deploys the contracts, and stops anvil at the end."""
    port = free_ports().chain
    arguments = ("--port", str(port), "--no-mining", "--gas-limit", "300000000", "--silent")
    process = await asyncio.create_subprocess_exec(anvil_program(), *arguments)
    try:
        async with HttpxAiohttpClient(timeout=30) as http:
            url = f"http://127.0.0.1:{port}"
            rpc = JsonRpc(http, url)
            chain = RealChain(rpc, url, await asyncio.wait_for(_chain_id_once_up(rpc), _START_TIMEOUT_S))
            await chain.deploy_contracts()
            yield chain
    finally:
        process.terminate()
        await process.wait()


async def _chain_id_once_up(rpc: JsonRpc) -> int:
    while True:
        try:
            return await read_chain_id(rpc)
        except NodeUnavailableError:
            await asyncio.sleep(0.02)
