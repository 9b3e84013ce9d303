"""Revert data in words and codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.abi import selector, word
from chain.revert_reasons import explain_revert
from workflows.interface.codes import FailureCode


def error_string(text: str) -> bytes:
    """Error(string) as Solidity encodes it."""
    raw = text.encode()
    return selector("Error(string)") + word(32) + word(len(raw)) + raw.ljust(-(-len(raw) // 32) * 32, b"\0")


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"", FailureCode.REVERTED, "reverted without a reason"),
        (b"\xde\xad", FailureCode.REVERTED, "revert data 0xdead"),
        (selector("ERC721InvalidReceiver(address)") + word(1), FailureCode.RECIPIENT_REFUSED, "ERC721InvalidReceiver"),
        (
            error_string("ERC721: transfer to non ERC721Receiver implementer"),
            FailureCode.RECIPIENT_REFUSED,
            "ERC721: transfer to non ERC721Receiver implementer",
        ),
        (
            error_string("ERC721: transfer from incorrect owner"),
            FailureCode.NOT_OWNER_ON_CHAIN,
            "ERC721: transfer from incorrect owner",
        ),
        (
            error_string("ERC721: caller is not token owner or approved"),
            FailureCode.NOT_APPROVED,
            "ERC721: caller is not token owner or approved",
        ),
        (
            error_string("ERC721: transfer caller is not owner nor approved"),
            FailureCode.NOT_APPROVED,
            "ERC721: transfer caller is not owner nor approved",
        ),
        (error_string("ERC721: invalid token ID"), FailureCode.NOT_OWNER_ON_CHAIN, "ERC721: invalid token ID"),
        (selector("TransferFromIncorrectOwner()"), FailureCode.NOT_OWNER_ON_CHAIN, "TransferFromIncorrectOwner"),
        (
            selector("ERC721InsufficientApproval(address,uint256)") + word(1) + word(2),
            FailureCode.NOT_APPROVED,
            "ERC721InsufficientApproval",
        ),
        (error_string("paused"), FailureCode.REVERTED, "paused"),
        (selector("Panic(uint256)") + word(0x11), FailureCode.REVERTED, "panic 0x11"),
    ],
)
def test_known_reverts_have_their_code(data: bytes, code: FailureCode, reason: str) -> None:
    """Reverts of the usual ERC-721 contracts are told apart, and the reason is readable."""
    assert explain_revert(data) == (code, reason)


@given(st.binary(max_size=256), st.sampled_from([b"", selector("Error(string)"), selector("Panic(uint256)")]))
def test_any_data_gives_a_printable_reason(data: bytes, head: bytes) -> None:
    """A hostile receiver's data never breaks the reading and never puts control characters into a reason."""
    _, reason = explain_revert(head + data)
    assert reason.isprintable()
    assert len(reason) <= 200
