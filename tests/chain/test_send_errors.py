"""The table of node replies."""

from __future__ import annotations

import pytest

from chain.rpc import RpcError
from chain.send_errors import classify_send_error, revert_data
from workflows.interface.chain import SendClass

_TABLE = {
    SendClass.KNOWN: [
        (-32000, "already known"),
        (-32000, "ALREADY_EXISTS: already known"),
        (-32000, "existing txn with same hash"),
        (-32000, "Known transaction"),
        (-32003, "transaction already imported"),
        (-32010, "AlreadyKnown"),
        (-32010, "Transaction with the same hash was already imported."),
        (-32000, "known transaction. transaction with hash 0x12 is already in the system"),
        (-32000, "tx already exists in cache"),
        (1000, "something new"),
    ],
    SendClass.NONCE_USED: [
        (-32000, "nonce too low"),
        (-32000, "nonce too low: address 0xabc, tx: 4 state: 7"),
        (-32603, "Internal error: nonce too low"),
        (-32001, "Nonce too low"),
        (-32010, "OldNonce, Current nonce: 5, nonce of rejected tx: 4"),
        (-32000, "invalid transaction nonce"),
        (-32603, "submit transaction to pool failed: Pool(InvalidTransaction(InvalidTransaction::Stale))"),
        (-32603, "Pool(Stale)"),
        (1, "something new"),
    ],
    SendClass.REPL_UNDER: [
        (-32000, "replacement transaction underpriced"),
        (-32000, "INTERNAL_ERROR: could not replace existing tx"),
        (-32010, "ReplacementNotAllowed, Replacement fee too low"),
        (-32010, "OwnNonceAlreadyUsed"),
        (-32000, "future transaction tries to replace pending"),
    ],
    SendClass.UNDERPRICED: [
        (-32000, "transaction underpriced"),
        (-32000, "transaction underpriced: tip needed 1, tip permitted 0"),
        (-32000, "transaction gas price below minimum"),
        (-32000, "underpriced"),
        (-32000, "fee too low"),
        (-32009, "Gas price below configured minimum gas price"),
        (-32009, "Gas price below current base fee"),
        (-32000, "max fee per gas less than block base fee: address 0xabc, maxFeePerGas: 1, baseFee: 7"),
        (-32003, "max fee per gas less than block base fee"),
        (802, "something new"),
        (806, "something new"),
    ],
    SendClass.BUSY: [
        (-32000, "txpool is full"),
        (-32000, "pending sub-pool is full"),
        (-32000, "account limit exceeded: pooled 64 txs"),
        (-32000, "queue full"),
        (-32000, "sequencer pending tx pool full, please try again"),
        (-32000, "in-flight transaction limit reached for delegated accounts"),
        (-32000, "gapped-nonce tx from delegated accounts"),
        (-32000, "address already reserved"),
    ],
    SendClass.GAP: [
        (-32000, "nonce too high"),
        (-32000, "nonce too high: address 0xabc, tx: 9 state: 7"),
        (-32010, "NonceGap, Future nonce. Expected nonce: 4"),
        (-32000, "nonce too far in future"),
        (-32006, "Transaction nonce is too distant from current sender nonce"),
        (2, "something new"),
    ],
    SendClass.FUNDS: [
        (-32000, "insufficient funds for gas * price + value"),
        (-32003, "Insufficient funds for gas * price + value"),
        (-32000, "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1"),
        (-32004, "Upfront cost exceeds account balance"),
        (-32000, "insufficient funds"),
        (-32603, "Signer had insufficient balance"),
        (809, "something new"),
    ],
    SendClass.FEECAP: [
        (-32000, "tx fee (1.20 ether) exceeds the configured cap (1.00 ether)"),
        (-32003, "tx fee (1200000000000000000 wei) exceeds the configured cap (1000000000000000000 wei)"),
        (-32000, "Transaction fee cap exceeded"),
    ],
    SendClass.FATAL: [
        (-32000, "intrinsic gas too low"),
        (-32000, "intrinsic gas too low: gas 1, minimum needed 21000"),
        (-32000, "exceeds block gas limit"),
        (-32005, "Transaction gas limit exceeds block gas limit"),
        (-32003, "exceeds max transaction gas limit"),
        (-32003, "intrinsic gas too high -- tx.gas_limit > env.cfg.tx_gas_limit_cap"),
        (-32000, "oversized data: transaction size 140000, limit 131072"),
        (-32000, "invalid sender"),
        (-32000, "invalid chain id for signer: have 1 want 2"),
        (-32000, "Wrong chainId"),
        (-32000, "max priority fee per gas higher than max fee per gas"),
        (-32602, "Failed to decode transaction"),
        (804, "something new"),
    ],
    SendClass.UNKNOWN: [
        (-32000, "unknown transaction"),
        (-32005, "Number of requests exceeds max batch size"),
        (-32603, "Internal error"),
        (-32002, "request timed out"),
        (-32000, "the sky is falling"),
        (-32602, "missing value for required argument 0"),
    ],
}


@pytest.mark.parametrize(
    ("expected", "code", "message"), [(c, code, text) for c, rows in _TABLE.items() for code, text in rows]
)
def test_every_known_reply_has_its_class(expected: SendClass, code: int, message: str) -> None:
    """A node's reply is classified by its text, else by its code."""
    assert classify_send_error(code, message) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RpcError(3, "execution reverted", "0x08c379a0"), bytes.fromhex("08c379a0")),
        (RpcError(3, "execution reverted", "0x"), b""),
        (RpcError(-32000, "Execution reverted", "0x12"), b"\x12"),
        (RpcError(-32015, "VM execution error: Reverted", {"data": "0xabcd"}), b"\xab\xcd"),
        (RpcError(-32015, "execution reverted", "Reverted 0x"), b""),
        (RpcError(-32000, "header not found"), None),
    ],
)
def test_revert_data_is_found_in_every_shape(error: RpcError, expected: bytes | None) -> None:
    """The revert data is taken from a reply to eth_call wherever the node puts it; other errors are no reverts."""
    assert revert_data(error) == expected
