"""The ceiling: the same transfers sent by a plain script that keeps nothing, by the same means of the chain room.

A process of its own (`python -m bench.ceiling`): a `CeilingJob` as JSON on stdin, a `CeilingRun` as JSON on stdout.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections import deque
from collections.abc import Sequence
from uuid import uuid4

import httpx
import uvloop
from httpx_aiohttp import AiohttpTransport

from bench.blocks import next_block
from bench.figures import CeilingRun, Figures
from chain.confirmation import Confirmer
from chain.heads import read_accounts
from chain.packing import OPENZEPPELIN, Packer
from chain.quantities import to_bytes
from chain.recipients import Recipients
from chain.rpc import JsonRpc
from chain.sender import Sender
from chain.signing import KeySigner
from devstack.deploy import lane_signers
from workflows.interface.chain import (
    Attempt,
    BoundTransaction,
    ChainTransfer,
    Lane,
    PlannedTransaction,
    SendResult,
    SentTransaction,
)
from workflows.interface.codes import Outcome, Settlement

POLL_S = 0.1
STALE_S = 4.0
"""What isn't mined after this is looked for, and sent again where the node has dropped it: as the lane keeper does."""


class CeilingJob(Figures):
    """What to send, and with what limits."""

    rpc_url: str
    chain_id: int
    tickets: str
    router: str
    holder: str
    items: int
    settlement: Settlement
    slice_size: int
    lane_max_in_flight: int


class MemoryLedger:
    """A `ChainLedger` that keeps the attempts of one lane in memory, by nonce."""

    def __init__(self) -> None:
        self.attempts: dict[int, Attempt] = {}

    async def store_first_attempts(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """All of them stand: there's no other copy."""
        self.attempts.update((attempt.transaction_id, attempt) for attempt in attempts)
        return list(attempts)

    async def store_next_attempts(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """A node that refuses these transactions for good leaves nothing to measure."""
        raise RuntimeError(f"the node refused {len(attempts)} transactions for good")

    async def record_sends(self, results: Sequence[SendResult]) -> None:
        """Replies are forgotten: what isn't mined in time is sent again."""


class Work:
    """The transfers that no lane has taken yet, handed out slice by slice in packed form."""

    def __init__(self, job: CeilingJob, rpc: JsonRpc) -> None:
        token, holder = to_bytes(job.tickets), to_bytes(job.holder)
        self._left = deque(
            ChainTransfer(uuid4(), 1, token, holder, secrets.token_bytes(20), ticket_id)
            for ticket_id in range(1, job.items + 1)
        )
        self._job = job
        self._packer = Packer({token: OPENZEPPELIN})
        self._recipients = Recipients(rpc)

    async def next_slice(self) -> list[PlannedTransaction]:
        """The next chain transactions; none when all is handed out."""
        size = min(self._job.slice_size, len(self._left))
        transfers = [self._left.popleft() for _ in range(size)]
        with_code = await self._recipients.with_code(transfer.to for transfer in transfers)
        return self._packer.plan(transfers, with_code, self._job.settlement)


class LaneRun:
    """Keeps one lane as full as its limit allows. Its nonces serve as transaction ids."""

    def __init__(self, job: CeilingJob, rpc: JsonRpc, signer: KeySigner, first_nonce: int) -> None:
        router = to_bytes(job.router)
        self._lane = Lane(job.chain_id, signer.address)
        self._most_open = job.lane_max_in_flight
        self._ledger = MemoryLedger()
        self._sender = Sender(rpc, self._ledger, {signer.address: signer}, router)
        self._confirmer = Confirmer(rpc, router)
        self._planned: deque[PlannedTransaction] = deque()
        self._open: dict[int, BoundTransaction] = {}
        self._next_nonce = first_nonce
        self._moved_at = time.monotonic()
        self.transactions = 0
        self.resent = 0

    async def run(self, work: Work) -> None:
        """Takes slices until none is left and all that was sent is final."""
        looked_at, more = 0.0, True
        while more or self._planned or self._open:
            if more and not self._planned:
                self._planned.extend(await work.next_slice())
                more = bool(self._planned)
            sent = await self._fill()
            if sent and time.monotonic() - looked_at < POLL_S:
                continue
            looked_at = time.monotonic()
            if not await self._confirm():
                await self._send_again()
                await asyncio.sleep(POLL_S)

    async def _fill(self) -> bool:
        """Sends what there's room for; whether that was anything."""
        room = min(self._most_open - len(self._open), len(self._planned))
        if not room:
            return False
        if not self._open:
            self._moved_at = time.monotonic()
        bound = [self._bound(self._planned.popleft()) for _ in range(room)]
        await self._sender.sign_and_send(bound)
        return True

    def _bound(self, planned: PlannedTransaction) -> BoundTransaction:
        nonce, self._next_nonce = self._next_nonce, self._next_nonce + 1
        self._open[nonce] = BoundTransaction(
            nonce, self._lane, nonce, planned.settlement, planned.gas_limit, planned.key, planned.transfers
        )
        self.transactions += 1
        return self._open[nonce]

    async def _confirm(self) -> bool:
        """Takes out what is final; whether anything was."""
        if not self._open:
            return False
        found = await self._confirmer.final_receipts([self._sent(t) for t in self._open.values()])
        results = await self._confirmer.results(list(self._open.values()), found.by_transaction)
        for result in results:
            if any(transfer.outcome is not Outcome.MOVED for transfer in result.transfers):
                raise RuntimeError(f"transaction {result.tx_hash.hex()} didn't move every ticket")
            del self._open[result.transaction_id]
            self._moved_at = time.monotonic()
        return bool(results)

    async def _send_again(self) -> None:
        """After a while without progress: what the node has dropped, lowest nonce first."""
        if time.monotonic() - self._moved_at < STALE_S:
            return
        attempts = self._ledger.attempts
        report = await self._sender.resend([t._replace(attempts=(attempts[n],)) for n, t in self._open.items()])
        self.resent += report.delivered
        self._moved_at = time.monotonic()

    def _sent(self, transaction: BoundTransaction) -> SentTransaction:
        nonce = transaction.nonce
        hashes = (self._ledger.attempts[nonce].tx_hash,)
        return SentTransaction(nonce, self._lane, nonce, transaction.settlement, transaction.key, hashes)


async def run_job(job: CeilingJob) -> CeilingRun:
    """Sends everything on all lanes at once and returns when the last ticket has moved for good."""
    async with httpx.AsyncClient(transport=AiohttpTransport(trust_env=False), timeout=20, trust_env=False) as http:
        rpc = JsonRpc(http, job.rpc_url)
        signers = lane_signers()
        accounts = await read_accounts(rpc, [signer.address for signer in signers])
        lanes = [LaneRun(job, rpc, s, account.latest_nonce) for s, account in zip(signers, accounts, strict=True)]
        work = Work(job, rpc)
        await next_block(rpc)
        started = time.monotonic()
        await asyncio.gather(*(lane.run(work) for lane in lanes))
        return CeilingRun(
            items=job.items,
            settlement=job.settlement,
            duration_s=time.monotonic() - started,
            transactions=sum(lane.transactions for lane in lanes),
            resent=sum(lane.resent for lane in lanes),
        )


def main() -> int:
    """Entry point of the process."""
    job = CeilingJob.model_validate_json(sys.stdin.read())
    print(uvloop.run(run_job(job)).model_dump_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
