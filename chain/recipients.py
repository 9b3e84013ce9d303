"""Which recipients are contracts: they get more gas. Asked of the node once per address."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

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

    def unknown(self, addresses: Iterable[bytes]) -> frozenset[bytes]:
        """Those that the node would have to be asked about."""
        return frozenset(addresses) - self._has_code.keys()

    async def with_code(self, addresses: Iterable[bytes]) -> frozenset[bytes]:
        """Those of the addresses that are contracts.

        Raises:
            NodeUnavailableError: the node didn't answer.
            RpcError: the node refused to say.
        """
        wanted = dict.fromkeys(addresses)
        # Taken out before the wait: meanwhile another slice may push what is known out of the cache.
        found = {address: self._has_code[address] for address in wanted if address in self._has_code}
        found |= await self._ask([address for address in wanted if address not in found])
        self._remember(found)
        return frozenset(address for address, has_code in found.items() if has_code)

    async def _ask(self, addresses: list[bytes]) -> dict[bytes, bool]:
        calls = [Call("eth_getCode", (to_hex(address), "latest")) for address in addresses]
        codes: dict[bytes, bool] = {}
        for address, code in zip(addresses, await self._rpc.batch(calls), strict=True):
            if isinstance(code, RpcError):
                raise code
            codes[address] = code != _NO_CODE
        return codes

    def _remember(self, used: Mapping[bytes, bool]) -> None:
        for address, has_code in used.items():
            self._has_code[address] = has_code
            self._has_code.move_to_end(address)
        while len(self._has_code) > self._limit:
            self._has_code.popitem(last=False)
