"""The chain's own log of moves, and the proof that Postgres equals it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from chain.abi import TRANSFER
from chain.quantities import to_bytes, to_int
from chain.rpc import Call, JsonRpc, RpcError
from devstack.errors import StackError
from ledger.pool import Pool
from ledger.proof import LoggedMove, differences_from_chain, tickets_come_back

_ADDRESS_START = -40
# Nodes refuse answers that are too big.
_BLOCKS_PER_REQUEST = 10_000


class Move(NamedTuple):
    """A `Transfer` log that isn't a mint; addresses are 20 bytes."""

    ticket_id: int
    sender: bytes
    recipient: bytes
    tx_hash: str


async def read_moves(rpc: JsonRpc, token: str, from_block: int = 0) -> list[Move]:
    """All moves of a token contract's tickets since a block, in the order of the chain, from the node alone."""
    head, moves = to_int(await rpc.call("eth_blockNumber")), []
    for first in range(from_block, head + 1, _BLOCKS_PER_REQUEST):
        last = min(first + _BLOCKS_PER_REQUEST - 1, head)
        query = {"address": token, "topics": [TRANSFER], "fromBlock": hex(first), "toBlock": hex(last)}
        moves += [_move(log) for log in await rpc.call("eth_getLogs", query)]
    return [move for move in moves if any(move.sender)]


async def gas_of(rpc: JsonRpc, moves: Sequence[Move]) -> int:
    """The gas of all transactions that moved a ticket.

    Raises:
        StackError: the node doesn't know one of them any more.
    """
    hashes = sorted({move.tx_hash for move in moves})
    receipts = await rpc.batch([Call("eth_getTransactionReceipt", (tx_hash,)) for tx_hash in hashes])
    return sum(_gas_used(receipt) for receipt in receipts)


async def ledger_faults(pool: Pool, token: str, moves: Sequence[Move]) -> list[str]:
    """How Postgres differs from the chain, or that a ticket moved twice for one transfer; `moves`: all there are."""
    return await differences_from_chain(pool, to_bytes(token), _logged(moves))


async def come_back(pool: Pool, token: str, moves: Sequence[Move]) -> list[str]:
    """A line for each ticket that a restored database would let move a second time; `moves`: all there are."""
    tickets = await tickets_come_back(pool, to_bytes(token), _logged(moves))
    return [f"ticket {ticket}: has come back to its holder" for ticket in tickets]


def _logged(moves: Sequence[Move]) -> list[LoggedMove]:
    return [LoggedMove(move.ticket_id, move.sender, move.recipient) for move in moves]


def _move(log: Mapping[str, Any]) -> Move:
    _, sender, recipient, ticket_id = log["topics"]
    tail = slice(_ADDRESS_START, None)
    addresses = bytes.fromhex(sender[tail]), bytes.fromhex(recipient[tail])
    return Move(to_int(ticket_id), *addresses, log["transactionHash"])


def _gas_used(reply: Any) -> int:
    if isinstance(reply, RpcError):
        raise StackError(f"the chain lost a receipt: {reply}")
    return to_int(reply["gasUsed"])
