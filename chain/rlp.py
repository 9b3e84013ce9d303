"""Recursive Length Prefix encoding, as far as transactions need it (Ethereum yellow paper, appendix B)."""

from __future__ import annotations

from collections.abc import Iterable

_SHORT_STRING = 0x80
_SHORT_LIST = 0xC0
_LONGEST_SHORT_PAYLOAD = 55


def encode_bytes(value: bytes) -> bytes:
    """One byte string."""
    if len(value) == 1 and value[0] < _SHORT_STRING:
        return value
    return _prefix(len(value), _SHORT_STRING) + value


def encode_int(value: int) -> bytes:
    """One non-negative integer: big-endian without leading zeros, so zero is the empty string."""
    return encode_bytes(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def encode_list(encoded_items: Iterable[bytes]) -> bytes:
    """A list of items that are encoded already."""
    payload = b"".join(encoded_items)
    return _prefix(len(payload), _SHORT_LIST) + payload


def _prefix(length: int, offset: int) -> bytes:
    if length <= _LONGEST_SHORT_PAYLOAD:
        return bytes((offset + length,))
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((offset + _LONGEST_SHORT_PAYLOAD + len(size),)) + size
