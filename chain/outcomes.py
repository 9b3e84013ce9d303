"""What one mined transaction means for each of the transfers it carried. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator

from chain.abi import ItemFailure, Move, RouterOutcome, move_of
from chain.packing import MAX_TRANSACTION_GAS
from chain.revert_reasons import explain_revert
from workflows.interface.chain import BoundTransaction, ChainTransfer, TransferResult
from workflows.interface.codes import FailureCode, Outcome


def router_results(
    transaction: BoundTransaction, outcome: RouterOutcome, moves: Container[Move]
) -> Iterator[TransferResult]:
    """Batched: an item is moved by the router's word *and* its `Transfer` log, never by who owns the ticket now."""
    for index, transfer in enumerate(transaction.transfers):
        if index >= outcome.attempted:
            yield _skipped(transfer, outcome.attempted)
        elif (failure := outcome.failures.get(index)) is not None:
            yield _item_failed(transfer, failure, _had_all_gas(transaction))
        else:
            yield _moved(transfer, moves)


def single_result(transaction: BoundTransaction, moves: Container[Move]) -> TransferResult:
    """Single, mined with success: the `Transfer` log decides."""
    return _moved(transaction.transfers[0], moves)


def single_reverted(transaction: BoundTransaction, burned: bool, reason: bytes | None) -> TransferResult:
    """Single, reverted; `reason` is a replay's revert data, None if the node couldn't tell."""
    transfer = transaction.transfers[0]
    if burned:
        failure = ItemFailure(burned_cap=True, reason=reason or b"")
        return _item_failed(transfer, failure, _had_all_gas(transaction))
    if reason is None:
        return _failed(transfer, FailureCode.REVERTED, "reverted; the node couldn't tell why")
    return _item_failed(transfer, ItemFailure(burned_cap=False, reason=reason), had_all_gas=False)


def whole_revert_results(transaction: BoundTransaction, reason: bytes | None) -> Iterator[TransferResult]:
    """Batched, and the router itself reverted: nothing moved, nobody in particular is to blame, so it's halved."""
    _, text = explain_revert(reason) if reason is not None else (None, "the node couldn't tell why")
    return _halved(transaction, FailureCode.REVERTED, f"the whole transaction reverted: {text}")


def cancelled_results(transaction: BoundTransaction) -> Iterator[TransferResult]:
    """The nonce went to a cancel attempt, because the node refused the payload's bytes for good: never sent."""
    return _halved(transaction, FailureCode.SEND_REFUSED, "the node refused the transaction, so its nonce was freed")


def _had_all_gas(transaction: BoundTransaction) -> bool:
    """Alone isn't enough: the last item of a slice is alone too, with the gas of one item."""
    return len(transaction.transfers) == 1 and transaction.gas_limit >= MAX_TRANSACTION_GAS


def _halved(transaction: BoundTransaction, code: FailureCode, reason: str) -> Iterator[TransferResult]:
    count = len(transaction.transfers)
    for transfer in transaction.transfers:
        yield _failed(transfer, code, reason, costs_try=count == 1, pack_limit=max(1, count // 2))


def _moved(transfer: ChainTransfer, moves: Container[Move]) -> TransferResult:
    if move_of(transfer) not in moves:
        return _failed(transfer, FailureCode.NOT_MOVED, "no Transfer log in the receipt")
    return TransferResult(transfer.transfer_id, transfer.binding_no, Outcome.MOVED)


def _item_failed(transfer: ChainTransfer, failure: ItemFailure, had_all_gas: bool) -> TransferResult:
    code, reason = explain_revert(failure.reason)
    if not failure.burned_cap:
        return _failed(transfer, code, reason)
    if had_all_gas:
        # It had a transaction's whole gas: a third time would only cost as much again.
        return _failed(transfer, FailureCode.RECIPIENT_REFUSED, f"used all gas of a transaction of its own; {reason}")
    return _failed(transfer, FailureCode.OUT_OF_GAS, f"used all gas of one item; {reason}", pack_limit=1)


def _failed(
    transfer: ChainTransfer, code: FailureCode, reason: str, costs_try: bool = True, pack_limit: int | None = None
) -> TransferResult:
    limit = pack_limit if pack_limit is not None else transfer.pack_limit
    return TransferResult(transfer.transfer_id, transfer.binding_no, Outcome.FAILED, code, reason, costs_try, limit)


def _skipped(transfer: ChainTransfer, attempted: int) -> TransferResult:
    """Costs no try, unless not even the first item had gas enough: that would go on for ever."""
    return TransferResult(
        transfer.transfer_id,
        transfer.binding_no,
        Outcome.SKIPPED,
        FailureCode.OUT_OF_GAS,
        "too little gas was left for it in its transaction",
        costs_try=attempted == 0,
        pack_limit=max(1, attempted),
    )
