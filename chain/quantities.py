"""Quantities and byte strings as JSON-RPC writes them (execution-apis: hexadecimal with 0x)."""

from __future__ import annotations


def to_hex(value: bytes) -> str:
    """Bytes as 0x text."""
    return "0x" + value.hex()


def to_bytes(text: str) -> bytes:
    """0x text as bytes."""
    return bytes.fromhex(text[2:])


def to_int(text: str) -> int:
    """A quantity as an integer."""
    return int(text, 16)
