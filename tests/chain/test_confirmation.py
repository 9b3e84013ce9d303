"""Confirming on a real node: what became of each transfer, and that only final blocks decide."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from chain.abi import address_word, encode_set_operator, encode_transfer_many, word
from chain.confirmation import Confirmer
from chain.quantities import to_hex
from chain.rpc import JsonRpc
from chain.sender import SendReport
from tests.chain.lane_bench import MOVED, LaneBench, summary
from tests.real_chain import fresh_address
from workflows.interface.codes import FailureCode, Outcome, Settlement

_ENDLESS = 10**9


async def test_a_batch_is_moved_and_proved(bench: LaneBench) -> None:
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


async def test_bad_items_have_their_codes(bench: LaneBench) -> None:
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


async def test_bad_singles_have_the_same_codes(bench: LaneBench) -> None:
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
async def test_burned_items_go_again_alone(bench: LaneBench, settlement: Settlement) -> None:
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


async def test_skipped_items_cost_no_try(bench: LaneBench) -> None:
    """Items for which greedy neighbours left no gas are skipped, and told how many fit."""
    greedy = await bench.chain.deploy("test/GreedyReceiver", word(_ENDLESS))
    transfers = await bench.chain.transfers(fresh_address(), [greedy] * 6)
    results = await bench.run(await bench.bind(transfers))
    attempted = sum(r.outcome is Outcome.FAILED for r in results)
    assert 1 <= attempted < 6
    assert summary(results)[attempted:] == [(Outcome.SKIPPED, FailureCode.OUT_OF_GAS, False, attempted)] * (
        6 - attempted
    )


async def test_an_earlier_use_of_the_key_decides(bench: LaneBench) -> None:
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


async def test_a_whole_revert_halves_the_batch(bench: LaneBench) -> None:
    """A router transaction that reverts by itself costs no try and halves the parts, down to the one item."""
    await bench.chain.transact(bench.chain.router, encode_set_operator(bench.lane.signer, allowed=False))
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address() for _ in range(5)])
    results = await bench.run(await bench.bind(transfers))
    assert summary(results) == [(Outcome.FAILED, FailureCode.REVERTED, False, 2)] * 5
    assert results[0].reason is not None
    assert results[0].reason.startswith("the whole transaction reverted")
    one = await bench.run(await bench.bind([transfers[0]._replace(binding_no=2, pack_limit=1)]))
    assert summary(one) == [(Outcome.FAILED, FailureCode.REVERTED, True, 1)]


async def test_only_blocks_at_depth_decide(bench: LaneBench) -> None:
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


async def test_receipts_of_orphaned_blocks_are_not_final(bench: LaneBench) -> None:
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


async def test_a_foreign_transaction_on_a_nonce_is_noticed(bench: LaneBench) -> None:
    """A nonce used by bytes that aren't ours is reported as overtaken, and nothing is concluded for its transfers."""
    bound = await bench.bind(await bench.chain.transfers(fresh_address(), [fresh_address()]))
    await bench.sender.sign_and_send(bound)
    await bench.chain.rpc.call("anvil_dropTransaction", to_hex(bench.ledger.sent(bound[0]).tx_hashes[0]))
    await bench.chain.transact(fresh_address(), b"", signer=bench.signer)
    found = await bench.confirmer.final_receipts([bench.ledger.sent(t) for t in bound])
    assert found.by_transaction == {}
    assert found.overtaken == (bound[0].transaction_id,)
