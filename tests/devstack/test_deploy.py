"""Constructor arguments as the contract ABI writes them, and the wallets of dev users."""

from __future__ import annotations

from eth_abi import encode  # type: ignore[attr-defined]  # re-exported without __all__

from chain.abi import address_word
from chain.quantities import to_bytes
from devstack.chain_node import TEST_DEPLOYER
from devstack.deploy import constructor_arguments, dev_wallet, lane_signers


def test_constructor_arguments_match_the_reference_encoder() -> None:
    """Two texts and an address are encoded as eth_abi does."""
    ours = constructor_arguments("Tickets", "TKT", address_word(to_bytes(TEST_DEPLOYER)))
    assert ours == encode(["string", "string", "address"], ["Tickets", "TKT", TEST_DEPLOYER])


def test_dev_wallets_differ_by_user_and_stay_the_same() -> None:
    """A dev user's wallet follows from the name alone."""
    assert dev_wallet("ada") == dev_wallet("ada")
    assert dev_wallet("ada") != dev_wallet("bob")
    assert len(dev_wallet("ada")) == 20


def test_lanes_are_anvils_test_accounts() -> None:
    """The lane keys are those of anvil's published test accounts, so the node has funded them."""
    assert lane_signers()[0].address == to_bytes("0x70997970c51812dc3a010c7d01b50e0d17dc79c8")
    assert len({signer.address for signer in lane_signers()}) == 4
