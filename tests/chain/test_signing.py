"""Signatures, RLP, hashes and keystores against eth-account and published vectors."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import eth_account
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.keccak import keccak256
from chain.keystore import KeystoreError, encrypt_key, load_signers, write_keystore
from chain.signing import KeySigner, UnsignedTransaction, contract_address


@settings(deadline=None)
@given(
    chain_id=st.integers(1, 2**53),
    nonce=st.integers(0, 2**64 - 1),
    fees=st.tuples(st.integers(0, 10**13), st.integers(0, 10**13)),
    gas_limit=st.integers(21_000, 30_000_000),
    destination=st.tuples(st.binary(min_size=20, max_size=20), st.binary(max_size=300)),
)
def test_raw_bytes_equal_eth_accounts(
    chain_id: int, nonce: int, fees: tuple[int, int], gas_limit: int, destination: tuple[bytes, bytes]
) -> None:
    """Any transaction is signed to the very bytes and hash that eth-account makes."""
    to, data = destination
    key = keccak256(data + to)
    unsigned = UnsignedTransaction(chain_id, nonce, min(fees), max(fees), gas_limit, to, data)
    signed = KeySigner(key).sign(unsigned)
    fields: dict[str, Any] = {
        "type": 2,
        "chainId": chain_id,
        "nonce": nonce,
        "maxPriorityFeePerGas": min(fees),
        "maxFeePerGas": max(fees),
        "gas": gas_limit,
        "to": to,
        "value": 0,
        "data": data,
    }
    expected = eth_account.Account.sign_transaction(fields, key)
    assert signed.raw == bytes(expected.raw_transaction)
    assert signed.tx_hash == bytes(expected.hash)


def test_addresses_are_derived_as_published() -> None:
    """The well-known test key has its well-known account, and its first contract its known address."""
    signer = KeySigner(bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))
    assert signer.address.hex() == "f39fd6e51aad88f6f4ce6ab8827279cfffb92266"
    assert contract_address(signer.address, 0).hex() == "5fbdb2315678afecb367f032d93f642f64180aa3"


def test_a_signer_never_shows_its_key() -> None:
    """The repr of a signer holds its address and nothing of its key."""
    key = secrets.token_bytes(32)
    assert key.hex() not in repr(KeySigner(key))


def test_keystores_are_read_back(tmp_path: Path) -> None:
    """Several keys written with a password give the same signers in the same order, in a file of the owner's alone."""
    keys = [secrets.token_bytes(32) for _ in range(3)]
    path = tmp_path / "lanes.json"
    write_keystore(path, keys, "pass word")
    assert [s.address for s in load_signers(path, "pass word")] == [KeySigner(key).address for key in keys]
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(key.hex() in path.read_text() for key in keys)


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
def test_other_tools_keystores_are_read(tmp_path: Path, kdf: Literal["scrypt", "pbkdf2"]) -> None:
    """A keystore written by eth-account opens with its password, and eth-account opens ours."""
    key = secrets.token_bytes(32)
    path = tmp_path / "key.json"
    path.write_text(json.dumps(eth_account.Account.encrypt(key, "secret", kdf=kdf, iterations=4096)))
    assert load_signers(path, "secret")[0].address == KeySigner(key).address
    assert bytes(eth_account.Account.decrypt(encrypt_key(key, "secret"), "secret")) == key


@pytest.mark.parametrize("content", ["", "[]x", "{}", '{"version": 1}', '{"version": 3, "crypto": 5}'])
def test_broken_keystores_are_refused_clearly(tmp_path: Path, content: str) -> None:
    """What isn't a version 3 keystore is refused with the file's name."""
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(KeystoreError, match=r"broken\.json"):
        load_signers(path, "x")


def test_a_wrong_password_is_told_without_secrets(tmp_path: Path) -> None:
    """A wrong password is named as the cause, and the text holds neither password nor key."""
    path = tmp_path / "lanes.json"
    write_keystore(path, [b"\1" * 32], "right")
    with pytest.raises(KeystoreError, match="password doesn't open it") as caught:
        load_signers(path, "hunter2")
    assert "hunter2" not in str(caught.value)


def test_the_chain_room_imports_no_slow_library() -> None:
    """Importing what signs and sends loads neither eth-account nor web3 nor eth-keyfile."""
    code = (
        "import sys, chain.sender, chain.confirmation, chain.keystore;"
        "sys.exit(any(m in sys.modules for m in ('eth_account', 'web3', 'eth_keyfile', 'eth_utils')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
