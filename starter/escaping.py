"""Texts of strangers made safe for a terminal: what a batch's items hold was written by somebody else."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with control, direction and other invisible characters escaped (`\x1b`, `\n`, `\u202e`)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
