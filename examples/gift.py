"""How a service written in Python gives a ticket away: it's offered, accepted, and moved on the chain.

Run it by the Python of `.venv` (`make up` makes it), with TEMPORAL_ADDRESS set; `--help` shows how.
"""

# ruff: noqa: INP001  # a script, not a package
from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import timedelta

from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from starter.errors import UnavailableError
from starter.leaving import leave
from starter.transfers import SingleTransferClient
from workflows.interface.codes import TransferStatus
from workflows.interface.errors import RequestError
from workflows.interface.transfer import TransferState


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description="Offers a ticket as a gift, accepts it as its recipient, and prints how it stands after each step.",
        epilog="Example: gift.py alice bob 17. Temporal's address is read from TEMPORAL_ADDRESS: "
        "export $(grep ^TEMPORAL_ADDRESS= .devstack/env)",
    )
    parser.add_argument("sender", help="the user whose ticket it is")
    parser.add_argument("recipient", help="the user who may accept it")
    parser.add_argument("ticket", help="the ticket's number")
    parser.add_argument("--decline", action="store_true", help="the recipient says no: the ticket stays the sender's")
    return parser.parse_args()


async def connected() -> Client:
    """A client for TEMPORAL_ADDRESS and Temporal's other variables."""
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", "localhost:7233")
    try:
        return await Client.connect(**config)
    except RuntimeError as error:
        place = config.get("target_host")
        raise UnavailableError(f"Temporal at {place} doesn't answer: start it, or set TEMPORAL_ADDRESS") from error


async def given(sender: str, recipient: str, ticket: str, *, declined: bool) -> None:
    """Offers the ticket, hears the recipient, and waits until the chain has moved it."""
    client = SingleTransferClient(await connected())
    gift = await client.create_gift_transfer(sender, ticket, recipient, expires_in=timedelta(hours=36))
    tell(gift)
    if gift.status is TransferStatus.FAILED:
        return
    # In a service these come from the recipient, hours later; of two words on a gift only the first counts.
    if declined:
        tell(await client.decline_gift(gift.transfer_id, recipient, "no time"))
        return
    tell(await client.accept_gift(gift.transfer_id, recipient))
    tell(await client.wait(gift.transfer_id))


def tell(state: TransferState) -> None:
    """One line of JSON."""
    sys.stdout.write(state.model_dump_json(exclude_none=True) + "\n")


def main() -> int:
    """Runs the command; returns its exit code."""
    asked = parsed()
    try:
        asyncio.run(given(asked.sender, asked.recipient, asked.ticket, declined=asked.decline))
    except (RequestError, UnavailableError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    leave(main())
