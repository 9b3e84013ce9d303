"""Two requests under one batch id, of which one comes inline and isn't in Postgres before a worker opens it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from ledger.fingerprint import StagedItem
from ledger.staging import BatchHeader, BatchWriter
from starter.errors import UnavailableError
from starter.staging import StagedStarter
from tests.starter.commands import Transfers
from tests.starter.conftest import SENDER, Service
from tests.starter.test_client import OTHER_ROWS, ROWS, refusal, run_id_of
from workflows.interface.codes import BatchStatus, ErrorCode
from workflows.interface.names import Queue, WorkflowType, batch_id_for, batch_workflow_id

START = ("batch", "start", "-", "--from", SENDER, "--idempotency-key")
SAME = b"ticket_id,to\n17,bob\n18,eve\n"
OTHER = b"ticket_id,to\n17,eve\n"


@pytest.fixture
def key() -> str:
    """An idempotency key that no other test uses: what comes inline stays in the namespace."""
    return uuid4().hex


async def batches(service: Service) -> int:
    count: int = await service.pool.fetchval("SELECT count(*) FROM batch_transfers")
    return count


async def start_plainly(service: Service, batch_id: UUID, **fields: Any) -> None:
    """As any Temporal client may: without a memo, and here with a delay of its own."""
    await service.temporal.start_workflow(
        WorkflowType.BATCH_TRANSFER,
        {"batchId": str(batch_id), **fields},
        id=batch_workflow_id(batch_id),
        task_queue=Queue.TRANSFERS,
        start_delay=timedelta(hours=1),
    )


async def test_an_inline_batch_that_waits_for_a_worker_keeps_its_key(
    transfers: Transfers, service: Service, key: str
) -> None:
    """Another file under its key ends with 4 and leaves no row; the same file is the same batch; the first one runs."""
    batch_id = (await service.client.start_batch(SENDER, ROWS, idempotency_key=key)).batch_id
    run_id = await run_id_of(service.temporal, batch_id)
    refused = await transfers(*START, key, stdin=OTHER)
    assert (refused.code, refused.out) == (4, "")
    assert "BATCH_CONTENT_DIFFERS" in refused.err
    assert await batches(service) == 0
    same = await transfers(*START, key, stdin=SAME)
    assert (same.code, same.json["itemCount"]) == (0, 2)
    async with service.working():
        assert (await service.client.wait(batch_id)).item_count == 2
    assert await run_id_of(service.temporal, batch_id) == run_id


async def test_an_inline_batch_of_a_plain_client_keeps_its_id(transfers: Transfers, service: Service, key: str) -> None:
    """Without a memo the requests are compared by the input that Temporal holds."""
    rows = [row.model_dump(mode="json", by_alias=True) for row in ROWS]
    await start_plainly(service, batch_id_for(SENDER, key), fromUserId=SENDER, items=rows)
    assert (await transfers(*START, key, stdin=OTHER)).code == 4
    assert await batches(service) == 0
    assert (await transfers(*START, key, stdin=SAME)).code == 0
    other = service.client.start_batch(SENDER, OTHER_ROWS, idempotency_key=key)
    assert await refusal(other) is ErrorCode.BATCH_CONTENT_DIFFERS


async def test_a_start_that_is_no_request_is_waited_out(transfers: Transfers, service: Service, key: str) -> None:
    """What a worker will refuse can't be compared: the command ends with 1, writes nothing and says what to do."""
    await start_plainly(service, batch_id_for(SENDER, key), items="all")
    ended = await transfers(*START, key, stdin=SAME)
    assert ended.code == 1
    assert "ask again" in ended.err
    assert await batches(service) == 0


async def test_a_staged_batch_that_waits_for_a_worker_keeps_its_key(
    transfers: Transfers, service: Service, key: str
) -> None:
    """Other inline items under its key are refused, and the staged batch runs."""
    assert (await transfers(*START, key, stdin=SAME)).code == 0
    other = service.client.start_batch(SENDER, OTHER_ROWS, idempotency_key=key)
    assert await refusal(other) is ErrorCode.BATCH_CONTENT_DIFFERS
    async with service.working():
        assert (await service.client.wait(batch_id_for(SENDER, key))).item_count == 2


async def test_rows_that_stand_win_against_an_inline_batch_that_came_after(service: Service) -> None:
    """The start isn't told as done while the other waits to be refused; repeated after that, it starts what stands."""
    header = BatchHeader(uuid4(), SENDER)
    rows = [StagedItem("17", "bob")]
    await BatchWriter(service.pool).write(header, rows)
    await service.client.start_batch(SENDER, OTHER_ROWS, batch_id=header.batch_id)
    starter = StagedStarter(BatchWriter(service.pool), service.client)
    with pytest.raises(UnavailableError, match="written and not started: repeat"):
        await starter.start(header, rows)
    async with service.working():
        assert await refusal(service.client.wait(header.batch_id)) is ErrorCode.BATCH_CONTENT_DIFFERS
        assert (await starter.start(header, rows)).status is BatchStatus.QUEUED
        assert (await service.client.wait(header.batch_id)).item_count == 1
