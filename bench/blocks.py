"""Starts every run at the same point between two blocks: else a short batch is quick or slow by chance."""

from __future__ import annotations

import asyncio

from chain.quantities import to_int
from chain.rpc import JsonRpc

_POLL_S = 0.01


async def next_block(rpc: JsonRpc) -> None:
    """Returns as soon as the chain has one block more."""
    before = await _head(rpc)
    while await _head(rpc) == before:
        await asyncio.sleep(_POLL_S)


async def _head(rpc: JsonRpc) -> int:
    return to_int(await rpc.call("eth_blockNumber"))
