"""The demo's batch: a season's tickets for a thousand fans, about a dozen lines of it wrong, each in a known way.

`python -m devstack.season` writes examples/season-tickets.csv. The file fits a fresh dev chain, where a seller's first
thousand tickets have the numbers 1 to 1000 and the contracts always have the same addresses.
"""

from __future__ import annotations

from typing import NamedTuple

from chain.keccak import keccak256
from chain.quantities import to_bytes
from chain.signing import contract_address
from devstack.chain_node import TEST_DEPLOYER
from devstack.deploy import dev_wallet
from devstack.environment import DEMO_SENDER
from devstack.tools import ROOT
from workflows.interface.addresses import checksum_address
from workflows.interface.codes import FailureCode

CSV_FILE = ROOT / "examples" / "season-tickets.csv"
ITEM_COUNT = 1000
SELLER_TICKETS = range(1, 1001)
OTHER_SELLER = "other-seller"
OTHER_TICKETS = range(1001, 1011)
UNKNOWN_TICKET = 1_000_000
FAN_COUNT = 250
# Every so many lines go to an address instead of a user: as mixed-case checksummed text, or in lower case.
_ADDRESS_EVERY = 10


class Line(NamedTuple):
    """One line of the batch, and the code it must fail with (None: it must be moved)."""

    ticket_id: int
    to: str
    code: FailureCode | None = None


def fans() -> list[str]:
    """The users who get tickets."""
    return [f"fan-{number:03}" for number in range(1, FAN_COUNT + 1)]


def outside_address(number: int) -> bytes:
    """The wallet of somebody who isn't a user."""
    return keccak256(f"outside wallet {number}".encode())[12:]


def season_lines() -> list[Line]:
    """All lines, in order; item numbers start at 1."""
    bad = bad_lines()
    tickets = iter(SELLER_TICKETS)
    return [bad[item_no] if item_no in bad else _good_line(next(tickets)) for item_no in range(1, ITEM_COUNT + 1)]


def bad_lines() -> dict[int, Line]:
    """The wrong lines by item number. Their tickets are past those of the good lines, except for the duplicates."""
    last = SELLER_TICKETS[-1]
    checksummed = checksum_address(outside_address(0), keccak256)
    tickets, router, refusing = ("0x" + contract_address(to_bytes(TEST_DEPLOYER), nonce).hex() for nonce in range(3))
    return {
        37: Line(OTHER_TICKETS[0], "fan-001", FailureCode.NOT_TICKET_OWNER),
        101: Line(UNKNOWN_TICKET, "fan-002", FailureCode.UNKNOWN_TICKET),
        166: Line(last, "0x1234", FailureCode.INVALID_ADDRESS),
        222: Line(last - 1, "0x" + "no" * 20, FailureCode.INVALID_ADDRESS),
        287: Line(last - 2, checksummed.swapcase().replace("0X", "0x"), FailureCode.ADDRESS_CHECKSUM),
        333: Line(last - 3, "0x" + "00" * 20, FailureCode.ZERO_ADDRESS),
        404: Line(1, "fan-003", FailureCode.DUPLICATE_IN_BATCH),
        475: Line(2, "fan-004", FailureCode.DUPLICATE_IN_BATCH),
        512: Line(last - 4, refusing, FailureCode.RECIPIENT_REFUSED),
        613: Line(last - 5, tickets, FailureCode.RECIPIENT_NOT_ALLOWED),
        666: Line(last - 6, "nobody-we-know", FailureCode.UNKNOWN_USER),
        748: Line(last - 7, router, FailureCode.RECIPIENT_NOT_ALLOWED),
        851: Line(last - 8, DEMO_SENDER, FailureCode.RECIPIENT_IS_SENDER),
        999: Line(OTHER_TICKETS[1], "fan-005", FailureCode.NOT_TICKET_OWNER),
    }


def wallet_of(line: Line) -> bytes:
    """The wallet that a good line's ticket must end in."""
    return to_bytes(line.to) if line.to.startswith("0x") else dev_wallet(line.to)


def csv_text() -> str:
    """The file."""
    return "ticket_id,to\n" + "".join(f"{line.ticket_id},{line.to}\n" for line in season_lines())


def _good_line(ticket_id: int) -> Line:
    if ticket_id % _ADDRESS_EVERY:
        return Line(ticket_id, fans()[ticket_id % FAN_COUNT])
    address = outside_address(ticket_id)
    mixed_case = checksum_address(address, keccak256)
    return Line(ticket_id, mixed_case if ticket_id % (2 * _ADDRESS_EVERY) else "0x" + address.hex())


if __name__ == "__main__":
    CSV_FILE.parent.mkdir(exist_ok=True)
    CSV_FILE.write_text(csv_text())
