"""Packs transfers into chain transactions of equal size below the protocol's gas cap, from constants. Pure.

eth_estimateGas per item would cost a call each and be wrong anyway: a receiver may behave otherwise in the block.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from chain.abi import batch_key
from workflows.interface.chain import ChainTransfer, PlannedTransaction
from workflows.interface.codes import Settlement

MAX_TRANSACTION_GAS = 15_000_000
"""Below the protocol's 16,777,216 per transaction (EIP-7825)."""
ITEM_CAP_GAS = 304_761
"""One item that burns its cap in TransferRouter, with the 1/63 that EIP-150 keeps back."""
RESERVE_GAS = 30_000
"""TransferRouter.RESERVE_GAS: for the events after the last item."""
BATCH_BASE_GAS = 65_000
"""Measured 59,500: 21,000 for the transaction, 22,100 for the key, checks and the batch's event."""
BURNED_PART = (7, 8)
"""From this part of its gas limit on, a transaction that reverted has run out of gas (each call keeps 1/64 back)."""


class TokenGas(NamedTuple):
    """What one ticket of a contract takes: to a plain account that holds none yet, and to a contract with its hook."""

    batched_plain: int
    batched_code: int
    single_plain: int
    single_code: int


OPENZEPPELIN = TokenGas(38_000, 80_000, 70_000, 70_000 + ITEM_CAP_GAS)
"""Measured with Tickets: 36,900 batched and 64,300 single to fresh accounts; a contract's hook adds 5,000 to 40,000."""
UNMEASURED = TokenGas(120_000, 200_000, 150_000, 150_000 + ITEM_CAP_GAS)
"""For foreign tokens: enumerable ones take up to 99,000. Too low an estimate only gets items skipped, at no cost."""


class Packer(NamedTuple):
    """Knows which tokens have been measured."""

    token_gas: Mapping[bytes, TokenGas]

    def plan(
        self, transfers: Sequence[ChainTransfer], with_code: Container[bytes], settlement: Settlement
    ) -> list[PlannedTransaction]:
        """Chain transactions for the transfers; `with_code` are the recipients that are contracts.

        Transfers of one token, holder and pack limit share transactions, in equal parts and in their order.
        """
        if settlement is Settlement.SINGLE:
            return [self._single(transfer, with_code) for transfer in transfers]
        # Limits first: those that must go in small parts don't cut the others' sequence in two.
        ordered = sorted(transfers, key=_group)
        return [
            self._batched(part, with_code)
            for _, group in groupby(ordered, key=_group)
            for part in self._equal_parts(list(group), with_code)
        ]

    def _single(self, transfer: ChainTransfer, with_code: Container[bytes]) -> PlannedTransaction:
        gas = self._gas_of(transfer.token)
        limit = gas.single_code if transfer.to in with_code else gas.single_plain
        if transfer.pack_limit == 1:
            limit = MAX_TRANSACTION_GAS
        return PlannedTransaction(Settlement.SINGLE, (transfer,), limit, None)

    def _batched(self, part: Sequence[ChainTransfer], with_code: Container[bytes]) -> PlannedTransaction:
        limit = MAX_TRANSACTION_GAS if part[0].pack_limit == 1 else self._gas_limit(part, with_code)
        return PlannedTransaction(Settlement.BATCHED, tuple(part), limit, batch_key(part))

    def _equal_parts(
        self, group: list[ChainTransfer], with_code: Container[bytes]
    ) -> Iterator[Sequence[ChainTransfer]]:
        limit = group[0].pack_limit or len(group)
        count = max(-(-len(group) // limit), -(-self._gas_limit(group, with_code) // MAX_TRANSACTION_GAS))
        while count < len(group) and any(
            self._gas_limit(part, with_code) > MAX_TRANSACTION_GAS for part in _split(group, count)
        ):
            count += 1
        return _split(group, count)

    def _gas_limit(self, part: Sequence[ChainTransfer], with_code: Container[bytes]) -> int:
        gas = self._gas_of(part[0].token)
        contracts = sum(transfer.to in with_code for transfer in part)
        estimates = contracts * gas.batched_code + (len(part) - contracts) * gas.batched_plain
        return BATCH_BASE_GAS + estimates + ITEM_CAP_GAS + RESERVE_GAS

    def _gas_of(self, token: bytes) -> TokenGas:
        return self.token_gas.get(token, UNMEASURED)


def burned_gas(gas_used: int, gas_limit: int) -> bool:
    """Whether a reverted transaction ran out of gas, as far as its receipt tells."""
    part, whole = BURNED_PART
    return gas_used * whole >= gas_limit * part


def _group(transfer: ChainTransfer) -> tuple[bytes, bytes, int]:
    return transfer.token, transfer.holder, transfer.pack_limit or 0


def _split(group: list[ChainTransfer], count: int) -> Iterator[list[ChainTransfer]]:
    """Parts whose sizes differ by one at most."""
    size, longer = divmod(len(group), count)
    start = 0
    for number in range(count):
        end = start + size + (number < longer)
        yield group[start:end]
        start = end
