"""Calls and logs of our contracts and of any ERC-721, encoded and decoded by hand: eth_abi takes 20 us per ticket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chain.keccak import keccak256
from chain.quantities import to_bytes, to_hex
from workflows.interface.chain import BoundTransaction, ChainTransfer

WORD = 32
_ADDRESS_PADDING = bytes(12)


def selector(signature: str) -> bytes:
    """The first four bytes of the hash of a function's or error's signature."""
    return keccak256(signature.encode())[:4]


def topic(signature: str) -> str:
    """The first topic of an event, as logs carry it."""
    return to_hex(keccak256(signature.encode()))


TRANSFER_MANY = selector("transferMany(bytes32,address,address,address[],uint256[])")
SAFE_TRANSFER_FROM = selector("safeTransferFrom(address,address,uint256)")
MINT_MANY = selector("mintMany(address,uint256,uint256)")
SET_OPERATOR = selector("setOperator(address,bool)")
IS_OPERATOR = selector("isOperator(address)")
BLOCK_OF = selector("blockOf(bytes32)")
OWNER_OF = selector("ownerOf(uint256)")
IS_APPROVED_FOR_ALL = selector("isApprovedForAll(address,address)")

TRANSFER = topic("Transfer(address,address,uint256)")
BATCH_EXECUTED = topic("BatchExecuted(bytes32,uint256,uint256)")
ITEM_FAILED = topic("ItemFailed(bytes32,uint256,bool,bytes)")
ITEMS_SKIPPED = topic("ItemsSkipped(bytes32,uint256)")


def word(value: int) -> bytes:
    """An unsigned integer as 32 bytes."""
    return value.to_bytes(WORD, "big")


def address_word(address: bytes) -> bytes:
    """A 20-byte address as 32 bytes."""
    return _ADDRESS_PADDING + address


def batch_key(transfers: Iterable[ChainTransfer]) -> bytes:
    """The router's idempotency key: the hash over transfer ids and binding numbers, in order.

    A binding number is never used again, so the key holds even after a restore of an old database.
    """
    parts = (transfer.transfer_id.bytes + transfer.binding_no.to_bytes(8, "big") for transfer in transfers)
    return keccak256(b"".join(parts))


def encode_transfer_many(key: bytes, transfers: Sequence[ChainTransfer]) -> bytes:
    """The call that moves all transfers; they share token and holder."""
    count = len(transfers)
    first = transfers[0]
    # Five words come before the first array: its offset is 0xa0; the second follows the first's length and items.
    head = (key, address_word(first.token), address_word(first.holder), word(5 * WORD), word((6 + count) * WORD))
    recipients = b"".join([_ADDRESS_PADDING + transfer.to for transfer in transfers])
    ids = b"".join([transfer.ticket_id.to_bytes(WORD, "big") for transfer in transfers])
    return b"".join((TRANSFER_MANY, *head, word(count), recipients, word(count), ids))


def encode_safe_transfer(transfer: ChainTransfer) -> bytes:
    """The token's own call that moves one transfer."""
    return SAFE_TRANSFER_FROM + address_word(transfer.holder) + address_word(transfer.to) + word(transfer.ticket_id)


class Destination(NamedTuple):
    """Where a chain transaction goes, and the call it makes there."""

    to: bytes
    data: bytes


def payload_of(transaction: BoundTransaction, router: bytes) -> Destination:
    """The call that moves a transaction's transfers: the router's if it has a key, else the token's own."""
    first = transaction.transfers[0]
    if transaction.key is None:
        return Destination(first.token, encode_safe_transfer(first))
    return Destination(router, encode_transfer_many(transaction.key, transaction.transfers))


def encode_mint_many(to: bytes, first_id: int, count: int) -> bytes:
    """Tickets.mintMany."""
    return MINT_MANY + address_word(to) + word(first_id) + word(count)


def encode_set_operator(operator: bytes, allowed: bool) -> bytes:
    """Tickets.setOperator and TransferRouter.setOperator."""
    return SET_OPERATOR + address_word(operator) + word(int(allowed))


def call_object(to: bytes, data: bytes, **more: str) -> dict[str, str]:
    """The first parameter of eth_call; `more` adds sender or gas, already as text."""
    return {"to": to_hex(to), "data": to_hex(data), **more}


class ItemFailure(NamedTuple):
    """What the router says of an item that reverted."""

    burned_cap: bool
    reason: bytes
    """The first 256 bytes of the revert data."""


class RouterOutcome(NamedTuple):
    """The router's word on one batch: an item is moved if neither failed nor skipped (and logged: `Move`)."""

    failures: Mapping[int, ItemFailure]
    attempted: int
    """Items from this index on were skipped."""


class Move(NamedTuple):
    """A `Transfer` log, its words as in JSON: comparing texts saves decoding three words per ticket."""

    token: str
    holder: str
    to: str
    ticket_id: str


class Events(NamedTuple):
    """The logs of one receipt. Moves are kept in short form: as JSON objects they take five times the memory."""

    moves: frozenset[Move]
    others: tuple[Mapping[str, Any], ...]


def read_events(logs: Iterable[Mapping[str, Any]]) -> Events:
    """Sorts a receipt's logs into `Transfer`s of ERC-721 (three indexed words) and others."""
    moves: list[Move] = []
    others: list[Mapping[str, Any]] = []
    for log in logs:
        topics = log["topics"]
        if len(topics) == 4 and topics[0] == TRANSFER:
            moves.append(Move(log["address"].lower(), topics[1], topics[2], topics[3]))
        else:
            others.append(log)
    return Events(frozenset(moves), tuple(others))


def move_of(transfer: ChainTransfer) -> Move:
    """The log that a transfer must leave."""
    return Move(
        "0x" + transfer.token.hex(),
        "0x000000000000000000000000" + transfer.holder.hex(),
        "0x000000000000000000000000" + transfer.to.hex(),
        f"0x{transfer.ticket_id:064x}",
    )


def router_outcome(events: Events, router: bytes, key: bytes) -> RouterOutcome | None:
    """The router's events about one key in a receipt; None if it executed no batch of that key there."""
    address, key_topic = to_hex(router), to_hex(key)
    failures: dict[int, ItemFailure] = {}
    attempted: int | None = None
    for log in events.others:
        topics = log["topics"]
        if len(topics) != 2 or topics[1] != key_topic or log["address"].lower() != address:
            continue
        if topics[0] == ITEM_FAILED:
            index, failure = _item_failure(to_bytes(log["data"]))
            failures[index] = failure
        elif topics[0] == BATCH_EXECUTED:
            attempted = _word_at(to_bytes(log["data"]), 1)
    return None if attempted is None else RouterOutcome(failures, attempted)


def _item_failure(data: bytes) -> tuple[int, ItemFailure]:
    start = _word_at(data, 2)
    length = _word_at(data, start // WORD)
    reason = data[start + WORD : start + WORD + length]
    return _word_at(data, 0), ItemFailure(_word_at(data, 1) != 0, reason)


def _word_at(data: bytes, index: int) -> int:
    return int.from_bytes(data[index * WORD : (index + 1) * WORD], "big")
