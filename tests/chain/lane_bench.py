"""A lane under test: packs, binds, sends and confirms on the real chain."""

from __future__ import annotations

from uuid import uuid4

from chain.confirmation import Confirmer
from chain.fees import FeePolicy
from chain.packing import OPENZEPPELIN, Packer
from chain.recipients import Recipients
from chain.rpc import JsonRpc
from chain.sender import Sender
from chain.signing import KeySigner
from tests.fakes import FakeChainLedger
from tests.real_chain import RealChain
from workflows.interface.chain import BoundTransaction, ChainTransfer, Lane, TransactionResult, TransferResult
from workflows.interface.codes import FailureCode, Outcome, Settlement


def summary(results: list[TransferResult]) -> list[tuple[Outcome, FailureCode | None, bool, int | None]]:
    """What matters of each result."""
    return [(r.outcome, r.code, r.costs_try, r.pack_limit) for r in results]


MOVED = (Outcome.MOVED, None, True, None)


class LaneBench:
    """One lane with its ledger, sender and confirmer on the real chain."""

    def __init__(self, chain: RealChain, lane: Lane, signer: KeySigner) -> None:
        self.chain, self.lane, self.signer = chain, lane, signer
        self.ledger = FakeChainLedger()
        self.sender = self.sender_with()
        self.confirmer = Confirmer(chain.rpc, chain.router)
        self._next_nonce = 0

    def sender_with(self, *, rpc: JsonRpc | None = None, fees: FeePolicy | None = None) -> Sender:
        """A sender on the same ledger and lane."""
        return Sender(rpc or self.chain.rpc, self.ledger, {self.lane.signer: self.signer}, self.chain.router, fees)

    async def bind(
        self, transfers: list[ChainTransfer], settlement: Settlement = Settlement.BATCHED
    ) -> list[BoundTransaction]:
        """Packs the transfers and gives each chain transaction the lane's next nonce."""
        with_code = await Recipients(self.chain.rpc).with_code(t.to for t in transfers)
        planned = Packer({self.chain.tickets: OPENZEPPELIN}).plan(transfers, with_code, settlement)
        first = self._next_nonce
        self._next_nonce += len(planned)
        return [
            BoundTransaction(uuid4().int, self.lane, first + n, p.settlement, p.gas_limit, p.key, p.transfers)
            for n, p in enumerate(planned)
        ]

    async def confirm(self, bound: list[BoundTransaction]) -> list[TransactionResult]:
        """The final results there are now."""
        found = await self.confirmer.final_receipts([self.ledger.sent(t) for t in bound])
        return await self.confirmer.results([self.ledger.reload(t) for t in bound], found.by_transaction)

    async def run(self, bound: list[BoundTransaction]) -> list[TransferResult]:
        """Sends, mines and confirms."""
        await self.sender.sign_and_send(bound)
        await self.chain.mine()
        return [result for transaction in await self.confirm(bound) for result in transaction.transfers]
