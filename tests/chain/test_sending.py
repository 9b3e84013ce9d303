"""Sending on a real node: order, stored bytes, refusals and lane conditions."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest

from chain.fees import FeePolicy
from chain.quantities import to_hex
from chain.rpc import JsonRpc
from chain.sender import SendReport, UnknownLaneError
from tests.chain.lane_bench import MOVED, LaneBench, summary
from tests.fakes import FakeChainLedger
from tests.real_chain import fresh_address
from workflows.interface.chain import Lane, SendClass, SendResult
from workflows.interface.codes import AttemptKind, FailureCode, Outcome, Settlement


async def test_singles_go_in_nonce_order(bench: LaneBench) -> None:
    """Single transfers, handed over in any order, are accepted lowest nonce first and all moved in one block."""
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address() for _ in range(150)])
    bound = await bench.bind(transfers, Settlement.SINGLE)
    assert summary(await bench.run(bound[::-1])) == [MOVED] * 150
    nonces = {t.transaction_id: t.nonce for t in bound}
    assert [nonces[r.transaction_id] for r in bench.ledger.sends] == list(range(150))


async def test_refused_bytes_free_their_nonce(bench: LaneBench) -> None:
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


async def test_a_cancel_after_a_crash_has_the_same_bytes(bench: LaneBench) -> None:
    """Whoever finds a refused payload later, or at the same time, signs the same cancel attempt."""
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address()])
    (bound,) = await bench.bind(transfers)
    bound = bound._replace(gas_limit=20_000)
    await bench.sender.sign_and_send([bound])
    payload = bench.ledger.attempts[bound.transaction_id][0]
    report = await bench.sender.sign_and_send([bound._replace(attempts=(payload,))])
    assert report == SendReport(1, {})
    assert len(bench.ledger.attempts[bound.transaction_id]) == 2


class OvertakenLedger(FakeChainLedger):
    """Another copy has heard that a node has the bytes, before this one notes its own reply."""

    async def record_sends(self, results: Sequence[SendResult]) -> None:
        await super().record_sends([result._replace(send_class=SendClass.ACCEPTED) for result in results])


async def test_a_cancel_that_does_not_stand_is_not_sent(bench: LaneBench) -> None:
    """Where another copy delivered the payload meanwhile, its nonce gets no other bytes, and the lane is in order."""
    bench.ledger = OvertakenLedger()
    (bound,) = await bench.bind(await bench.chain.transfers(fresh_address(), [fresh_address()]))
    report = await bench.sender_with().sign_and_send([bound._replace(gas_limit=20_000)])
    assert report == SendReport(0, {})
    (payload,) = bench.ledger.attempts[bound.transaction_id]
    assert [result.tx_hash for result in bench.ledger.sends] == [payload.tx_hash]


async def test_the_first_stored_attempt_stands(bench: LaneBench) -> None:
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


async def test_attempts_are_stored_before_they_are_sent(bench: LaneBench) -> None:
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


async def test_a_dropped_transaction_is_sent_again(bench: LaneBench) -> None:
    """What the node has forgotten goes out again with the same bytes; what it knows isn't sent."""
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address(), fresh_address()])
    bound = await bench.bind(transfers, Settlement.SINGLE)
    await bench.sender.sign_and_send(bound)
    dropped = bench.ledger.attempts[bound[1].transaction_id][0]
    await bench.chain.rpc.call("anvil_dropTransaction", to_hex(dropped.tx_hash))
    assert await bench.sender.resend([bench.ledger.reload(t) for t in bound]) == SendReport(1, {})
    assert [r.tx_hash for r in bench.ledger.sends].count(dropped.tx_hash) == 2
    assert summary(await bench.run(bound)) == [MOVED, MOVED]


async def test_a_lane_without_funds_is_a_condition(bench: LaneBench) -> None:
    """Missing funds are reported for the lane, and the same bytes go out once there is money."""
    await bench.chain.fund(bench.lane.signer, 1000)
    transfers = await bench.chain.transfers(fresh_address(), [fresh_address()])
    bound = await bench.bind(transfers)
    report = await bench.sender.sign_and_send(bound)
    assert report.conditions[bench.lane].send_class is SendClass.FUNDS
    assert bench.ledger.classes(bound[0].transaction_id) == [SendClass.FUNDS]
    await bench.chain.fund(bench.lane.signer, 10**21)
    assert summary(await bench.run([bench.ledger.reload(t) for t in bound])) == [MOVED]


async def test_a_fee_below_the_base_fee_is_a_condition(bench: LaneBench) -> None:
    """An offer capped below the base fee is reported for the lane."""
    bound = await bench.bind(await bench.chain.transfers(fresh_address(), [fresh_address()]))
    await bench.chain.rpc.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    await bench.chain.mine()
    report = await bench.sender_with(fees=FeePolicy(cap_wei=1)).sign_and_send(bound)
    assert report.conditions[bench.lane].send_class is SendClass.UNDERPRICED


async def test_an_unknown_lane_is_an_error(bench: LaneBench) -> None:
    """A worker without a lane's key says so and stores nothing."""
    (bound,) = await bench.bind(await bench.chain.transfers(fresh_address(), [fresh_address()]))
    with pytest.raises(UnknownLaneError):
        await bench.sender.sign_and_send([bound._replace(lane=Lane(1, fresh_address()))])
    assert not bench.ledger.attempts
