"""The EVM node of the stack: anvil with a block a second, pruned history, and its state kept over a clean stop."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from devstack.errors import StackError
from devstack.ports import HOST
from devstack.processes import ProcessRecord, spawn

# Anvil's well-known test mnemonic and its first keys. Everybody has them: for this dev chain only.
TEST_MNEMONIC = "test test test test test test test test test test test junk"
TEST_DEPLOYER = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
TEST_LANE_KEYS = (
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
)
BLOCK_TIME_S = 1
BLOCK_GAS_LIMIT = 300_000_000
_BALANCE_ETH = 1_000_000
_CALL_TIMEOUT_S = 5.0


class BlockRef(NamedTuple):
    """A block by number and hash."""

    number: int
    block_hash: str


def start_chain(program: Path, state_file: Path, port: int, log: Path) -> ProcessRecord:
    """Starts anvil; it loads `state_file` if there is one and writes it when it's stopped by a signal it can catch.

    Anvil copies its whole state for every block it remembers, hence none but the latest: with three it took 2.6 GB for
    100,000 tickets, with none 0.45 GB.
    """
    command: list[str | Path] = [program, "--host", HOST, "--port", str(port), "--silent"]
    command += ["--block-time", str(BLOCK_TIME_S), "--gas-limit", str(BLOCK_GAS_LIMIT)]
    command += ["--prune-history", "--state", state_file]
    command += ["--mnemonic", TEST_MNEMONIC, "--balance", str(_BALANCE_ETH)]
    return spawn(command, log)


def is_chain_ready(url: str) -> bool:
    """Whether the node answers."""
    try:
        return _call(url, "eth_chainId") is not None
    except OSError:
        return False


def holds_block(url: str, block: BlockRef) -> bool:
    """Whether that very block is on the node's chain.

    Raises:
        StackError: the node doesn't answer.
    """
    try:
        found = _call(url, "eth_getBlockByNumber", hex(block.number), False)
    except OSError as error:
        raise StackError(f"the chain at {url} doesn't answer: {error}") from error
    return isinstance(found, dict) and found.get("hash") == block.block_hash


def _call(url: str, method: str, *params: object) -> object:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310  # our own http URL
    with urllib.request.urlopen(request, timeout=_CALL_TIMEOUT_S) as answer:  # noqa: S310  # our own http URL
        reply: dict[str, object] = json.load(answer)
    return reply.get("result")
