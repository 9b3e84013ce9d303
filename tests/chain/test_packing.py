"""Packing, fees and keys: pure rules."""

from __future__ import annotations

from uuid import UUID, uuid4, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.abi import batch_key
from chain.fees import GWEI, Fee, FeePolicy, first_fee, raised_fee
from chain.packing import (
    BATCH_BASE_GAS,
    ITEM_CAP_GAS,
    MAX_TRANSACTION_GAS,
    OPENZEPPELIN,
    RESERVE_GAS,
    UNMEASURED,
    Packer,
    burned_gas,
)
from workflows.interface.chain import ChainTransfer
from workflows.interface.codes import Settlement

_TOKEN, _FOREIGN, _HOLDER, _CONTRACT = (bytes([n]) * 20 for n in range(1, 5))
_PACKER = Packer({_TOKEN: OPENZEPPELIN})
_NOBODY: frozenset[bytes] = frozenset()


def transfers_of(
    amount: int,
    *,
    token: bytes = _TOKEN,
    holder: bytes = _HOLDER,
    to: bytes = b"\x09" * 20,
    pack_limit: int | None = None,
) -> list[ChainTransfer]:
    """Transfers of one holder."""
    return [
        ChainTransfer(uuid5(UUID(int=7), f"{token.hex()}{holder.hex()}{n}"), 1, token, holder, to, n, pack_limit)
        for n in range(amount)
    ]


@pytest.mark.parametrize(
    ("amount", "sizes"), [(1, [1]), (200, [200]), (381, [381]), (500, [250, 250]), (1000, [334, 333, 333])]
)
def test_slices_are_packed_in_equal_parts(amount: int, sizes: list[int]) -> None:
    """Plain transfers go in as few transactions as the gas cap allows, of equal size, in order."""
    transfers = transfers_of(amount)
    planned = _PACKER.plan(transfers, _NOBODY, Settlement.BATCHED)
    assert [len(p.transfers) for p in planned] == sizes
    assert [t for p in planned for t in p.transfers] == transfers


@settings(deadline=None)
@given(
    amount=st.integers(1, 700),
    contracts=st.integers(0, 700),
    token=st.sampled_from([_TOKEN, _FOREIGN]),
    pack_limit=st.sampled_from([None, 2, 40, 1000]),
)
def test_every_part_fits_the_gas_cap(amount: int, contracts: int, token: bytes, pack_limit: int | None) -> None:
    """Whatever the mix, each transfer is packed once, and a part has its estimates, one item's cap and the reserve."""
    plain = transfers_of(amount, token=token, pack_limit=pack_limit)
    transfers = [t._replace(to=_CONTRACT) if n < contracts else t for n, t in enumerate(plain)]
    gas = OPENZEPPELIN if token == _TOKEN else UNMEASURED
    planned = _PACKER.plan(transfers, frozenset({_CONTRACT}), Settlement.BATCHED)
    assert [t for p in planned for t in p.transfers] == transfers
    for part in planned:
        estimates = sum(gas.batched_code if t.to == _CONTRACT else gas.batched_plain for t in part.transfers)
        assert part.gas_limit == BATCH_BASE_GAS + estimates + ITEM_CAP_GAS + RESERVE_GAS <= MAX_TRANSACTION_GAS
        assert pack_limit is None or len(part.transfers) <= pack_limit


def test_an_item_that_burned_its_cap_goes_alone_with_all_gas() -> None:
    """A pack limit of one means a transaction of its own with the largest gas limit, in both settlements."""
    transfers = [*transfers_of(3), *transfers_of(2, holder=b"\x08" * 20, pack_limit=1)]
    batched = _PACKER.plan(transfers, _NOBODY, Settlement.BATCHED)
    assert sorted((len(p.transfers), p.gas_limit == MAX_TRANSACTION_GAS) for p in batched) == [
        (1, True),
        (1, True),
        (3, False),
    ]
    single = _PACKER.plan(transfers[3:4], _NOBODY, Settlement.SINGLE)
    assert single[0].gas_limit == MAX_TRANSACTION_GAS


def test_holders_and_tokens_never_share_a_transaction() -> None:
    """The router takes one token and one holder per call, so each pair has transactions of its own."""
    groups = [transfers_of(5), transfers_of(5, token=_FOREIGN), transfers_of(5, holder=_CONTRACT)]
    planned = _PACKER.plan([t for rows in zip(*groups, strict=True) for t in rows], _NOBODY, Settlement.BATCHED)
    assert sorted(len(p.transfers) for p in planned) == [5, 5, 5]
    assert all(len({(t.token, t.holder) for t in p.transfers}) == 1 for p in planned)


def test_single_settlement_has_one_transaction_each_and_no_key() -> None:
    """Single transfers go one by one, without a router key, with more gas for contracts."""
    transfers = [*transfers_of(2), *transfers_of(1, to=_CONTRACT)]
    planned = _PACKER.plan(transfers, frozenset({_CONTRACT}), Settlement.SINGLE)
    assert [(len(p.transfers), p.key, p.gas_limit) for p in planned] == [
        (1, None, OPENZEPPELIN.single_plain),
        (1, None, OPENZEPPELIN.single_plain),
        (1, None, OPENZEPPELIN.single_code),
    ]


def test_a_key_names_transfers_and_bindings_in_order() -> None:
    """The key is the same for the same bindings in the same order only, so a retry of any of them has a new one."""
    first, second = ChainTransfer(uuid4(), 1, _TOKEN, _HOLDER, _CONTRACT, 1), transfers_of(1)[0]
    key = batch_key([first, second])
    assert key == batch_key([first, second])
    assert len({key, batch_key([second, first]), batch_key([first._replace(binding_no=2), second])}) == 3


@given(base_fee=st.integers(0, 10**15))
def test_the_first_fee_is_twenty_base_fees_below_the_cap(base_fee: int) -> None:
    """The offer is 20 base fees and the tip, never above the cap, and the tip never above the offer."""
    policy = FeePolicy()
    fee = first_fee(policy, base_fee)
    assert fee.max_fee_wei == min(20 * base_fee + GWEI, policy.cap_wei)
    assert fee.tip_wei <= fee.max_fee_wei


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_a_raised_fee_may_replace(max_fee: int, tip: int) -> None:
    """Both fields rise by at least the 10% that nodes ask for, and the order of the two is kept."""
    highest = Fee(max(max_fee, tip), min(max_fee, tip))
    raised = raised_fee(highest)
    assert raised.max_fee_wei * 10 >= highest.max_fee_wei * 11
    assert raised.tip_wei * 10 >= highest.tip_wei * 11
    assert raised.tip_wei <= raised.max_fee_wei


def test_burning_is_told_by_the_gas_used() -> None:
    """A reverted transaction that used seven eighths of its gas or more has run out of it."""
    assert burned_gas(875_000, 1_000_000)
    assert not burned_gas(874_999, 1_000_000)
