"""Which recipients are contracts: they get more gas. Asked of the node once per address."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from chain.quantities import to_hex
from chain.rpc import Call, JsonRpc, RpcError

_CACHED_ADDRESSES = 20_000
_NO_CODE = "0x"


class Recipients:
    """Looks for code at addresses and remembers the most recent ones.

    An account that gets code later only makes an estimate too low, and its item is skipped and tried again.
    """

    def __init__(self, rpc: JsonRpc, cached_addresses: int = _CACHED_ADDRESSES) -> None:
        self._rpc = rpc
        self._limit = cached_addresses
        self._has_code: OrderedDict[bytes, bool] = OrderedDict()

    async def with_code(self, addresses: Iterable[bytes]) -> frozenset[bytes]:
        """Those of the addresses that are contracts.

        Raises:
            NodeUnavailableError: the node didn't answer.
            RpcError: the node refused to say.
        """
        wanted = dict.fromkeys(addresses)
        await self._learn([address for address in wanted if address not in self._has_code])
        found = frozenset(address for address in wanted if self._has_code[address])
        self._forget_oldest(wanted)
        return found

    async def _learn(self, addresses: list[bytes]) -> None:
        calls = [Call("eth_getCode", (to_hex(address), "latest")) for address in addresses]
        for address, code in zip(addresses, await self._rpc.batch(calls), strict=True):
            if isinstance(code, RpcError):
                raise code
            self._has_code[address] = code != _NO_CODE

    def _forget_oldest(self, used: Iterable[bytes]) -> None:
        for address in used:
            self._has_code.move_to_end(address)
        while len(self._has_code) > self._limit:
            self._has_code.popitem(last=False)
