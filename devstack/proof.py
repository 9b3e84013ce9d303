"""Checks a finished demo from outside: what chain, Postgres and receiver hold against what the batch asked for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from chain.abi import OWNER_OF, TRANSFER, call_object, word
from chain.quantities import to_bytes, to_int
from chain.rpc import Call, JsonRpc, RpcError
from devstack.errors import StackError
from devstack.season import Line, wallet_of
from devstack.state import Deployment

_ADDRESS_START = -40


class Move(NamedTuple):
    """A `Transfer` log that isn't a mint; addresses are 20 bytes."""

    ticket_id: int
    sender: bytes
    recipient: bytes
    tx_hash: str


class ChainView(NamedTuple):
    """What the chain says about the batch's tickets."""

    moves: Sequence[Move]
    owners: Mapping[int, bytes | None]
    """The owner by ticket id; None where there is no such ticket."""
    gas_used: int
    """By all transactions that moved a ticket."""


async def look_at_chain(rpc: JsonRpc, deployment: Deployment, ticket_ids: Sequence[int]) -> ChainView:
    """Reads all moves since the deployment and the present owners, from the node alone."""
    query = {"address": deployment.tickets_address, "topics": [TRANSFER], "fromBlock": hex(deployment.block_number)}
    moves = [move for move in map(_move, await rpc.call("eth_getLogs", query)) if any(move.sender)]
    tickets = to_bytes(deployment.tickets_address)
    calls = [Call("eth_call", (call_object(tickets, OWNER_OF + word(one)), "latest")) for one in ticket_ids]
    replies = await rpc.batch(calls)
    owners = {one: _owner(reply) for one, reply in zip(ticket_ids, replies, strict=True)}
    hashes = sorted({move.tx_hash for move in moves})
    receipts = await rpc.batch([Call("eth_getTransactionReceipt", (tx_hash,)) for tx_hash in hashes])
    return ChainView(moves, owners, sum(_gas_used(receipt) for receipt in receipts))


def chain_faults(
    lines: Sequence[Line], seller: bytes, before: Mapping[int, bytes | None], view: ChainView
) -> list[str]:
    """How the chain differs from what the batch asked for: one move per good line, none for any other ticket."""
    moves: dict[int, list[Move]] = defaultdict(list)
    for move in view.moves:
        moves[move.ticket_id].append(move)
    good = {line.ticket_id: wallet_of(line) for line in lines if line.code is None}
    faults = [_good_fault(ticket, wallet, seller, moves.pop(ticket, []), view) for ticket, wallet in good.items()]
    faults += [f"ticket {ticket} moved {len(some)} times, which nobody asked for" for ticket, some in moves.items()]
    faults += [
        f"ticket {line.ticket_id} should have stayed where it was"
        for line in lines
        if line.ticket_id not in good and view.owners[line.ticket_id] != before[line.ticket_id]
    ]
    return [fault for fault in faults if fault]


def item_faults(lines: Sequence[Line], items: Sequence[tuple[str, str | None]]) -> list[str]:
    """How the items' statuses and codes, in order, differ from what each line must end with."""
    faults = [] if len(items) == len(lines) else [f"{len(items)} items instead of {len(lines)}"]
    for item_no, (line, (status, code)) in enumerate(zip(lines, items, strict=False), 1):
        wanted = ("FAILED", line.code.value) if line.code else ("COMPLETED", None)
        if (status, code) != wanted:
            faults.append(f"item {item_no} is {status} {code or ''} instead of {wanted[0]} {wanted[1] or ''}")
    return faults


def webhook_faults(due: Iterable[str], received: Mapping[str, Any], exactly_once: bool) -> list[str]:
    """How the receiver's deliveries differ from those due: none missing, none unknown, all signed."""
    due_ids = set(due)
    times = Counter(delivery["id"] for delivery in received["deliveries"])
    faults = [f"{received['badSignatures']} webhooks had a bad signature"] if received["badSignatures"] else []
    missing, unknown = due_ids - times.keys(), times.keys() - due_ids
    twice = [one for one, count in times.items() if count > 1]
    if missing:
        faults.append(f"{len(missing)} webhooks never came, e.g. {min(missing)}")
    if unknown:
        faults.append(f"{len(unknown)} webhooks came that nobody owed, e.g. {min(unknown)}")
    if exactly_once and twice:
        faults.append(f"{len(twice)} webhooks came more than once though nothing was killed, e.g. {min(twice)}")
    return faults


def type_faults(lines: Sequence[Line], received: Mapping[str, Any]) -> list[str]:
    """How the kinds of webhooks (each id counted once) differ from what the batch must have caused."""
    kinds = {delivery["id"]: delivery["type"] for delivery in received["deliveries"]}
    counts = Counter(kinds.values())
    failed = sum(line.code is not None for line in lines)
    wanted = {"transfer.completed": len(lines) - failed, "transfer.failed": failed, "batch.completed": 1}
    return [
        f"{counts[kind]} webhooks of type {kind} instead of {count}"
        for kind, count in wanted.items()
        if counts[kind] != count
    ]


def _good_fault(ticket: int, wallet: bytes, seller: bytes, moves: Sequence[Move], view: ChainView) -> str:
    if [(move.sender, move.recipient) for move in moves] != [(seller, wallet)]:
        return f"ticket {ticket} has {len(moves)} moves instead of one from the seller to 0x{wallet.hex()}"
    return "" if view.owners[ticket] == wallet else f"ticket {ticket} isn't owned by 0x{wallet.hex()}"


def _move(log: Mapping[str, Any]) -> Move:
    _, sender, recipient, ticket_id = log["topics"]
    tail = slice(_ADDRESS_START, None)
    addresses = bytes.fromhex(sender[tail]), bytes.fromhex(recipient[tail])
    return Move(to_int(ticket_id), *addresses, log["transactionHash"])


def _gas_used(reply: Any) -> int:
    if isinstance(reply, RpcError):
        raise StackError(f"the chain lost a receipt: {reply}")
    return to_int(reply["gasUsed"])


def _owner(reply: object) -> bytes | None:
    return None if isinstance(reply, RpcError) else bytes.fromhex(str(reply)[_ADDRESS_START:])
