"""Checks a finished demo from outside: what chain and receiver hold against what the batch asked for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from devstack.moves import Move
from devstack.season import Line, wallet_of


def chain_faults(lines: Sequence[Line], seller: bytes, all_moves: Sequence[Move]) -> list[str]:
    """How the chain differs from what the batch asked for: one move per good line, none of any other ticket."""
    moves: dict[int, list[Move]] = defaultdict(list)
    for move in all_moves:
        moves[move.ticket_id].append(move)
    good = {line.ticket_id: wallet_of(line) for line in lines if line.code is None}
    faults = [_good_fault(ticket, wallet, seller, moves.pop(ticket, [])) for ticket, wallet in good.items()]
    faults += [f"ticket {ticket} moved {len(some)} times, which nobody asked for" for ticket, some in moves.items()]
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


def _good_fault(ticket: int, wallet: bytes, seller: bytes, moves: Sequence[Move]) -> str:
    if [(move.sender, move.recipient) for move in moves] == [(seller, wallet)]:
        return ""
    return f"ticket {ticket} has {len(moves)} moves instead of one from the seller to 0x{wallet.hex()}"
