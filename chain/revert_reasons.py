"""Revert data put into words and into a failure code. Pure.

Sources: ERC-6093 (OpenZeppelin 5), OpenZeppelin 4's texts, ERC721A, solady, Solidity's Error and Panic.
"""

from __future__ import annotations

import re

from chain.abi import WORD, selector
from workflows.interface.codes import FailureCode

_ERROR_STRING = selector("Error(string)")
_PANIC = selector("Panic(uint256)")

# Whatever isn't listed is REVERTED, which may be tried again: a paused token, a receiver with an opinion of its own.
_ERRORS: dict[str, FailureCode] = {
    "ERC721InvalidReceiver(address)": FailureCode.RECIPIENT_REFUSED,
    "TransferToNonERC721ReceiverImplementer()": FailureCode.RECIPIENT_REFUSED,
    "ERC721IncorrectOwner(address,uint256,address)": FailureCode.NOT_OWNER_ON_CHAIN,
    "ERC721NonexistentToken(uint256)": FailureCode.NOT_OWNER_ON_CHAIN,
    "TransferFromIncorrectOwner()": FailureCode.NOT_OWNER_ON_CHAIN,
    "OwnerQueryForNonexistentToken()": FailureCode.NOT_OWNER_ON_CHAIN,
    "TokenDoesNotExist()": FailureCode.NOT_OWNER_ON_CHAIN,
    "ERC721InsufficientApproval(address,uint256)": FailureCode.NOT_APPROVED,
    "TransferCallerNotOwnerNorApproved()": FailureCode.NOT_APPROVED,
    "NotOwnerNorApproved()": FailureCode.NOT_APPROVED,
}
_SELECTORS = {selector(signature): (signature.partition("(")[0], code) for signature, code in _ERRORS.items()}

_TEXTS: tuple[tuple[re.Pattern[str], FailureCode], ...] = (
    (re.compile(r"non[- ]?erc721receiver"), FailureCode.RECIPIENT_REFUSED),
    (re.compile(r"(incorrect owner|not own\b|nonexistent token|invalid token id)"), FailureCode.NOT_OWNER_ON_CHAIN),
    (re.compile(r"(not|nor) (token owner (n?or )?)?(owner nor )?approved"), FailureCode.NOT_APPROVED),
)

_PRINTABLE_REASON = 200


def explain_revert(data: bytes) -> tuple[FailureCode, str]:
    """The failure code and a readable reason for one revert of a transfer."""
    head = data[:4]
    if head in _SELECTORS:
        name, code = _SELECTORS[head]
        return code, name
    if head == _ERROR_STRING:
        text = _text_of(data)
        return _code_of_text(text), text
    if head == _PANIC:
        return FailureCode.REVERTED, f"panic 0x{int.from_bytes(data[4 : 4 + WORD], 'big'):02x}"
    return FailureCode.REVERTED, f"revert data 0x{data[:68].hex()}" if data else "reverted without a reason"


def _text_of(data: bytes) -> str:
    """Error(string): offset, length, bytes; maybe cut off, so nothing of it is trusted."""
    length = int.from_bytes(data[4 + WORD : 4 + 2 * WORD], "big")
    text = data[4 + 2 * WORD :][:length].decode(errors="replace")
    return "".join(c if c.isprintable() else "�" for c in text)[:_PRINTABLE_REASON]


def _code_of_text(text: str) -> FailureCode:
    lowered = text.lower()
    return next((code for pattern, code in _TEXTS if pattern.search(lowered)), FailureCode.REVERTED)
