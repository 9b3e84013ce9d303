"""How a service starts a batch: nothing but a Temporal client, and JSON. Run it with TEMPORAL_ADDRESS set.

`python examples/start_batch.py alice bob 17 18 19` asks for three of alice's tickets to go to bob.
"""

# ruff: noqa: INP001  # a script, not a package
from __future__ import annotations

import asyncio
import sys

from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from starter.client import TransferClient
from workflows.interface.batch import BatchItem


async def main(sender: str, recipient: str, *tickets: str) -> None:
    """Starts the batch, waits for its end and prints the result."""
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", "localhost:7233")
    client = TransferClient(await Client.connect(**config))
    items = [BatchItem(ticket_id=ticket, to=recipient) for ticket in tickets]
    # The same key again, with the same content, gives this batch back instead of a second one.
    started = await client.start_batch(sender, items, idempotency_key=f"example {recipient} {' '.join(tickets)}")
    result = await client.wait(started.batch_id)
    sys.stdout.write(result.model_dump_json() + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
