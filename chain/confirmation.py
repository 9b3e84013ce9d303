"""Finds out which sent transactions are final, and what became of each transfer.

Only a block at confirmation depth decides. No receipt, a timeout or "nonce too low" is never taken as a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chain.abi import (
    BATCH_EXECUTED,
    BLOCK_OF,
    Events,
    call_object,
    payload_of,
    read_events,
    router_outcome,
)
from chain.outcomes import (
    cancelled_results,
    router_results,
    single_result,
    single_reverted,
    whole_revert_results,
)
from chain.packing import burned_gas
from chain.quantities import to_bytes, to_hex, to_int
from chain.rpc import Call, JsonRpc, RpcError
from chain.send_errors import revert_data
from workflows.interface.chain import (
    BoundTransaction,
    Lane,
    SentTransaction,
    TransactionResult,
    TransferResult,
)
from workflows.interface.codes import AttemptKind, Settlement

# A batched receipt with 400 logs is 300 kB of JSON; geth refuses answers above 25 MB.
_RECEIPTS_PER_REQUEST = 20


class FinalReceipt(NamedTuple):
    """The receipt of a mined attempt in a canonical block at confirmation depth."""

    tx_hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    fee_wei: int
    events: Events


class FinalReceipts(NamedTuple):
    """What a look at the chain found."""

    head: int
    by_transaction: Mapping[int, FinalReceipt]
    overtaken: tuple[int, ...]
    """Transactions whose nonce is used although no attempt of ours has a receipt: a node that lags, or a
    foreign use of the lane's key. Look again; if it stays so, a person must look."""


class Confirmer:
    """Asks one chain. `depth` counts the transaction's own block: 1 is final as soon as it's mined."""

    def __init__(self, rpc: JsonRpc, router: bytes, depth: int = 1) -> None:
        if depth < 1:
            raise ValueError("the confirmation depth counts the transaction's own block: 1 at least")
        self._rpc = rpc
        self._router = router
        self._depth = depth

    async def final_receipts(self, sent: Sequence[SentTransaction], most_receipts: int | None = None) -> FinalReceipts:
        """Those of the transactions that are final now; no more receipts are asked for than `most_receipts`.

        Raises:
            NodeUnavailableError: no usable answer.
            RpcError: the node refused a question.
        """
        head = to_int(await self._rpc.call("eth_blockNumber"))
        mined = await self._mined_nonces({transaction.lane for transaction in sent})
        candidates = [transaction for transaction in sent if transaction.nonce < mined[transaction.lane]]
        candidates = candidates[:most_receipts]
        found = await self._receipts(candidates)
        # Blocks may have come since the first question.
        head = max([head, *(receipt.block_number for receipt in found.values())])
        overtaken = tuple(t.transaction_id for t in candidates if t.transaction_id not in found)
        return FinalReceipts(head, await self._canonical(found, head), overtaken)

    async def results(
        self, transactions: Sequence[BoundTransaction], receipts: Mapping[int, FinalReceipt]
    ) -> list[TransactionResult]:
        """The outcome of every transfer of the transactions that have a final receipt.

        Raises:
            NodeUnavailableError: a question about a reverted transaction got no usable answer.
        """
        final = [(t, receipts[t.transaction_id]) for t in transactions if t.transaction_id in receipts]
        reasons = await self._revert_reasons([pair for pair in final if not pair[1].succeeded])
        return [
            _transaction_result(t, receipt, await self._transfer_results(t, receipt, reasons)) for t, receipt in final
        ]

    async def _mined_nonces(self, lanes: Iterable[Lane]) -> dict[Lane, int]:
        """How many nonces each lane has used: only for those are receipts worth asking for.

        As of the latest block, whatever the depth: a node that prunes its history knows no other.
        """
        ordered = list(lanes)
        calls = [Call("eth_getTransactionCount", (lane.address, "latest")) for lane in ordered]
        return {lane: to_int(count) for lane, count in zip(ordered, await self._certain(calls), strict=True)}

    async def _receipts(self, transactions: Sequence[SentTransaction]) -> dict[int, FinalReceipt]:
        """The one receipt there is among the attempts of each nonce."""
        pairs = [(t.transaction_id, tx_hash) for t in transactions for tx_hash in t.tx_hashes]
        small = all(t.settlement is Settlement.SINGLE for t in transactions)
        calls = [Call("eth_getTransactionReceipt", (to_hex(tx_hash),)) for _, tx_hash in pairs]
        replies = await self._certain(calls, None if small else _RECEIPTS_PER_REQUEST)
        return {
            transaction_id: _receipt(reply)
            for (transaction_id, _), reply in zip(pairs, replies, strict=True)
            if reply is not None
        }

    async def _canonical(self, receipts: Mapping[int, FinalReceipt], head: int) -> dict[int, FinalReceipt]:
        """Those in blocks that are deep enough and still on the chain: a receipt may come from an orphaned block."""
        deep = {r.block_number for r in receipts.values() if head - r.block_number + 1 >= self._depth}
        numbers = sorted(deep)
        blocks = await self._certain([Call("eth_getBlockByNumber", (hex(n), False)) for n in numbers])
        hashes = {n: to_bytes(block["hash"]) for n, block in zip(numbers, blocks, strict=True) if block is not None}
        return {i: r for i, r in receipts.items() if hashes.get(r.block_number) == r.block_hash}

    async def _transfer_results(
        self, transaction: BoundTransaction, receipt: FinalReceipt, reasons: Mapping[int, bytes | None]
    ) -> list[TransferResult]:
        if _is_cancel(transaction, receipt.tx_hash):
            return list(cancelled_results(transaction))
        reason = reasons.get(transaction.transaction_id)
        if transaction.key is None:
            if receipt.succeeded:
                return [single_result(transaction, receipt.events.moves)]
            return [single_reverted(transaction, burned_gas(receipt.gas_used, transaction.gas_limit), reason)]
        events = receipt.events if receipt.succeeded else await self._earlier_events(transaction.key)
        outcome = router_outcome(events, self._router, transaction.key)
        if outcome is None:
            return list(whole_revert_results(transaction, reason))
        return list(router_results(transaction, outcome, events.moves))

    async def _earlier_events(self, key: bytes) -> Events:
        """The events of the transaction that used the key before, which a restored database forgot; none if unused."""
        data = call_object(self._router, BLOCK_OF + key)
        block = to_int(await self._rpc.call("eth_call", data, "latest"))
        if block == 0:
            return read_events(())
        wanted = {"address": to_hex(self._router), "topics": [BATCH_EXECUTED, to_hex(key)]}
        found = await self._rpc.call("eth_getLogs", {**wanted, "fromBlock": hex(block), "toBlock": hex(block)})
        if not found:
            return read_events(())
        receipt = await self._rpc.call("eth_getTransactionReceipt", found[0]["transactionHash"])
        return _receipt(receipt).events

    async def _revert_reasons(
        self, reverted: Sequence[tuple[BoundTransaction, FinalReceipt]]
    ) -> dict[int, bytes | None]:
        """Best effort: the calls replayed on the state before their block. None where the node can't."""
        calls = [self._replay(transaction, receipt) for transaction, receipt in reverted]
        replies = await self._rpc.batch(calls)
        return {
            transaction.transaction_id: revert_data(reply) if isinstance(reply, RpcError) else None
            for (transaction, _), reply in zip(reverted, replies, strict=True)
        }

    def _replay(self, transaction: BoundTransaction, receipt: FinalReceipt) -> Call:
        to, data = payload_of(transaction, self._router)
        sender = {"from": transaction.lane.address, "gas": hex(transaction.gas_limit)}
        return Call("eth_call", (call_object(to, data, **sender), hex(receipt.block_number - 1)))

    async def _certain(self, calls: Sequence[Call], max_calls: int | None = None) -> list[Any]:
        replies = await self._rpc.batch(calls, max_calls)
        for reply in replies:
            if isinstance(reply, RpcError):
                raise reply
        return replies


def _receipt(reply: Mapping[str, Any]) -> FinalReceipt:
    gas_used = to_int(reply["gasUsed"])
    return FinalReceipt(
        to_bytes(reply["transactionHash"]),
        to_int(reply["blockNumber"]),
        to_bytes(reply["blockHash"]),
        to_int(reply["status"]) == 1,
        gas_used,
        gas_used * to_int(reply["effectiveGasPrice"]),
        read_events(reply["logs"]),
    )


def _is_cancel(transaction: BoundTransaction, tx_hash: bytes) -> bool:
    return any(a.tx_hash == tx_hash and a.kind is AttemptKind.CANCEL for a in transaction.attempts)


def _transaction_result(
    transaction: BoundTransaction, receipt: FinalReceipt, transfers: Sequence[TransferResult]
) -> TransactionResult:
    return TransactionResult(
        transaction.transaction_id,
        receipt.tx_hash,
        receipt.block_number,
        receipt.block_hash,
        receipt.succeeded,
        receipt.gas_used,
        receipt.fee_wei,
        tuple(transfers),
    )
