"""What a request must look like and its fingerprint: the same rules for files, inline items and the database."""

from __future__ import annotations

import hashlib
import json
import re
from json.encoder import encode_basestring

from workflows.interface.options import BatchOptions

MAX_USER_ID_BYTES = 64
MAX_TO_BYTES = 64
MAX_REASON_BYTES = 500
MAX_TICKET_ID_DIGITS = 100
"""A written ticket id may carry leading zeros; the number itself must fit 256 bits."""
MAX_IDEMPOTENCY_KEY_BYTES = 256
_DIGITS = re.compile(r"[0-9]+")
_TOO_BIG = 1 << 256


def canonical_ticket_id(text: str) -> str:
    """The ticket id as a canonical decimal ("017" is "17").

    Raises:
        ValueError: not a whole number from 0 to 2**256 - 1 in decimal digits.
    """
    if not _DIGITS.fullmatch(text) or len(text) > MAX_TICKET_ID_DIGITS:
        raise ValueError(f"must be a whole number in decimal digits, got {text[:80]!r}")
    number = int(text)
    if number >= _TOO_BIG:
        raise ValueError("must be below 2**256")
    return str(number)


def plain_user_id(text: str) -> str:
    """A sender's user id without white space around it. It stands in labels and reports, so it must be printable.

    Raises:
        ValueError: empty, too long in UTF-8, or with control characters.
    """
    stripped = _stripped(text, MAX_USER_ID_BYTES)
    if not stripped.isprintable():
        raise ValueError("must not hold control characters")
    return stripped


def plain_recipient(text: str) -> str:
    """A recipient without white space around it. Only what the database can't store is refused.

    Whatever else is wrong with one recipient fails its item later, and nothing else.

    Raises:
        ValueError: empty, too long in UTF-8, or with a NUL character or half a surrogate pair.
    """
    return _storable(text, MAX_TO_BYTES)


def plain_reason(text: str) -> str:
    """A reason for people, without white space around it.

    Raises:
        ValueError: empty, too long in UTF-8, or with a NUL character or half a surrogate pair.
    """
    return _storable(text, MAX_REASON_BYTES)


def _storable(text: str, most_bytes: int) -> str:
    stripped = _stripped(text, most_bytes)
    if "\0" in stripped:
        raise ValueError("must not hold a NUL character")
    return stripped


def _stripped(text: str, most_bytes: int) -> str:
    stripped = text.strip()
    if not stripped:
        raise ValueError("must not be empty")
    try:
        size = len(stripped.encode())
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can hold") from None
    if size > most_bytes:
        raise ValueError(f"must be at most {most_bytes} bytes of UTF-8, this has {size}")
    return stripped


class RequestFingerprint:
    """SHA-256 over the canonical JSON of a batch request, fed item by item.

    The JSON is `{"fromUserId":…,"items":[["<ticket>","<to>"],…],"kind":…}` without spaces: sender, items in order after
    canonicalising, then the options that differ from their defaults, in alphabetical order.
    """

    def __init__(self, from_user_id: str) -> None:
        self._hash = hashlib.sha256(b'{"fromUserId":' + _json(from_user_id) + b',"items":[')
        self._separator = b""

    def add(self, ticket_id: str, to: str) -> None:
        """Adds the next item; both texts canonical."""
        # A million times a batch: the bytes are those of `json.dumps`, in a tenth of its time.
        self._hash.update(self._separator + f'["{ticket_id}",{encode_basestring(to)}]'.encode())
        self._separator = b","

    def digest(self, options: BatchOptions) -> bytes:
        """The 32 bytes, once all items are in."""
        chosen = b"".join(b"," + _json(name) + b":" + _json(value) for name, value in options.chosen.items())
        final = self._hash.copy()
        final.update(b"]" + chosen + b"}")
        return final.digest()


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
