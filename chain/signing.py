"""Signs EIP-1559 transactions with keys held in memory; signatures are deterministic (RFC 6979).

Written by hand over libsecp256k1, because eth-account takes six times as long per signature and 0.9 s to import.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from coincurve import PrivateKey

from chain.keccak import keccak256
from chain.rlp import encode_bytes, encode_int, encode_list

_DYNAMIC_FEE_TYPE = b"\x02"
_EMPTY_ACCESS_LIST = b"\xc0"


class UnsignedTransaction(NamedTuple):
    """A type 2 transaction (EIP-1559) without its signature; amounts in wei, no access list."""

    chain_id: int
    nonce: int
    tip_wei: int
    max_fee_wei: int
    gas_limit: int
    to: bytes
    """20 bytes, or none to create a contract."""
    data: bytes
    value_wei: int = 0


class SignedTransaction(NamedTuple):
    """Raw bytes ready for eth_sendRawTransaction, and the hash the node must answer."""

    raw: bytes
    tx_hash: bytes


class Signer(Protocol):
    """Whatever can sign for one account; a key in memory today, a key service later."""

    @property
    def address(self) -> bytes:
        """The account, 20 bytes."""

    def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """Signs one transaction."""


class KeySigner:
    """A private key in memory. Its repr shows the address alone."""

    def __init__(self, private_key: bytes) -> None:
        """Takes the 32 secret bytes.

        Raises:
            ValueError: not a valid secp256k1 key.
        """
        self._key = PrivateKey(private_key)
        self._address = address_of(self._key.public_key.format(compressed=False))

    @property
    def address(self) -> bytes:
        """The account, 20 bytes."""
        return self._address

    def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """Signs one transaction: keccak256(0x02 || rlp(fields)) (EIP-1559)."""
        fields = _encoded_fields(transaction)
        digest = keccak256(_DYNAMIC_FEE_TYPE + encode_list((fields,)))
        signature = self._key.sign_recoverable(digest, hasher=None)
        raw = _DYNAMIC_FEE_TYPE + encode_list((fields, _encoded_signature(signature)))
        return SignedTransaction(raw, keccak256(raw))

    def __repr__(self) -> str:
        return f"KeySigner(0x{self._address.hex()})"


def address_of(public_key: bytes) -> bytes:
    """The account of an uncompressed public key (0x04 and 64 bytes): the last 20 bytes of its hash."""
    return keccak256(public_key[1:])[12:]


def contract_address(creator: bytes, nonce: int) -> bytes:
    """The address of the contract that the creator's transaction with this nonce makes."""
    return keccak256(encode_list((encode_bytes(creator), encode_int(nonce))))[12:]


def _encoded_fields(transaction: UnsignedTransaction) -> bytes:
    return b"".join(
        (
            encode_int(transaction.chain_id),
            encode_int(transaction.nonce),
            encode_int(transaction.tip_wei),
            encode_int(transaction.max_fee_wei),
            encode_int(transaction.gas_limit),
            encode_bytes(transaction.to),
            encode_int(transaction.value_wei),
            encode_bytes(transaction.data),
            _EMPTY_ACCESS_LIST,
        )
    )


def _encoded_signature(signature: bytes) -> bytes:
    """R, s and parity come from libsecp256k1 as 32 + 32 + 1 bytes; RLP wants parity first and no leading zeros."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    return encode_int(signature[64]) + encode_int(r) + encode_int(s)
