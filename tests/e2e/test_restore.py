"""Postgres is restored from an older backup while the chain has gone on: docs/operations.md, step by step.

The statements are those of the page.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from chain.abi import address_word, word
from chain.heads import read_accounts
from chain.quantities import to_bytes, to_hex
from devstack.moves import read_moves
from devstack.postgres import wheel_programs
from tests.books import wallet_of
from tests.e2e.conftest import System, batch_id_of
from tests.e2e.worker_process import ROOT, WorkerProcess
from tests.real_chain import fresh_address
from tests.servers import Postgres, open_pool

pytestmark = pytest.mark.usefixtures("blocks")
UNKNOWN_ATTEMPTS = """
SELECT x.transaction_id, x.signer, x.nonce, t.ticket_id, t.holder, t.recipient
FROM chain_transactions x JOIN chain_bindings b USING (transaction_id) JOIN ticket_transfers t USING (transfer_id)
WHERE x.settled_at IS NULL AND x.signer = $1 AND x.nonce < $2 AND b.position = 0
  AND NOT EXISTS (SELECT FROM chain_attempts a WHERE a.transaction_id = x.transaction_id)"""
ADOPT = """
INSERT INTO chain_attempts
  (tx_hash, transaction_id, attempt_no, kind, max_fee_wei, tip_wei, raw, first_sent_at, last_sent_at, send_class)
SELECT $1, $2::bigint, coalesce(max(attempt_no), 0) + 1, 'payload', 1, 0, '', now(), now(), 'ACCEPTED'
FROM chain_attempts WHERE transaction_id = $2"""
CUT = "UPDATE batch_controls SET cancelled = true, reason = 'restored' WHERE batch_id = $1"
NEXT_NONCE = "UPDATE chain_lanes SET next_nonce = greatest(next_nonce, $1) WHERE signer = $2"
TICKETS = 120


async def run_program(name: str, *arguments: str) -> None:
    """A program of Postgres' own."""
    process = await asyncio.create_subprocess_exec(str(wheel_programs() / name), *arguments)
    assert await process.wait() == 0


@pytest.fixture
async def restored_url(postgres: Postgres) -> AsyncIterator[str]:
    """Where the backup is restored to."""
    async with postgres.fresh_database() as url:
        yield url


async def bring_nonces_forward(system: System) -> None:
    """Step 3 of the page."""
    signers = [row[0] for row in await system.pool.fetch("SELECT signer FROM chain_lanes")]
    accounts = await read_accounts(system.crew.chain.rpc, signers)
    for signer, account in zip(signers, accounts, strict=True):
        assert account.pending_nonce == account.latest_nonce
        await system.pool.execute(NEXT_NONCE, account.latest_nonce, signer)


async def adopt_unknown_attempts(system: System) -> None:
    """Step 4 of the page. Which transaction used the nonce is told by the log of a transfer that it carried."""
    chain = system.crew.chain
    hashes = {m[:3]: m.tx_hash for m in await read_moves(chain.rpc, to_hex(chain.tickets))}
    signers = [row[0] for row in await system.pool.fetch("SELECT signer FROM chain_lanes")]
    for signer, account in zip(signers, await read_accounts(chain.rpc, signers), strict=True):
        for row in await system.pool.fetch(UNKNOWN_ATTEMPTS, signer, account.latest_nonce):
            tx_hash = hashes[int(row["ticket_id"]), row["holder"], row["recipient"]]
            await system.pool.execute(ADOPT, to_bytes(tx_hash), row["transaction_id"])


async def end_workflows(system: System) -> None:
    """Step 2 of the page."""
    async for running in system.client.list_workflows("ExecutionStatus = 'Running'"):
        await system.client.get_workflow_handle(running.id).terminate("restored")


async def move_back(system: System, ticket: int) -> None:
    """The ticket comes back to its sender by way of a wallet of nobody we know, without this service."""
    chain = system.crew.chain
    stranger = fresh_address()
    _, somebody = await chain.new_lane()
    for sender, recipient in ((wallet_of("bob"), stranger), (stranger, wallet_of("alice"))):
        arguments = address_word(sender) + address_word(recipient) + word(ticket)
        await chain.transact(chain.tickets, to_bytes("0x23b872dd") + arguments, signer=somebody)


async def came_back(system: System, tickets: list[int]) -> set[int]:
    """Step 5 of the page: what the comparison says."""
    compare = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devstack.compare"), cwd=ROOT, env=system.worker.environment, stdout=PIPE
    )
    said, _ = await compare.communicate()
    lines = [line.removeprefix("ticket ").split(": ") for line in said.decode().splitlines()]
    # Other tests have moved tickets of the same contract.
    return {int(ticket) for ticket, difference in lines if "has come back" in difference} & set(tickets)


async def back_up_and_go_on(system: System, settlement: str, tickets: list[int], backup: Path) -> UUID:
    """A batch, backed up on its way, that ends afterwards; its last ticket comes back to the sender."""
    await system.worker.start()
    handle = await system.start_batch([(n, "bob") for n in tickets], settlement=settlement)
    await system.until("(SELECT count(*) > 30 FROM chain_outcomes)")
    await run_program("pg_dump", "-Fc", "-f", str(backup), "-d", system.environment["DATABASE_URL"])
    assert (await handle.result())["completed"] == TICKETS
    assert await system.worker.stop() == 0
    await move_back(system, tickets[-1])
    return batch_id_of(handle)


@pytest.mark.parametrize("settlement", ["batched", "single"])
async def test_a_restored_database_moves_no_ticket_again(
    system: System, restored_url: str, tmp_path: Path, settlement: str
) -> None:
    """The worker refuses to start, goes on after the procedure, and each ticket has moved to bob once in the end."""
    tickets = await system.crew.world_tickets(TICKETS)
    batch_id = await back_up_and_go_on(system, settlement, tickets, tmp_path / "backup")
    await run_program("pg_restore", "--clean", "--if-exists", "-d", restored_url, str(tmp_path / "backup"))
    worker = WorkerProcess(system.environment | {"DATABASE_URL": restored_url}, tmp_path / "restored.log")
    async with await open_pool(restored_url) as pool:
        restored = system._replace(crew=system.crew.on(pool), worker=worker)
        await worker.spawn()
        assert await worker.exit_code() == 1
        assert '"Restore from a backup" in docs/operations.md' in worker.log
        await end_workflows(restored)
        await bring_nonces_forward(restored)
        await adopt_unknown_attempts(restored)
        assert await came_back(restored, tickets) == {tickets[-1]}
        if settlement == "single":
            await restored.pool.execute(CUT, batch_id)
        # Else its slices are what they were: the router's keys tell, so the batch may go on.
        again = await system.client.start_workflow(
            "BatchTransfer", {"batchId": str(batch_id)}, id=f"batch/{batch_id}", task_queue="transfers"
        )
        await worker.start()
        result = await again.result()
        assert await worker.stop() == 0
        assert await restored.pool.fetchval("SELECT count(*) FROM chain_transactions WHERE settled_at IS NULL") == 0
        if settlement == "single":
            assert (result["status"], result["completed"] + result["cancelled"]) == ("CANCELLED", TICKETS)
        else:
            assert result["completed"] == TICKETS
            # What came back without this service is the one difference.
            assert {line.split(":")[0] for line in await restored.crew.differences()} == {f"ticket {tickets[-1]}"}
    moves = await read_moves(system.crew.chain.rpc, to_hex(system.crew.chain.tickets))
    arrived = [move.ticket_id for move in moves if move.recipient == wallet_of("bob")]
    assert [arrived.count(ticket) for ticket in tickets] == [1] * TICKETS
