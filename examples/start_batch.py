"""How a service written in Python starts a batch: a Temporal client, and the typed `TransferClient` over it.

Run it by the Python of `.venv` (`make up` makes it), with TEMPORAL_ADDRESS set; `--help` shows how.
"""

# ruff: noqa: INP001  # a script, not a package
from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from pydantic import ValidationError
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from starter.client import TransferClient
from starter.errors import UnavailableError
from starter.leaving import leave
from workflows.interface.batch import BatchItem
from workflows.interface.errors import RequestError
from workflows.interface.faults import told


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description="Moves tickets from one user to another and prints the result as JSON.",
        epilog="Example: start_batch.py alice bob 17 18 19 asks for three of alice's tickets to go to bob. Temporal's "
        "address is read from TEMPORAL_ADDRESS: export $(grep ^TEMPORAL_ADDRESS= .devstack/env)",
    )
    parser.add_argument("sender", help="the user whose tickets move")
    parser.add_argument("recipient", help="a user id or a 0x address")
    parser.add_argument("tickets", nargs="+", metavar="ticket", help="a ticket's number")
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


async def moved(sender: str, recipient: str, tickets: Sequence[str]) -> str:
    """Starts the batch and waits for its end; the result as JSON."""
    items = [BatchItem(ticket_id=ticket, to=recipient) for ticket in tickets]
    client = TransferClient(await connected())
    # The same key again, with the same content, gives this batch back instead of a second one.
    started = await client.start_batch(sender, items, idempotency_key=f"example {recipient} {' '.join(tickets)}")
    return (await client.wait(started.batch_id)).model_dump_json()


def main() -> int:
    """Runs the command; returns its exit code."""
    asked = parsed()
    try:
        sys.stdout.write(asyncio.run(moved(asked.sender, asked.recipient, asked.tickets)) + "\n")
    except (RequestError, UnavailableError) as error:
        sys.stderr.write(f"error: {error}\n")
    except ValidationError as error:
        sys.stderr.write(f"error: {told(error)}\n")
    else:
        return 0
    return 1


if __name__ == "__main__":
    leave(main())
