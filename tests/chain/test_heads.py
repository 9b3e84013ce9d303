"""The chain's state, and whether it fits the ledger's memory."""

from __future__ import annotations

import pytest

from chain.heads import (
    Account,
    ChainBehindLedgerError,
    ForeignNonceError,
    NotOperatorError,
    check_lane,
    check_operators,
    first_nonce,
    read_accounts,
    read_chain_id,
    read_head,
)
from chain.quantities import to_int
from chain.recipients import Recipients
from tests.real_chain import RealChain, fresh_address
from workflows.interface.chain import Lane

_LANE = Lane(31337, b"\x05" * 20)


async def test_head_and_chain_id_are_read(real_chain: RealChain) -> None:
    """The head is the latest block with its hash and base fee."""
    head = await read_head(real_chain.rpc)
    assert head.number == to_int(await real_chain.rpc.call("eth_blockNumber"))
    assert len(head.block_hash) == 32
    assert head.base_fee_wei > 0
    assert await read_chain_id(real_chain.rpc) == 31337


async def test_accounts_show_what_is_mined_and_pending(real_chain: RealChain) -> None:
    """Nonces and balance of several accounts come in their order."""
    stranger = fresh_address()
    await real_chain.fund(stranger, 12345)
    admin, other = await read_accounts(real_chain.rpc, [real_chain.admin.address, stranger])
    assert admin.latest_nonce == admin.pending_nonce > 0
    assert other == Account(0, 0, 12345)


def test_a_new_lane_starts_at_its_accounts_nonce() -> None:
    """A lane that the ledger has never seen begins where its account stands, unless something is pending there."""
    assert first_nonce(_LANE, Account(7, 7, 1)) == 7
    with pytest.raises(ForeignNonceError, match="key is used elsewhere"):
        first_nonce(_LANE, Account(7, 8, 1))


@pytest.mark.parametrize(("latest", "pending", "settled", "allocated"), [(5, 5, 5, 5), (5, 9, 5, 9), (7, 7, 5, 9)])
def test_a_chain_that_fits_passes(latest: int, pending: int, settled: int, allocated: int) -> None:
    """Settled nonces are mined, and whatever is mined or pending was handed out."""
    check_lane(_LANE, Account(latest, pending, 1), settled, allocated)


def test_a_chain_behind_the_ledger_is_refused_with_the_remedy() -> None:
    """Fewer mined nonces than settled ones mean another chain or an old state; the text says what to do."""
    with pytest.raises(ChainBehindLedgerError, match=r"CHAIN_RPC_URL.*make clean"):
        check_lane(_LANE, Account(3, 3, 1), settled_nonces=4, allocated_nonces=4)


@pytest.mark.parametrize("account", [Account(6, 6, 1), Account(4, 6, 1)])
def test_a_foreign_use_of_a_key_is_refused(account: Account) -> None:
    """More nonces mined or pending than handed out: another user of the key or a database set back; both are told."""
    with pytest.raises(ForeignNonceError, match=r"key is used elsewhere.*restored from a backup"):
        check_lane(_LANE, account, settled_nonces=4, allocated_nonces=5)


async def test_missing_operators_are_named(real_chain: RealChain) -> None:
    """A lane that isn't an operator, or contracts that aren't there, are found before anything is sent."""
    lane, _ = await real_chain.new_lane()
    await check_operators(real_chain.rpc, real_chain.router, real_chain.tickets, [lane.signer])
    stranger = fresh_address()
    with pytest.raises(NotOperatorError, match=stranger.hex()):
        await check_operators(real_chain.rpc, real_chain.router, real_chain.tickets, [lane.signer, stranger])
    with pytest.raises(NotOperatorError) as caught:
        await check_operators(real_chain.rpc, fresh_address(), fresh_address(), [lane.signer])
    assert len(str(caught.value).splitlines()) == 3


async def test_addresses_without_code_are_found(real_chain: RealChain) -> None:
    """An address where no contract lives is told from one where one does."""
    nowhere = fresh_address()
    assert await Recipients(real_chain.rpc).with_code([real_chain.router, nowhere]) == {real_chain.router}
