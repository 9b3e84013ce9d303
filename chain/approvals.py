"""Whether holders let this service move tickets of contracts that aren't its own (`setApprovalForAll`, ERC-721)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chain.abi import IS_APPROVED_FOR_ALL, address_word, call_object
from chain.quantities import to_bytes
from chain.rpc import Call, JsonRpc, RpcError
from workflows.interface.chain import ChainTransfer
from workflows.interface.codes import Settlement

Holding = tuple[bytes, bytes]
"""A token contract and a holder of its tickets."""


class Approvals:
    """Our own contract approves the router and the lanes for every holder; others are asked, each time anew."""

    def __init__(self, rpc: JsonRpc, own_token: bytes, router: bytes, signers: Sequence[bytes]) -> None:
        self._rpc = rpc
        self._own_token = own_token
        self._operators = {Settlement.BATCHED: [router], Settlement.SINGLE: list(signers)}

    async def missing(self, transfers: Iterable[ChainTransfer], settlement: Settlement) -> frozenset[Holding]:
        """Holdings of the transfers that may not be moved by everybody who would have to.

        Raises:
            NodeUnavailableError: the node didn't answer.
        """
        foreign = sorted({(t.token, t.holder) for t in transfers if t.token != self._own_token})
        pairs = [(holding, operator) for holding in foreign for operator in self._operators[settlement]]
        calls = [
            Call("eth_call", (call_object(token, _question(holder, operator)), "latest"))
            for (token, holder), operator in pairs
        ]
        replies = await self._rpc.batch(calls) if calls else []
        return frozenset(
            holding
            for (holding, _), reply in zip(pairs, replies, strict=True)
            # An address without code answers with no bytes at all.
            if isinstance(reply, RpcError) or not any(to_bytes(reply))
        )


def _question(holder: bytes, operator: bytes) -> bytes:
    return IS_APPROVED_FOR_ALL + address_word(holder) + address_word(operator)
