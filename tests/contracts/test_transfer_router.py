"""TransferRouter on a real node: who may use it, and that no item costs another."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from chain.abi import (
    ITEM_FAILED,
    ITEMS_SKIPPED,
    RouterOutcome,
    address_word,
    batch_key,
    encode_set_operator,
    encode_transfer_many,
    move_of,
    read_events,
    router_outcome,
    selector,
    word,
)
from chain.packing import BATCH_BASE_GAS, ITEM_CAP_GAS, OPENZEPPELIN, RESERVE_GAS
from chain.quantities import to_bytes, to_hex, to_int
from chain.revert_reasons import explain_revert
from chain.rpc import RpcError
from chain.send_errors import revert_data
from chain.signing import KeySigner
from tests.real_chain import RealChain, fresh_address
from workflows.interface.chain import ChainTransfer
from workflows.interface.codes import FailureCode

_ENDLESS = 10**9
_MOST_GAS_PER_TICKET = {1: 98_000, 10: 43_000, 100: 37_500, 250: 37_000}


@pytest.fixture(scope="module")
async def operator(real_chain: RealChain) -> KeySigner:
    """A signer that may use the router."""
    return (await real_chain.new_lane())[1]


async def execute(
    chain: RealChain, operator: KeySigner, transfers: list[ChainTransfer], gas: int = 15_000_000
) -> tuple[RouterOutcome, list[bool], int]:
    """Runs one batch; the router's outcome, which items moved, and the gas used."""
    key = batch_key(transfers)
    data = encode_transfer_many(key, transfers)
    receipt = await chain.transact(chain.router, data, gas=gas, signer=operator)
    events = read_events(receipt["logs"])
    outcome = router_outcome(events, chain.router, key)
    assert outcome is not None
    return outcome, [move_of(t) in events.moves for t in transfers], to_int(receipt["gasUsed"])


async def revert_of(chain: RealChain, sender: bytes, data: bytes) -> bytes:
    """The revert data of a call to the router that must fail."""
    call = {"from": to_hex(sender), "to": to_hex(chain.router), "data": to_hex(data)}
    with pytest.raises(RpcError) as caught:
        await chain.rpc.call("eth_call", call, "latest")
    reason = revert_data(caught.value)
    assert reason is not None
    return reason


async def test_only_operators_move_tickets(real_chain: RealChain) -> None:
    """A stranger's batch reverts as a whole."""
    transfers = await real_chain.transfers(fresh_address(), [fresh_address()])
    reason = await revert_of(real_chain, fresh_address(), encode_transfer_many(batch_key(transfers), transfers))
    assert reason[:4] == selector("NotOperator(address)")


async def test_only_the_admin_names_operators(real_chain: RealChain, operator: KeySigner) -> None:
    """Neither contract lets an operator name another."""
    data = encode_set_operator(fresh_address(), allowed=True)
    reason = await revert_of(real_chain, operator.address, data)
    assert reason[:4] == selector("OwnableUnauthorizedAccount(address)")
    await real_chain.transact(real_chain.tickets, data, signer=operator, succeeds=False)


async def test_a_key_is_accepted_once(real_chain: RealChain, operator: KeySigner) -> None:
    """The same key again reverts with KeyUsed, and the router tells the block of the first use."""
    transfers = await real_chain.transfers(fresh_address(), [fresh_address()])
    key = batch_key(transfers)
    await execute(real_chain, operator, transfers)
    reason = await revert_of(real_chain, operator.address, encode_transfer_many(key, transfers))
    assert reason == selector("KeyUsed(bytes32)") + key
    data = to_hex(selector("blockOf(bytes32)") + key)
    block = await real_chain.rpc.call("eth_call", {"to": to_hex(real_chain.router), "data": data}, "latest")
    assert to_int(block) == to_int(await real_chain.rpc.call("eth_blockNumber"))


async def test_operators_cannot_mint(real_chain: RealChain, operator: KeySigner) -> None:
    """Moving a ticket that doesn't exist away from the zero address fails, though operators act for every holder."""
    transfers = [ChainTransfer(uuid4(), 1, real_chain.tickets, bytes(20), fresh_address(), 10**50)]
    outcome, moved, _ = await execute(real_chain, operator, transfers)
    assert moved == [False]
    assert explain_revert(outcome.failures[0].reason)[1] == "ERC721NonexistentToken"


async def test_lists_must_match_and_the_token_must_exist(real_chain: RealChain, operator: KeySigner) -> None:
    """Unequal lists, none, and a token without code revert as a whole."""
    transfers = await real_chain.transfers(fresh_address(), [fresh_address()])
    head = selector("transferMany(bytes32,address,address,address[],uint256[])") + word(1)
    arguments = address_word(real_chain.tickets) + address_word(fresh_address()) + word(0xA0) + word(0xC0)
    for lists in (word(0) + word(0), word(0) + word(1) + word(7)):
        reason = await revert_of(real_chain, operator.address, head + arguments + lists)
        assert reason[:4] == selector("LengthMismatch(uint256,uint256)")
    elsewhere = [transfers[0]._replace(token=fresh_address())]
    reason = await revert_of(real_chain, operator.address, encode_transfer_many(batch_key(elsewhere), elsewhere))
    assert reason[:4] == selector("NotAContract(address)")


async def test_bad_items_fail_alone(real_chain: RealChain, operator: KeySigner) -> None:
    """Refusals, a stranger's ticket and an unknown ticket fail with their reasons, and all others move."""
    refusing = await real_chain.deploy("test/RefusingReceiver")
    deaf = await real_chain.deploy("test/NotAReceiver")
    good = fresh_address()
    transfers = await real_chain.transfers(fresh_address(), [good, refusing, good, deaf, good, good, good])
    stranger = (await real_chain.mint(fresh_address(), 1))[0]
    transfers[4] = transfers[4]._replace(ticket_id=stranger)
    transfers[5] = transfers[5]._replace(ticket_id=10**60)
    outcome, moved, _ = await execute(real_chain, operator, transfers)
    assert moved == [True, False, True, False, False, False, True]
    assert outcome.attempted == 7
    assert {index: explain_revert(failure.reason) for index, failure in outcome.failures.items()} == {
        1: (FailureCode.REVERTED, "no tickets, please"),
        3: (FailureCode.RECIPIENT_REFUSED, "ERC721InvalidReceiver"),
        4: (FailureCode.NOT_OWNER_ON_CHAIN, "ERC721IncorrectOwner"),
        5: (FailureCode.NOT_OWNER_ON_CHAIN, "ERC721NonexistentToken"),
    }
    assert not any(failure.burned_cap for failure in outcome.failures.values())


async def test_a_greedy_receiver_burns_its_own_cap_only(real_chain: RealChain, operator: KeySigner) -> None:
    """An item that never stops is cut off at its cap and marked, and its neighbours move."""
    greedy = await real_chain.deploy("test/GreedyReceiver", word(_ENDLESS))
    transfers = await real_chain.transfers(fresh_address(), [fresh_address(), greedy, fresh_address()])
    outcome, moved, gas_used = await execute(real_chain, operator, transfers)
    assert moved == [True, False, True]
    assert outcome.failures[1].burned_cap
    assert gas_used < BATCH_BASE_GAS + 2 * OPENZEPPELIN.batched_plain + ITEM_CAP_GAS


async def test_alone_an_item_gets_all_the_gas(real_chain: RealChain, operator: KeySigner) -> None:
    """A receiver that needs more than the cap takes its ticket in a transaction of its own."""
    hungry = await real_chain.deploy("test/GreedyReceiver", word(2_000_000))
    together = await real_chain.transfers(fresh_address(), [hungry, fresh_address()])
    outcome, moved, _ = await execute(real_chain, operator, together)
    assert outcome.failures[0].burned_cap
    assert moved == [False, True]
    alone = [together[0]._replace(binding_no=2)]
    outcome, moved, _ = await execute(real_chain, operator, alone)
    assert moved == [True]


async def test_alone_a_greedy_receiver_fails_without_reverting_the_transaction(
    real_chain: RealChain, operator: KeySigner
) -> None:
    """An item that burns a whole transaction's gas still leaves enough for the events that say so."""
    greedy = await real_chain.deploy("test/GreedyReceiver", word(_ENDLESS))
    outcome, moved, _ = await execute(real_chain, operator, await real_chain.transfers(fresh_address(), [greedy]))
    assert outcome.failures[0].burned_cap
    assert moved == [False]


@pytest.mark.parametrize("size", [1_000, 10_000, 10_000_000])
async def test_a_return_bomb_costs_nobody_else(real_chain: RealChain, operator: KeySigner, size: int) -> None:
    """However many bytes a receiver reverts with, at most 256 of them are copied and the others move."""
    bomb = await real_chain.deploy("test/ReturnBombReceiver", word(size))
    transfers = await real_chain.transfers(fresh_address(), [bomb, fresh_address(), bomb, fresh_address()])
    outcome, moved, _ = await execute(real_chain, operator, transfers)
    assert moved == [False, True, False, True]
    assert all(len(failure.reason) <= 256 for failure in outcome.failures.values())


async def test_a_receiver_that_calls_back_gains_nothing(real_chain: RealChain, operator: KeySigner) -> None:
    """From inside its hook a receiver can neither run a batch, not even as an operator, nor take another ticket."""
    receiver = await real_chain.deploy("test/ReenteringReceiver", address_word(real_chain.router))
    await real_chain.transact(real_chain.router, encode_set_operator(receiver, allowed=True))
    transfers = await real_chain.transfers(fresh_address(), [receiver, fresh_address()])
    _, moved, _ = await execute(real_chain, operator, transfers)
    assert moved == [True, True]
    call = {"to": to_hex(receiver), "data": to_hex(selector("refusedCalls()"))}
    assert to_int(await real_chain.rpc.call("eth_call", call, "latest")) == 2
    assert await real_chain.owner_of(transfers[1].ticket_id) == transfers[1].to


async def test_a_ticket_passed_on_counts_as_moved(real_chain: RealChain, operator: KeySigner) -> None:
    """The receipt shows the transfer to a receiver that doesn't own the ticket any more."""
    beneficiary = fresh_address()
    receiver = await real_chain.deploy("test/ForwardingReceiver", address_word(beneficiary))
    transfers = await real_chain.transfers(fresh_address(), [receiver])
    _, moved, _ = await execute(real_chain, operator, transfers)
    assert moved == [True]
    assert await real_chain.owner_of(transfers[0].ticket_id) == beneficiary


async def test_items_without_enough_gas_are_skipped(real_chain: RealChain, operator: KeySigner) -> None:
    """Greedy items use up the gas; those that are left get no try, and one event says from where on."""
    greedy = await real_chain.deploy("test/GreedyReceiver", word(_ENDLESS))
    transfers = await real_chain.transfers(fresh_address(), [greedy] * 4 + [fresh_address()] * 3)
    key = batch_key(transfers)
    data = encode_transfer_many(key, transfers)
    receipt = await real_chain.transact(real_chain.router, data, gas=1_200_000, signer=operator)
    events = read_events(receipt["logs"])
    outcome = router_outcome(events, real_chain.router, key)
    assert outcome is not None
    assert outcome.attempted == 3
    assert set(outcome.failures) == {0, 1, 2}
    assert not events.moves
    skips = [log for log in events.others if log["topics"][0] == ITEMS_SKIPPED]
    assert [to_int(log["data"]) for log in skips] == [3]


async def test_the_planned_gas_lets_one_item_burn_its_cap(real_chain: RealChain, operator: KeySigner) -> None:
    """With the gas limit that packing computes, a greedy last item still leaves nobody skipped."""
    greedy = await real_chain.deploy("test/GreedyReceiver", word(_ENDLESS))
    transfers = await real_chain.transfers(fresh_address(), [fresh_address() for _ in range(20)] + [greedy])
    gas = BATCH_BASE_GAS + 20 * OPENZEPPELIN.batched_plain + OPENZEPPELIN.batched_code + ITEM_CAP_GAS + RESERVE_GAS
    outcome, moved, _ = await execute(real_chain, operator, transfers, gas)
    assert outcome.attempted == 21
    assert moved == [True] * 20 + [False]


async def test_reasons_are_logged_as_they_came(real_chain: RealChain, operator: KeySigner) -> None:
    """A failed item's event carries key, index and the revert data."""
    refusing = await real_chain.deploy("test/RefusingReceiver")
    transfers = await real_chain.transfers(fresh_address(), [refusing])
    key = batch_key(transfers)
    data = encode_transfer_many(key, transfers)
    receipt = await real_chain.transact(real_chain.router, data, signer=operator)
    failed = [log for log in receipt["logs"] if log["topics"][0] == ITEM_FAILED]
    assert [log["topics"][1] for log in failed] == [to_hex(key)]
    assert b"no tickets, please" in to_bytes(failed[0]["data"])


@pytest.mark.parametrize("tickets", sorted(_MOST_GAS_PER_TICKET))
async def test_gas_per_ticket(
    real_chain: RealChain, operator: KeySigner, tickets: int, record_property: Callable[[str, object], None]
) -> None:
    """A ticket to a fresh account takes no more gas than what was measured when the constants were set."""
    recipients = [fresh_address() for _ in range(tickets)]
    transfers = await real_chain.transfers(fresh_address(), recipients)
    _, moved, gas_used = await execute(real_chain, operator, transfers)
    record_property("gas_per_ticket", gas_used / tickets)
    assert all(moved)
    assert gas_used / tickets <= _MOST_GAS_PER_TICKET[tickets]
    assert gas_used <= BATCH_BASE_GAS + tickets * OPENZEPPELIN.batched_plain
