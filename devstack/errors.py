"""The one error of the development stack: a line that says what went wrong and how to mend it."""

from __future__ import annotations


class StackError(Exception):
    """Something the stack needs is missing, taken or broken; the message is one line with its remedy."""
