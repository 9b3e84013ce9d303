"""Signs and broadcasts the transactions of lanes: stored first, sent in nonce order, every reply classified.

A lane condition (no funds, a nonce gap, a busy node, ...) is reported, never charged to an item; a missing or odd reply
proves nothing. A nonce whose bytes are refused for good gets a cancel attempt, so that it never blocks its lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from chain.abi import Destination, payload_of
from chain.fees import Fee, FeePolicy, first_fee, raised_fee
from chain.heads import read_head
from chain.quantities import to_hex
from chain.rpc import Call, JsonRpc, NodeUnavailableError, Reply, RpcError
from chain.send_errors import classify_send_error
from chain.signing import Signer, UnsignedTransaction
from workflows.interface.chain import (
    Attempt,
    BoundTransaction,
    ChainLedger,
    Lane,
    SendClass,
    SendResult,
)
from workflows.interface.codes import AttemptKind

_PLAIN_TRANSFER_GAS = 21_000
_LONGEST_MESSAGE = 500


class LaneCondition(NamedTuple):
    """Why a lane's transactions don't go out: the first reply of its kind, with the node's words."""

    send_class: SendClass
    message: str


class SendReport(NamedTuple):
    """What a send did."""

    delivered: int
    """Attempts the node has now."""
    conditions: Mapping[Lane, LaneCondition]
    """Lanes that need time or a person."""


class UnknownLaneError(Exception):
    """A transaction is bound to a lane whose key this process doesn't hold."""


class _Broadcast(NamedTuple):
    transaction: BoundTransaction
    attempt: Attempt


class Sender:
    """Sends for the lanes whose signers it holds. Keeps no state, so any number may run side by side."""

    def __init__(
        self,
        rpc: JsonRpc,
        ledger: ChainLedger,
        signers: Mapping[bytes, Signer],
        router: bytes,
        fees: FeePolicy | None = None,
    ) -> None:
        self._rpc = rpc
        self._ledger = ledger
        self._signers = signers
        self._router = router
        self._fees = fees or FeePolicy()

    async def sign_and_send(self, transactions: Sequence[BoundTransaction]) -> SendReport:
        """Signs what has no attempt, stores it, then broadcasts all that the node isn't known to have.

        Raises:
            NodeUnavailableError: the node couldn't even tell the base fee; nothing was signed.
            UnknownLaneError: no key for a lane.
        """
        signed = await self._with_attempts(transactions)
        return await self._broadcast_all(_Broadcast(t, t.attempts[-1]) for t in signed)

    async def resend(self, transactions: Sequence[BoundTransaction]) -> SendReport:
        """Broadcasts again, the same bytes, what the node doesn't know; a node may drop what it had accepted.

        Raises:
            NodeUnavailableError: the node couldn't tell what it knows.
        """
        signed = await self._with_attempts(transactions)
        latest = [_Broadcast(t, t.attempts[-1]) for t in signed]
        calls = [Call("eth_getTransactionByHash", (to_hex(b.attempt.tx_hash),)) for b in latest]
        known = await self._rpc.batch(calls)
        unknown = (b for b, reply in zip(latest, known, strict=True) if reply is None)
        return await self._broadcast_all(_Broadcast(b.transaction, _forgotten(b.attempt)) for b in unknown)

    async def _with_attempts(self, transactions: Sequence[BoundTransaction]) -> list[BoundTransaction]:
        """The transactions, each with at least one attempt that is stored."""
        fresh = [transaction for transaction in transactions if not transaction.attempts]
        if not fresh:
            return list(transactions)
        fee = first_fee(self._fees, (await read_head(self._rpc)).base_fee_wei)
        attempts = [self._payload(transaction, fee) for transaction in fresh]
        # Where another copy was quicker its bytes stand: ours must never be sent.
        standing = {a.transaction_id: a for a in await self._ledger.store_first_attempts(attempts)}
        return [t if t.attempts else t._replace(attempts=(standing[t.transaction_id],)) for t in transactions]

    async def _broadcast_all(self, broadcasts: Iterable[_Broadcast]) -> SendReport:
        """Broadcasts lane by lane, records the replies, and frees the nonces that were refused for good."""
        due = [b for b in broadcasts if b.attempt.send_class is None or not b.attempt.send_class.delivered]
        # A payload refused for good isn't sent again; a cancel attempt is, for nothing else can free its nonce.
        payloads = [b for b in due if b.attempt.kind is AttemptKind.PAYLOAD]
        refused = {b.attempt.tx_hash for b in payloads if b.attempt.send_class is SendClass.FATAL}
        results = await self._send_and_record([b for b in due if b.attempt.tx_hash not in refused])
        fatal = {r.tx_hash for r in results if r.send_class is SendClass.FATAL}
        freed = [b for b in payloads if b.attempt.tx_hash in refused | fatal]
        # A refused payload is no condition, for its nonce is freed; a refused cancel attempt is.
        results = [r for r in results if r.tx_hash not in {b.attempt.tx_hash for b in freed}]
        results += await self._cancel(freed)
        lanes = {b.transaction.transaction_id: b.transaction.lane for b in due}
        return _report(results, lanes)

    async def _cancel(self, refused: Sequence[_Broadcast]) -> list[SendResult]:
        """A self-send on the same nonce. Its bytes follow from the stored attempt, so two copies sign the same."""
        if not refused:
            return []
        cancels = [_Broadcast(b.transaction, self._cancel_attempt(b)) for b in refused]
        # None stands where another copy has heard meanwhile that a node has the payload after all.
        standing = {a.tx_hash for a in await self._ledger.store_next_attempts([b.attempt for b in cancels])}
        return await self._send_and_record([b for b in cancels if b.attempt.tx_hash in standing])

    async def _send_and_record(self, broadcasts: Sequence[_Broadcast]) -> list[SendResult]:
        by_lane: dict[Lane, list[_Broadcast]] = {}
        for broadcast in sorted(broadcasts, key=lambda b: b.transaction.nonce):
            by_lane.setdefault(broadcast.transaction.lane, []).append(broadcast)
        replies = await asyncio.gather(*(self._send_lane(lane) for lane in by_lane.values()))
        results = [result for lane in replies for result in lane]
        if results:
            await self._ledger.record_sends(results)
        return results

    async def _send_lane(self, broadcasts: Sequence[_Broadcast]) -> list[SendResult]:
        """One lane, lowest nonce first. Without an answer the rest waits: it would only leave a gap."""
        attempts = [b.attempt for b in broadcasts]
        calls = [Call("eth_sendRawTransaction", (to_hex(attempt.raw),)) for attempt in attempts]
        results: list[SendResult] = []
        for part in self._rpc.split(calls):
            sent = attempts[len(results) : len(results) + len(part)]
            try:
                replies = await self._rpc.send_part(part)
            except NodeUnavailableError as fault:
                return results + [_result(attempt, SendClass.UNKNOWN, str(fault)) for attempt in sent]
            results += [_classified(attempt, reply) for attempt, reply in zip(sent, replies, strict=True)]
        return results

    def _payload(self, transaction: BoundTransaction, fee: Fee) -> Attempt:
        destination = payload_of(transaction, self._router)
        return self._signed(transaction, AttemptKind.PAYLOAD, fee, destination)

    def _cancel_attempt(self, refused: _Broadcast) -> Attempt:
        fee = raised_fee(Fee(refused.attempt.max_fee_wei, refused.attempt.tip_wei))
        itself = Destination(refused.transaction.lane.signer, b"")
        return self._signed(refused.transaction, AttemptKind.CANCEL, fee, itself)

    def _signed(self, transaction: BoundTransaction, kind: AttemptKind, fee: Fee, destination: Destination) -> Attempt:
        lane = transaction.lane
        signer = self._signers.get(lane.signer)
        if signer is None:
            raise UnknownLaneError(f"no key for lane {lane.address}: is it in the keystore of this worker?")
        gas_limit = transaction.gas_limit if kind is AttemptKind.PAYLOAD else _PLAIN_TRANSFER_GAS
        unsigned = UnsignedTransaction(
            lane.chain_id, transaction.nonce, fee.tip_wei, fee.max_fee_wei, gas_limit, destination.to, destination.data
        )
        raw, tx_hash = signer.sign(unsigned)
        return Attempt(transaction.transaction_id, tx_hash, raw, kind, fee.max_fee_wei, fee.tip_wei)


def _forgotten(attempt: Attempt) -> Attempt:
    """An attempt as if it had never been sent, unless it was refused for good."""
    return attempt if attempt.send_class is SendClass.FATAL else attempt._replace(send_class=None)


def _classified(attempt: Attempt, reply: Reply | RpcError) -> SendResult:
    if isinstance(reply, RpcError):
        return _result(attempt, classify_send_error(reply.code, reply.message), str(reply))
    if reply == to_hex(attempt.tx_hash):
        return _result(attempt, SendClass.ACCEPTED, "")
    # Besu has answered with the hash of another nonce under load: such an answer says nothing about this one.
    return _result(attempt, SendClass.UNKNOWN, f"the node answered with another hash: {reply}")


def _result(attempt: Attempt, send_class: SendClass, message: str) -> SendResult:
    return SendResult(attempt.transaction_id, attempt.tx_hash, send_class, message[:_LONGEST_MESSAGE])


def _report(results: Sequence[SendResult], lanes: Mapping[int, Lane]) -> SendReport:
    conditions: dict[Lane, LaneCondition] = {}
    for result in results:
        if not result.send_class.delivered:
            condition = LaneCondition(result.send_class, result.message)
            conditions.setdefault(lanes[result.transaction_id], condition)
    return SendReport(sum(r.send_class.delivered for r in results), conditions)
