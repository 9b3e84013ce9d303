"""Single transfers and gifts through all real parts, by the client library."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from ledger.transfer_reports import TransferReports
from starter.transfers import SingleTransferClient
from tests.e2e.conftest import System
from tests.e2e.test_system import check_nothing_lost_or_doubled
from workflows.interface.codes import ErrorCode, Outcome, Settlement, TransferStatus
from workflows.interface.errors import RequestError

pytestmark = pytest.mark.usefixtures("blocks")


@pytest.mark.parametrize("settlement", list(Settlement))
async def test_a_direct_transfer_moves_on_the_chain(system: System, settlement: Settlement) -> None:
    """The ticket moves once, the result names the chain transaction, and the report tells lane, attempts and events."""
    await system.worker.start()
    [ticket] = await system.crew.world_tickets(1)
    client = SingleTransferClient(system.client)
    started = await client.start_transfer("alice", str(ticket), "bob", settlement=settlement)
    state = await client.wait(started.transfer_id)
    assert (state.status, state.to_user_id) == (TransferStatus.COMPLETED, "bob")
    await check_nothing_lost_or_doubled(system, 1)
    reports = TransferReports(system.pool)
    [binding] = await reports.bindings(started.transfer_id)
    assert (binding.outcome, binding.attempts, binding.binding_no) == (Outcome.MOVED, 1, 1)
    assert binding.final_tx_hash is not None
    assert state.transaction_hash == "0x" + binding.final_tx_hash.hex()
    events = [event.type.value for event in await reports.events(started.transfer_id)]
    assert events == ["transfer.created", "transfer.submitted", "transfer.completed"]
    assert (await client.progress(started.transfer_id)) == state
    assert (await client.start_transfer("alice", str(ticket), "bob", transfer_id=uuid4())).repeated is False


async def test_a_gift_moves_once_it_is_accepted(system: System) -> None:
    """Accepted by two calls at once, by a stranger and by its recipient, it moves to the recipient exactly once."""
    await system.worker.start()
    [ticket] = await system.crew.world_tickets(1)
    client = SingleTransferClient(system.client)
    gift = (await client.create_gift_transfer("alice", str(ticket), "bob")).transfer_id
    calls = [client.accept_gift(gift, user) for user in ("carol", "bob", "bob")]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers].count("TransferState") == 1
    assert {error.code for error in answers if isinstance(error, RequestError)} == {ErrorCode.NOT_ALLOWED}
    assert (await client.wait(gift)).status is TransferStatus.COMPLETED
    await check_nothing_lost_or_doubled(system, 1)
    events = [event.type.value for event in await TransferReports(system.pool).events(gift)]
    assert events == ["transfer.created", "transfer.accepted", "transfer.submitted", "transfer.completed"]


async def test_a_refused_transfer_is_retried_by_an_operator(system: System) -> None:
    """What the chain refused for good stays failed by a plain retry, and a forced one tries the chain again."""
    await system.worker.start()
    [ticket] = await system.crew.world_tickets(1)
    refusing = "0x" + (await system.crew.chain.deploy("test/NotAReceiver")).hex()
    client = SingleTransferClient(system.client)
    started = await client.start_transfer("alice", str(ticket), refusing)
    failed = await client.wait(started.transfer_id)
    assert (failed.status, failed.code) == (TransferStatus.FAILED, "RECIPIENT_REFUSED")
    await client.retry(started.transfer_id)
    assert await client.wait(started.transfer_id) == failed
    await client.retry(started.transfer_id, force=True)
    assert (await client.wait(started.transfer_id)).status is TransferStatus.FAILED
    bindings = await TransferReports(system.pool).bindings(started.transfer_id)
    assert [binding.outcome for binding in bindings] == [Outcome.FAILED, Outcome.FAILED]
    await check_nothing_lost_or_doubled(system, 0)
