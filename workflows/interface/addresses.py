"""Addresses and recipients: EIP-55 checksums and what a line's `to` means.

The Keccak-256 function is passed in: the standard library has none, and a Python one costs half a millisecond a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from workflows.interface.codes import FailureCode

Keccak = Callable[[bytes], bytes]

_HEX_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
ZERO_ADDRESS = bytes(20)


class InvalidAddressError(ValueError):
    """The text is no usable address; `code` says why."""

    def __init__(self, code: FailureCode, text: str) -> None:
        super().__init__(f"{text!r}: {code.meaning}")
        self.code = code
        self.text = text


def checksum_address(address: bytes, keccak256: Keccak) -> str:
    """The 20 bytes as 0x text with the mixed-case checksum of EIP-55."""
    digits = address.hex()
    digest = keccak256(digits.encode()).hex()
    return "0x" + "".join(c.upper() if h > "7" else c for c, h in zip(digits, digest, strict=False))


def parse_address(text: str, keccak256: Keccak) -> bytes:
    """The 20 bytes of an 0x address.

    Raises:
        InvalidAddressError: not 0x and 40 digits, a wrong EIP-55 checksum in mixed case, or the zero address.
    """
    if not _HEX_ADDRESS.fullmatch(text):
        raise InvalidAddressError(FailureCode.INVALID_ADDRESS, text)
    digits = text[2:]
    address = bytes.fromhex(digits)
    if digits not in (digits.lower(), digits.upper()) and checksum_address(address, keccak256) != text:
        raise InvalidAddressError(FailureCode.ADDRESS_CHECKSUM, text)
    if address == ZERO_ADDRESS:
        raise InvalidAddressError(FailureCode.ZERO_ADDRESS, text)
    return address


def is_address_text(to: str) -> bool:
    """Whether a recipient is meant as an address (starts with 0x) and not as a user id."""
    return to[:2] in ("0x", "0X")


def canonical_recipient(to: str, keccak256: Keccak) -> str:
    """A recipient's canonical text: a valid address in lower case, anything else unchanged."""
    if not is_address_text(to):
        return to
    try:
        return "0x" + parse_address(to, keccak256).hex()
    except InvalidAddressError:
        return to
