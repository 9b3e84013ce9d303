"""Sending and confirming on a real node."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from chain.abi import address_word, encode_set_operator, encode_transfer_many, word
from chain.confirmation import Confirmer
from chain.fees import FeePolicy
from chain.packing import OPENZEPPELIN, Packer
from chain.quantities import to_hex
from chain.recipients import Recipients
from chain.rpc import JsonRpc
from chain.sender import Sender, SendReport, UnknownLaneError
from chain.signing import KeySigner
from tests.fakes_chain import FakeChainLedger
from tests.real_chain import RealChain, fresh_address
from workflows.interface.chain import (
    BoundTransaction,
    ChainTransfer,
    Lane,
    SendClass,
    TransactionResult,
    TransferResult,
)
from workflows.interface.codes import AttemptKind, FailureCode, Outcome, Settlement

_ENDLESS = 10**9


class Bench:
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


@pytest.fixture
async def bench(real_chain: RealChain) -> Bench:
    """A fresh lane."""
    return Bench(real_chain, *await real_chain.new_lane())


def summary(results: list[TransferResult]) -> list[tuple[Outcome, FailureCode | None, bool, int | None]]:
    """What matters of each result."""
    return [(r.outcome, r.code, r.costs_try, r.pack_limit) for r in results]


MOVED = (Outcome.MOVED, None, True, None)


async def test_a_batch_is_moved_and_proved(bench: Bench) -> None:
    """Batched transfers reach their recipients, and each has its outcome from the final receipt."""
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address() for _ in range(20)])
    bound = await bench.bind(transfers)
    report = await bench.sender.sign_and_send(bound)
    assert report == SendReport(1, {})
    assert await bench.confirm(bound) == []
    await bench.chain.mine()
    (result,) = await bench.confirm(bound)
    assert result.succeeded
    assert result.gas_used < bound[0].gas_limit
    assert result.fee_wei >= result.gas_used
    assert summary(list(result.transfers)) == [MOVED] * 20
    assert [r.transfer_id for r in result.transfers] == [t.transfer_id for t in transfers]
    assert await bench.chain.owner_of(transfers[7].ticket_id) == transfers[7].to


async def test_singles_go_in_nonce_order(bench: Bench) -> None:
    """Single transfers, handed over in any order, are accepted lowest nonce first and all moved in one block."""
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address() for _ in range(150)])
    bound = await bench.bind(transfers, Settlement.SINGLE)
    assert summary(await bench.run(bound[::-1])) == [MOVED] * 150
    nonces = {t.transaction_id: t.nonce for t in bound}
    assert [nonces[r.transaction_id] for r in bench.ledger.sends] == list(range(150))


async def test_bad_items_have_their_codes(bench: Bench) -> None:
    """Each kind of item failure ends with its code and says whether it costs a try, and the others move."""
    deaf = await bench.chain.deploy("test/NotAReceiver")
    greedy = await bench.chain.deploy("test/GreedyReceiver", word(_ENDLESS))
    refusing = await bench.chain.deploy("test/RefusingReceiver")
    forwarding = await bench.chain.deploy("test/ForwardingReceiver", address_word(fresh_address()))
    recipients = [fresh_address(), deaf, refusing, forwarding, fresh_address(), greedy]
    transfers = await bench.chain.transfers(fresh_address(), recipients)
    transfers[4] = transfers[4]._replace(ticket_id=(await bench.chain.mint(fresh_address(), 1))[0])
    expected = [
        MOVED,
        (Outcome.FAILED, FailureCode.RECIPIENT_REFUSED, True, None),
        (Outcome.FAILED, FailureCode.REVERTED, True, None),
        MOVED,
        (Outcome.FAILED, FailureCode.NOT_OWNER_ON_CHAIN, True, None),
        (Outcome.FAILED, FailureCode.OUT_OF_GAS, True, 1),
    ]
    assert summary(await bench.run(await bench.bind(transfers))) == expected


async def test_bad_singles_have_the_same_codes(bench: Bench) -> None:
    """A single transfer that reverts is told apart by replaying its call."""
    deaf = await bench.chain.deploy("test/NotAReceiver")
    greedy = await bench.chain.deploy("test/GreedyReceiver", word(_ENDLESS))
    refusing = await bench.chain.deploy("test/RefusingReceiver")
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address(), deaf, greedy, refusing])
    results = await bench.run(await bench.bind(transfers, Settlement.SINGLE))
    assert summary(results) == [
        MOVED,
        (Outcome.FAILED, FailureCode.RECIPIENT_REFUSED, True, None),
        (Outcome.FAILED, FailureCode.OUT_OF_GAS, True, 1),
        (Outcome.FAILED, FailureCode.REVERTED, True, None),
    ]
    assert results[3].reason == "no tickets, please"


@pytest.mark.parametrize("settlement", list(Settlement))
async def test_burned_items_go_again_alone(bench: Bench, settlement: Settlement) -> None:
    """With its pack limit of one an item gets a whole transaction's gas: enough for some, and final for the others."""
    hungry = await bench.chain.deploy("test/GreedyReceiver", word(3_000_000))
    endless = await bench.chain.deploy("test/GreedyReceiver", word(_ENDLESS))
    transfers = await bench.chain.transfers(fresh_address(), [hungry, endless])
    first = [r for t in transfers for r in await bench.run(await bench.bind([t], settlement))]
    assert summary(first) == [(Outcome.FAILED, FailureCode.OUT_OF_GAS, True, 1)] * 2
    again = [t._replace(binding_no=2, pack_limit=r.pack_limit) for t, r in zip(transfers, first, strict=True)]
    second = await bench.run(await bench.bind(again, settlement))
    assert summary(second)[0] == MOVED
    assert summary(second)[1][:2] == (Outcome.FAILED, FailureCode.RECIPIENT_REFUSED)


async def test_skipped_items_cost_no_try(bench: Bench) -> None:
    """Items for which greedy neighbours left no gas are skipped, and told how many fit."""
    greedy = await bench.chain.deploy("test/GreedyReceiver", word(_ENDLESS))
    transfers = await bench.chain.transfers(fresh_address(), [greedy] * 6)
    results = await bench.run(await bench.bind(transfers))
    attempted = sum(r.outcome is Outcome.FAILED for r in results)
    assert 1 <= attempted < 6
    assert summary(results)[attempted:] == [(Outcome.SKIPPED, FailureCode.OUT_OF_GAS, False, attempted)] * (
        6 - attempted
    )


async def test_an_earlier_use_of_the_key_decides(bench: Bench) -> None:
    """When the router has seen the key, the transfers take the outcome of the transaction that used it."""
    deaf = await bench.chain.deploy("test/NotAReceiver")
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address(), deaf, fresh_address()])
    (bound,) = await bench.bind(transfers)
    assert bound.key is not None
    data = encode_transfer_many(bound.key, bound.transfers)
    other = (await bench.chain.new_lane())[1]
    await bench.chain.transact(bench.chain.router, data, signer=other)
    await bench.chain.mine(3)
    results = await bench.run([bound])
    assert summary(results) == [MOVED, (Outcome.FAILED, FailureCode.RECIPIENT_REFUSED, True, None), MOVED]


async def test_a_whole_revert_halves_the_batch(bench: Bench) -> None:
    """A router transaction that reverts by itself costs no try and halves the parts, down to the one item."""
    await bench.chain.transact(bench.chain.router, encode_set_operator(bench.lane.signer, allowed=False))
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address() for _ in range(5)])
    results = await bench.run(await bench.bind(transfers))
    assert summary(results) == [(Outcome.FAILED, FailureCode.REVERTED, False, 2)] * 5
    assert results[0].reason is not None
    assert results[0].reason.startswith("the whole transaction reverted")
    one = await bench.run(await bench.bind([transfers[0]._replace(binding_no=2, pack_limit=1)]))
    assert summary(one) == [(Outcome.FAILED, FailureCode.REVERTED, True, 1)]


async def test_refused_bytes_free_their_nonce(bench: Bench) -> None:
    """A transaction refused for good is replaced by a cancel attempt on its nonce, and the next nonce moves on."""
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address() for _ in range(4)])
    refused, *_ = await bench.bind(transfers[:2])
    fine, *_ = await bench.bind(transfers[2:])
    report = await bench.sender.sign_and_send([refused._replace(gas_limit=20_000), fine])
    assert report == SendReport(2, {})
    kinds = [a.kind for a in bench.ledger.attempts[refused.transaction_id]]
    assert kinds == [AttemptKind.PAYLOAD, AttemptKind.CANCEL]
    assert bench.ledger.classes(refused.transaction_id) == [SendClass.FATAL, SendClass.ACCEPTED]
    await bench.chain.mine()
    results = [r for t in await bench.confirm([refused, fine]) for r in t.transfers]
    assert summary(results) == [(Outcome.FAILED, FailureCode.SEND_REFUSED, False, 1)] * 2 + [MOVED] * 2


async def test_a_cancel_after_a_crash_has_the_same_bytes(bench: Bench) -> None:
    """Whoever finds a refused payload later, or at the same time, signs the same cancel attempt."""
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address()])
    (bound,) = await bench.bind(transfers)
    bound = bound._replace(gas_limit=20_000)
    await bench.sender.sign_and_send([bound])
    payload = bench.ledger.attempts[bound.transaction_id][0]
    report = await bench.sender.sign_and_send([bound._replace(attempts=(payload,))])
    assert report == SendReport(1, {})
    assert len(bench.ledger.attempts[bound.transaction_id]) == 2


async def test_the_first_stored_attempt_stands(bench: Bench) -> None:
    """A second signer of the same nonce sends nothing but the bytes that were stored first, used nonce or not."""
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address()])
    bound = await bench.bind(transfers)
    await bench.sender.sign_and_send(bound)
    await bench.chain.mine()
    dearer = bench.sender_with(fees=FeePolicy(base_fee_multiple=30))
    assert await dearer.sign_and_send(bound) == SendReport(0, {})
    (stored,) = bench.ledger.attempts[bound[0].transaction_id]
    late = stored._replace(send_class=None)
    assert await dearer.sign_and_send([bound[0]._replace(attempts=(late,))]) == SendReport(1, {})
    assert [(r.tx_hash, r.send_class) for r in bench.ledger.sends] == [
        (stored.tx_hash, SendClass.ACCEPTED),
        (stored.tx_hash, SendClass.NONCE_USED),
    ]
    assert len(await bench.confirm(bound)) == 1


async def test_attempts_are_stored_before_they_are_sent(bench: Bench) -> None:
    """When the node can't be reached the bytes are stored already, and the lane's condition says so."""
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address()])
    bound = await bench.bind(transfers)

    async def forward(request: httpx.Request) -> httpx.Response:
        if b"eth_sendRawTransaction" in request.content:
            assert bench.ledger.attempts
            raise httpx.ReadTimeout("lost")
        answer = await bench.chain.rpc.call("eth_getBlockByNumber", "latest", False)
        return httpx.Response(200, json={"id": 0, "result": answer})

    async with httpx.AsyncClient(transport=httpx.MockTransport(forward)) as http:
        report = await bench.sender_with(rpc=JsonRpc(http, "http://node")).sign_and_send(bound)
    assert report.delivered == 0
    assert report.conditions[bench.lane].send_class is SendClass.UNKNOWN
    reloaded = [bench.ledger.reload(t) for t in bound]
    assert await bench.sender.sign_and_send(reloaded) == SendReport(1, {})
    await bench.chain.mine()
    assert len(await bench.confirm(bound)) == 1


async def test_a_dropped_transaction_is_sent_again(bench: Bench) -> None:
    """What the node has forgotten goes out again with the same bytes; what it knows isn't sent."""
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address(), fresh_address()])
    bound = await bench.bind(transfers, Settlement.SINGLE)
    await bench.sender.sign_and_send(bound)
    dropped = bench.ledger.attempts[bound[1].transaction_id][0]
    await bench.chain.rpc.call("anvil_dropTransaction", to_hex(dropped.tx_hash))
    assert await bench.sender.resend([bench.ledger.reload(t) for t in bound]) == SendReport(1, {})
    assert [r.tx_hash for r in bench.ledger.sends].count(dropped.tx_hash) == 2
    assert summary(await bench.run(bound)) == [MOVED, MOVED]


async def test_a_lane_without_funds_is_a_condition(bench: Bench) -> None:
    """Missing funds are reported for the lane, and the same bytes go out once there is money."""
    await bench.chain.fund(bench.lane.signer, 1000)
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address()])
    bound = await bench.bind(transfers)
    report = await bench.sender.sign_and_send(bound)
    assert report.conditions[bench.lane].send_class is SendClass.FUNDS
    assert bench.ledger.classes(bound[0].transaction_id) == [SendClass.FUNDS]
    await bench.chain.fund(bench.lane.signer, 10**21)
    assert summary(await bench.run([bench.ledger.reload(t) for t in bound])) == [MOVED]


async def test_a_fee_below_the_base_fee_is_a_condition(bench: Bench) -> None:
    """An offer capped below the base fee is reported for the lane."""
    bound = await bench.bind(await bench.chain.transfers(fresh_address(), [fresh_address()]))
    await bench.chain.rpc.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    await bench.chain.mine()
    report = await bench.sender_with(fees=FeePolicy(cap_wei=1)).sign_and_send(bound)
    assert report.conditions[bench.lane].send_class is SendClass.UNDERPRICED


async def test_an_unknown_lane_is_an_error(bench: Bench) -> None:
    """A worker without a lane's key says so and stores nothing."""
    (bound,) = await bench.bind(await bench.chain.transfers(fresh_address(), [fresh_address()]))
    with pytest.raises(UnknownLaneError):
        await bench.sender.sign_and_send([bound._replace(lane=Lane(1, fresh_address()))])
    assert not bench.ledger.attempts


async def test_only_blocks_at_depth_decide(bench: Bench) -> None:
    """A mined transaction isn't final before its block is as deep as asked for."""
    bound = await bench.bind(await bench.chain.transfers(fresh_address(), [fresh_address()]))
    await bench.sender.sign_and_send(bound)
    sent = [bench.ledger.sent(t) for t in bound]
    deep = Confirmer(bench.chain.rpc, bench.chain.router, depth=3)
    for blocks, final in ((1, 0), (1, 0), (1, 1)):
        await bench.chain.mine(blocks)
        found = await deep.final_receipts(sent)
        assert len(found.by_transaction) == final
        assert found.overtaken == ()


async def test_receipts_of_orphaned_blocks_are_not_final(bench: Bench) -> None:
    """A receipt whose block isn't the chain's block of that height any more proves nothing."""
    bound = await bench.bind(await bench.chain.transfers(fresh_address(), [fresh_address()]))
    await bench.sender.sign_and_send(bound)
    await bench.chain.mine()
    sent = [bench.ledger.sent(t) for t in bound]

    async def lie(request: httpx.Request) -> httpx.Response:
        async with httpx.AsyncClient() as http:
            answer = await http.post(bench.chain.url, content=request.content, headers=dict(request.headers))
        text = answer.text
        if b"eth_getTransactionReceipt" in request.content:
            block: dict[str, Any] = await bench.chain.rpc.call("eth_getBlockByNumber", "latest", False)
            text = text.replace(block["hash"], "0x" + "ab" * 32)
        return httpx.Response(200, text=text)

    async with httpx.AsyncClient(transport=httpx.MockTransport(lie)) as http:
        found = await Confirmer(JsonRpc(http, "http://node"), bench.chain.router).final_receipts(sent)
    assert found.by_transaction == {}


async def test_a_foreign_transaction_on_a_nonce_is_noticed(bench: Bench) -> None:
    """A nonce used by bytes that aren't ours is reported as overtaken, and nothing is concluded for its transfers."""
    bound = await bench.bind(await bench.chain.transfers(fresh_address(), [fresh_address()]))
    await bench.sender.sign_and_send(bound)
    await bench.chain.rpc.call("anvil_dropTransaction", to_hex(bench.ledger.sent(bound[0]).tx_hashes[0]))
    await bench.chain.transact(fresh_address(), b"", signer=bench.signer)
    found = await bench.confirmer.final_receipts([bench.ledger.sent(t) for t in bound])
    assert found.by_transaction == {}
    assert found.overtaken == (bound[0].transaction_id,)
