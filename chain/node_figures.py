"""What the node shows of itself and of the signers, for metrics: one JSON-RPC batch and one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chain.quantities import to_hex, to_int
from chain.rpc import Call, JsonRpc, Reply, RpcError

PACE_BLOCKS = 20
"""The pace of blocks is the mean of so many."""


class NodeFigures(NamedTuple):
    """The node's latest block, its pace, and what the signers have."""

    head_number: int
    head_made_at_s: int
    """Unix time in the block's header."""
    block_interval_s: float
    balances_wei: tuple[int, ...]


async def read_node_figures(rpc: JsonRpc, signers: Sequence[bytes]) -> NodeFigures:
    """The figures; balances in the signers' order.

    Raises:
        NodeUnavailableError: no usable answer.
        RpcError: the node refuses a call.
    """
    calls = [
        Call("eth_getBlockByNumber", ("latest", False)),
        *(Call("eth_getBalance", (to_hex(signer), "latest")) for signer in signers),
    ]
    head, *balances = map(_certain, await rpc.batch(calls))
    number, made_at_s = to_int(head["number"]), to_int(head["timestamp"])
    earlier = max(0, number - PACE_BLOCKS)
    block = await rpc.call("eth_getBlockByNumber", hex(earlier), False)
    # A young chain, or a node that has forgotten its past, has no pace: a second is the shortest anybody uses.
    span_s = made_at_s - to_int(block["timestamp"]) if block and number > earlier else 0
    interval_s = max(span_s / max(1, number - earlier), 1.0)
    return NodeFigures(number, made_at_s, interval_s, tuple(map(to_int, balances)))


def _certain(reply: Reply | RpcError) -> Reply:
    if isinstance(reply, RpcError):
        raise reply
    return reply
