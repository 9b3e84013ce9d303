"""What the chain room and the ledger say to each other: transfers to move, transactions of a lane, final results.

The rows here are built by the thousand, so they are plain named tuples and not validated models.
Amounts are in wei, addresses are 20 raw bytes, hashes 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from workflows.interface.codes import AttemptKind, FailureCode, Outcome, Settlement


class SendClass(StrEnum):
    """What a node's reply to a broadcast means (the action for each: docs/architecture.md)."""

    ACCEPTED = "ACCEPTED"
    KNOWN = "KNOWN"
    NONCE_USED = "NONCE_USED"
    REPL_UNDER = "REPL_UNDER"
    UNDERPRICED = "UNDERPRICED"
    BUSY = "BUSY"
    GAP = "GAP"
    FUNDS = "FUNDS"
    FEECAP = "FEECAP"
    FATAL = "FATAL"
    UNKNOWN = "UNKNOWN"

    @property
    def delivered(self) -> bool:
        """The node has the transaction, or has had it."""
        return self in (SendClass.ACCEPTED, SendClass.KNOWN, SendClass.NONCE_USED)

    @property
    def alerts(self) -> bool:
        """A person has to mend this lane condition."""
        return self in _ALERTING


_ALERTING = frozenset(
    {
        SendClass.FUNDS,
        SendClass.GAP,
        SendClass.UNDERPRICED,
        SendClass.REPL_UNDER,
        SendClass.FEECAP,
        # Of a cancel attempt: nothing is left that could free the nonce.
        SendClass.FATAL,
    }
)


class Lane(NamedTuple):
    """One signer account on one chain."""

    chain_id: int
    signer: bytes

    @property
    def address(self) -> str:
        """The signer as 0x text in lower case."""
        return "0x" + self.signer.hex()


class ChainTransfer(NamedTuple):
    """One transfer as the chain sees it, with the number of the binding that carries it."""

    transfer_id: UUID
    binding_no: int
    token: bytes
    holder: bytes
    to: bytes
    ticket_id: int
    pack_limit: int | None = None
    """The most transfers its chain transaction may carry (after a whole revert, or when it burned its gas cap)."""


class PlannedTransaction(NamedTuple):
    """Transfers that shall share a chain transaction; it has no lane or nonce yet."""

    settlement: Settlement
    transfers: tuple[ChainTransfer, ...]
    gas_limit: int
    key: bytes | None
    """The router's idempotency key (batched only): keccak256 over transfer ids and binding numbers in order."""


class Attempt(NamedTuple):
    """One signed raw transaction of a nonce. Stored before it's broadcast."""

    transaction_id: int
    tx_hash: bytes
    raw: bytes
    kind: AttemptKind
    max_fee_wei: int
    tip_wei: int
    send_class: SendClass | None = None
    """The last reply to it; None while it has never been sent."""


class BoundTransaction(NamedTuple):
    """One nonce of a lane, bound for ever to its transfers; `attempts` in the order they were signed."""

    transaction_id: int
    lane: Lane
    nonce: int
    settlement: Settlement
    gas_limit: int
    key: bytes | None
    transfers: tuple[ChainTransfer, ...]
    attempts: tuple[Attempt, ...] = ()


class SentTransaction(NamedTuple):
    """What confirmation needs to look for an open transaction on the chain."""

    transaction_id: int
    lane: Lane
    nonce: int
    settlement: Settlement
    key: bytes | None
    tx_hashes: tuple[bytes, ...]


class SendResult(NamedTuple):
    """A node's reply to one broadcast."""

    transaction_id: int
    tx_hash: bytes
    send_class: SendClass
    message: str = ""


class TransferResult(NamedTuple):
    """Final outcome of one binding."""

    transfer_id: UUID
    binding_no: int
    outcome: Outcome
    code: FailureCode | None = None
    reason: str | None = None
    costs_try: bool = True
    """False where the item isn't to blame: skipped for lack of gas, or the whole transaction reverted."""
    pack_limit: int | None = None
    """The most transfers its next chain transaction may carry."""


class TransactionResult(NamedTuple):
    """What a block at confirmation depth says of one nonce."""

    transaction_id: int
    tx_hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    fee_wei: int
    transfers: tuple[TransferResult, ...]


class ChainLedger(Protocol):
    """The part of the ledger that sending needs."""

    async def store_first_attempts(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Stores each nonce's first attempt; where another copy was quicker, its bytes stand. Returns what stands."""

    async def store_next_attempts(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Stores corrected or cancel attempts of nonces whose last bytes were refused for good.

        Returns those that stand, stored now or before by another copy. The others must never be sent.
        """

    async def record_sends(self, results: Sequence[SendResult]) -> None:
        """Notes the replies to broadcasts, with the time."""
