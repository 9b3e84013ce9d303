"""Puts the contracts on the dev chain, names the lanes as operators, and mints tickets in big batches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from chain.abi import address_word, encode_mint_many, encode_set_operator, word
from chain.keccak import keccak256
from chain.keystore import write_keystore
from chain.quantities import to_bytes, to_hex, to_int
from chain.rpc import Call, JsonRpc, NodeUnavailableError, RpcError
from chain.signing import KeySigner
from devstack.chain_node import TEST_DEPLOYER, TEST_LANE_KEYS, BlockRef
from devstack.errors import StackError
from devstack.state import Deployment, Layout
from devstack.tools import ROOT

# About 25,000 gas per ticket: 12.5M, below the 16.7M that a transaction may use (EIP-7825).
_MINTED_PER_TRANSACTION = 500
_TRANSACTION_GAS = hex(16_000_000)
# Twenty transactions of 16M nearly fill a block; more in flight wouldn't be quicker.
_MINTS_IN_FLIGHT = 20
_RECEIPT_TIMEOUT_S = 60.0
_RECEIPT_POLL_S = 0.1
_NAME, _SYMBOL = "Tickets", "TKT"


async def deploy(rpc: JsonRpc) -> Deployment:
    """Deploys Tickets, TransferRouter and a contract that no ticket can go to (for trials), and names the operators.

    On a fresh chain the addresses are always the same, because the deployer and its nonces are.
    """
    admin = address_word(to_bytes(TEST_DEPLOYER))
    creations = [
        _bytecode("Tickets") + constructor_arguments(_NAME, _SYMBOL, admin),
        _bytecode("TransferRouter") + admin,
        _bytecode("test/NotAReceiver"),
    ]
    receipts = await send_all(rpc, [{"data": to_hex(code)} for code in creations])
    tickets, router, refusing = (to_bytes(receipt["contractAddress"]) for receipt in receipts)
    block = block_of(await _name_operators(rpc, tickets, router))
    return Deployment(
        chain_id=to_int(await rpc.call("eth_chainId")),
        tickets_address=to_hex(tickets),
        router_address=to_hex(router),
        refusing_address=to_hex(refusing),
        block_number=block.number,
        block_hash=block.block_hash,
    )


def lane_signers() -> list[KeySigner]:
    """The lanes of the dev chain."""
    return [KeySigner(bytes.fromhex(key)) for key in TEST_LANE_KEYS]


def write_lane_keystore(layout: Layout, password: str) -> None:
    """Writes the lanes' well-known test keys the way real ones come: encrypted, the password kept elsewhere."""
    write_keystore(layout.keystore, [bytes.fromhex(key) for key in TEST_LANE_KEYS], password)


def constructor_arguments(first: str, second: str, last_word: bytes) -> bytes:
    """Constructor arguments (string, string, address) in the contract ABI; texts below 32 bytes."""
    texts = b"".join(word(len(text)) + text.encode().ljust(32, b"\0") for text in (first, second))
    return word(3 * 32) + word(5 * 32) + last_word + texts


async def mint_on_chain(rpc: JsonRpc, tickets: bytes, wallet: bytes, first_id: int, count: int) -> BlockRef | None:
    """Mints the tickets `first_id` and the `count - 1` after it to the wallet; returns the last block that has some.

    Raises:
        StackError: a transaction failed.
    """
    starts = range(first_id, first_id + count, _MINTED_PER_TRANSACTION)
    calls = [
        {"to": to_hex(tickets), "data": to_hex(encode_mint_many(wallet, start, size))}
        for start in starts
        if (size := min(_MINTED_PER_TRANSACTION, first_id + count - start))
    ]
    receipts: list[dict[str, Any]] = []
    for at in range(0, len(calls), _MINTS_IN_FLIGHT):
        receipts += await send_all(rpc, calls[at : at + _MINTS_IN_FLIGHT])
    return block_of(receipts[-1]) if receipts else None


def dev_wallet(user_id: str) -> bytes:
    """The wallet address a dev user gets: derived from the name, with no known key (none is needed)."""
    return keccak256(b"dev wallet of " + user_id.encode())[12:]


def block_of(receipt: dict[str, Any]) -> BlockRef:
    """The block of a receipt."""
    return BlockRef(to_int(receipt["blockNumber"]), receipt["blockHash"])


async def send_all(rpc: JsonRpc, transactions: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Sends transactions from the deployer's account and waits for their receipts.

    Raises:
        StackError: the node refused one, one reverted, or no receipt came in time.
    """
    calls = [
        Call("eth_sendTransaction", ({"from": TEST_DEPLOYER, "gas": _TRANSACTION_GAS, **t},)) for t in transactions
    ]
    try:
        hashes = [_accepted(reply) for reply in await rpc.batch(calls)]
        return await _receipts(rpc, hashes)
    except NodeUnavailableError as error:
        raise StackError(f"the chain doesn't answer: {error}") from error


async def _name_operators(rpc: JsonRpc, tickets: bytes, router: bytes) -> dict[str, Any]:
    lanes = [signer.address for signer in lane_signers()]
    wanted = [(tickets, operator) for operator in (router, *lanes)] + [(router, lane) for lane in lanes]
    calls = [{"to": to_hex(at), "data": to_hex(encode_set_operator(operator, True))} for at, operator in wanted]
    return (await send_all(rpc, calls))[-1]


def _send_call(transaction: dict[str, str], nonce: int) -> Call:
    fields = {"from": TEST_DEPLOYER, "gas": _TRANSACTION_GAS, "nonce": hex(nonce)}
    return Call("eth_sendTransaction", (fields | transaction,))


def _accepted(reply: object) -> str:
    if isinstance(reply, RpcError):
        raise StackError(f"the chain refused a transaction: {reply}")
    return str(reply)


async def _receipts(rpc: JsonRpc, hashes: Sequence[str]) -> list[dict[str, Any]]:
    calls = [Call("eth_getTransactionReceipt", (tx_hash,)) for tx_hash in hashes]
    receipts: list[Any] = []
    try:
        async with asyncio.timeout(_RECEIPT_TIMEOUT_S):
            while not (receipts and all(isinstance(receipt, dict) for receipt in receipts)):
                await asyncio.sleep(_RECEIPT_POLL_S)
                receipts = await rpc.batch(calls)
    except TimeoutError as error:
        raise StackError(f"no receipt within {_RECEIPT_TIMEOUT_S:.0f} s: does the chain still make blocks?") from error
    if any(receipt["status"] != "0x1" for receipt in receipts):
        raise StackError("a transaction reverted on the dev chain: run `make clean` and start afresh")
    return receipts


def _bytecode(contract: str) -> bytes:
    artifact = json.loads((ROOT / "contracts" / "artifacts" / f"{contract}.json").read_text())
    return to_bytes(artifact["bytecode"])
