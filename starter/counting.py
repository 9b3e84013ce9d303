"""Counts with their nouns, for people; loads nothing, for the client uses it too."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """The count with its noun: "1 item", "2,000 items"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
