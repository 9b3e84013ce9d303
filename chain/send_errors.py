"""What a node's error reply to eth_sendRawTransaction means: by its text first, then by the code of the new catalogue.

Messages of geth, reth, erigon, besu, nethermind (old and new), anvil, arbitrum, zkSync, sei, bor, monad, substrate.
"""

from __future__ import annotations

import re

from chain.quantities import to_bytes
from chain.rpc import RpcError
from workflows.interface.chain import SendClass

# The first class with a phrase in the text decides, so the more particular come first ("replacement transaction
# underpriced" before "underpriced"). Phrases are regular expressions over the lower-cased text.
_PHRASES: tuple[tuple[SendClass, tuple[str, ...]], ...] = (
    (
        SendClass.KNOWN,
        (
            "already ?known",
            "(?<!un)known transaction",
            "already imported",
            "same hash",
            "already in the system",
            "already exists in cache",
        ),
    ),
    (
        SendClass.REPL_UNDER,
        (
            "replacement transaction underpriced",
            "could not replace existing tx",
            "replacement ?not ?allowed",
            "own ?nonce ?already ?used",
            "future transaction tries to replace pending",
        ),
    ),
    (SendClass.GAP, ("nonce too high", "nonce ?gap", "nonce too far in (the )?future", "nonce is too distant")),
    (SendClass.NONCE_USED, ("nonce too low", "old ?nonce", "invalid transaction nonce", r"\bstale\b")),
    (
        SendClass.BUSY,
        (
            "tx ?pool is full",
            "sub-pool is full",
            "account limit exceeded",
            "queue full",
            "tx pool full",
            "in-flight transaction limit reached",
            "gapped-nonce tx from delegated",
            "address already reserved",
        ),
    ),
    (SendClass.FEECAP, ("exceeds the configured cap", "fee cap exceeded")),
    (SendClass.FUNDS, ("insufficient funds", "insufficient balance", "upfront cost exceeds")),
    (
        SendClass.UNDERPRICED,
        ("underpriced", "gas price below", "fee too low", "less than block base fee", "below current base fee"),
    ),
    (
        SendClass.FATAL,
        (
            "intrinsic gas too (low|high)",
            "exceeds block gas limit",
            "exceeds max transaction gas limit",
            "gas_limit_cap",
            "oversized data",
            "invalid sender",
            "invalid chain ?id",
            "wrong chain ?id",
            "failed to decode",
            r"(tip|priority fee)\b.*(higher|greater|above|exceeds)",
        ),
    ),
)
_PATTERNS = tuple((send_class, re.compile("|".join(phrases))) for send_class, phrases in _PHRASES)

# execution-apis' catalogue of error codes (1-199 account, 800-999 fees, 1000-1199 pool), for nodes that reword.
_CODES = {
    1: SendClass.NONCE_USED,
    2: SendClass.GAP,
    802: SendClass.UNDERPRICED,
    804: SendClass.FATAL,
    806: SendClass.UNDERPRICED,
    809: SendClass.FUNDS,
    1000: SendClass.KNOWN,
}


def classify_send_error(code: int, message: str) -> SendClass:
    """The class of an error reply. What isn't known for sure is UNKNOWN, from which nothing follows."""
    text = message.lower()
    for send_class, pattern in _PATTERNS:
        if pattern.search(text):
            return send_class
    return _CODES.get(code, SendClass.UNKNOWN)


def revert_data(error: RpcError) -> bytes | None:
    """The revert data in a reply to eth_call; None if the error isn't a revert.

    geth: code 3 with the data as 0x text; besu -32000 and parity -32015 say it in the text.
    """
    if error.code != 3 and "revert" not in error.message.lower():
        return None
    data = error.data
    if isinstance(data, dict):
        data = data.get("data")
    if not isinstance(data, str) or not data.startswith("0x"):
        return b""
    return to_bytes(data)
