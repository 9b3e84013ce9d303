"""What to offer for gas. Pure."""

from __future__ import annotations

from typing import NamedTuple

GWEI = 10**9


class Fee(NamedTuple):
    """The two fee fields of EIP-1559, in wei per gas; the tip is never above the maximum."""

    max_fee_wei: int
    tip_wei: int


class FeePolicy(NamedTuple):
    """How much to offer at first, and never more than what."""

    base_fee_multiple: int = 20
    """Nothing raises a fee later on yet, so the first offer outlives 25 full blocks (each adds 12.5% to the base fee).
    Only the base fee of the block is paid."""
    tip_wei: int = GWEI
    cap_wei: int = 1_000 * GWEI
    """A mistaken base fee must not cost a fortune."""


def first_fee(policy: FeePolicy, base_fee_wei: int) -> Fee:
    """The fee of a nonce's first attempt."""
    max_fee = min(policy.base_fee_multiple * base_fee_wei + policy.tip_wei, policy.cap_wei)
    return Fee(max_fee, min(policy.tip_wei, max_fee))


def raised_fee(highest: Fee) -> Fee:
    """The fee that may replace an attempt: 12.5% more in both fields, rounded up (geth, erigon and besu ask for 10%).

    A function of the stored attempt alone, so that two copies sign the same bytes.
    """
    return Fee(_raised(highest.max_fee_wei), _raised(highest.tip_wei))


def _raised(fee_wei: int) -> int:
    return fee_wei + -(-fee_wei // 8)
